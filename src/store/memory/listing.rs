//! Lists of the sessions in a [`Room`], page by page.

use std::sync::Arc;

use uuid::Uuid;

use super::{Room, table::Slot};
use crate::{
    record::token::SessionId,
    store::{Filter, Listed, Page},
};

/// How many sessions one page looks at, about: it is made without an await.
const LOOKED_AT: usize = 16 * 1024;

/// How many of a user's ids are fetched at once.
const BATCH: usize = 128;

impl Room {
    pub(super) fn list(&self, filter: &Filter, after: Option<SessionId>, limit: usize) -> Page {
        let from = match after {
            None => Some(Uuid::nil().into()),
            Some(id) => successor(id),
        };
        match (from, &filter.user) {
            (None, _) => Page::default(),
            (Some(from), Some(user)) => self.list_of(user, filter, from, limit),
            (Some(from), None) => self.list_all(filter, from, limit),
        }
    }

    /// By the index.
    fn list_of(&self, user: &str, filter: &Filter, mut from: SessionId, limit: usize) -> Page {
        let mut page = Page::default();
        let mut looked_at = 0;
        let mut last = None;
        loop {
            let ids = self.users.ids(user, from, BATCH);
            for id in &ids {
                if page.sessions.len() >= limit || looked_at >= LOOKED_AT {
                    page.next = last;
                    return page;
                }
                looked_at += 1;
                last = Some(*id);
                let table = self.shard(*id).table.read();
                let slot = table.get(*id).filter(|slot| admits(filter, slot));
                page.sessions.extend(slot.map(listed));
            }
            match last.and_then(successor) {
                Some(next) if ids.len() == BATCH => from = next,
                _ => return page,
            }
        }
    }

    /// Shards hold ranges of ids, in their order: only a few are looked at.
    fn list_all(&self, filter: &Filter, from: SessionId, limit: usize) -> Page {
        let mut page = Page::default();
        let mut looked_at = 0;
        for index in self.index(from)..self.shards.len() {
            let table = self.shards[index].table.read();
            let slots = table
                .slots()
                .filter(|slot| slot.id >= from && admits(filter, slot));
            let mut slots: Vec<&Slot> = slots.collect();
            let wanted = limit - page.sessions.len();
            let is_full = slots.len() > wanted;
            if is_full {
                slots.select_nth_unstable_by_key(wanted, |slot| slot.id);
                slots.truncate(wanted);
            }
            slots.sort_unstable_by_key(|slot| slot.id);
            page.sessions.extend(slots.into_iter().map(listed));
            if is_full {
                page.next = page.sessions.last().map(|listed| listed.id);
                return page;
            }
            looked_at += table.slots().len();
            if looked_at >= LOOKED_AT && index + 1 < self.shards.len() {
                page.next = Some(self.last_id(index));
                return page;
            }
        }
        page
    }

    /// The greatest id that belongs into a shard.
    fn last_id(&self, index: usize) -> SessionId {
        let span = (1_u128 << 32) / self.shards.len() as u128;
        let next = ((index as u128 + 1) * span) << 96_u32;
        Uuid::from_u128(next.wrapping_sub(1)).into()
    }
}

fn successor(id: SessionId) -> Option<SessionId> {
    let bits = u128::from_be_bytes(*id.as_bytes());
    Some(Uuid::from_u128(bits.checked_add(1)?).into())
}

fn admits(filter: &Filter, slot: &Slot) -> bool {
    filter.admits(&slot.record, slot.activity())
}

fn listed(slot: &Slot) -> Listed {
    Listed {
        id: slot.id,
        record: Arc::clone(&slot.record),
        activity: slot.activity(),
    }
}
