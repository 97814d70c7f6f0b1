//! Lists and counts of the sessions in a [`MemoryInner`].

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{inner::MemoryInner, table::Slot};
use crate::{
    deadline::pause,
    error::store::StoreError,
    record::token::SessionId,
    store::{Listed, Order, Position, Query, Selection, StorePage, top::Top},
};

/// About how many sessions one page looks at, because it is made without an await.
const LOOKED_AT: usize = 16 * 1024;

/// How many records are read ahead.
const AHEAD: usize = 32;

/// How many of a user's ids are fetched at once.
const BATCH: usize = 128;

impl MemoryInner {
    pub(super) async fn list(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        match query.order() {
            Order::Id => self.list_by_id(query, after, limit),
            Order::NewestFirst | Order::LastSeenFirst => {
                let mut top = Top::new(query, after, limit)?;
                let offer = |slot: &Slot| {
                    top.offer(slot.id, &slot.record, slot.activity(), || listed(slot));
                    true
                };
                let reads = query.order() == Order::NewestFirst;
                self.look_at(query.unordered().user(), reads, offer).await;
                Ok(top.into_page())
            }
        }
    }

    pub(super) async fn count(&self, query: &Query) -> u64 {
        let selection = query.unordered();
        if selection.is_everything() {
            return self.len().saturating_sub(self.markers()) as u64;
        }
        let most = query.count_limit().unwrap_or(u64::MAX);
        let mut count = 0;
        let add = |slot: &Slot| {
            count += u64::from(admits(selection, slot) && !slot.record.is_moved());
            count < most
        };
        let reads = selection.reads_records();
        self.look_at(selection.user(), reads, add).await;
        count
    }

    /// Passes each session of the user, or all sessions, until `look` says no. Other tasks run in between.
    /// `reads`: it looks at each record.
    async fn look_at(&self, user: Option<&str>, reads: bool, mut look: impl FnMut(&Slot) -> bool) {
        let mut from = 0;
        if let Some(user) = user {
            let mut first = Some(Uuid::nil().into());
            while let Some(id) = first {
                let ids = self.users.ids(user, id, BATCH);
                let goes_on = ids.iter().all(|id| {
                    let table = self.shard(*id).table.read();
                    table.get(*id).is_none_or(&mut look)
                });
                let last = ids.last().filter(|_| goes_on && ids.len() == BATCH);
                first = last.and_then(|id| successor(*id));
                from += ids.len();
                if from % LOOKED_AT < BATCH {
                    pause(Duration::ZERO).await;
                }
            }
            return;
        }
        while from < self.shards.len() {
            let mut looked_at = 0;
            while from < self.shards.len() && looked_at < LOOKED_AT {
                // The greatest ids first, which come first among equal times.
                let shard = &self.shards[self.shards.len() - 1 - from];
                let table = shard.table.read();
                let goes_on = match reads {
                    true => nearby(table.slots()).all(&mut look),
                    false => table.slots().all(&mut look),
                };
                if !goes_on {
                    return;
                }
                looked_at += table.slots().len();
                from += 1;
            }
            pause(Duration::ZERO).await;
        }
    }

    fn list_by_id(
        &self,
        query: &Query,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<StorePage, StoreError> {
        let selection = query.ordered_by_id()?;
        let from = match after {
            None => Some(Uuid::nil().into()),
            Some(position) => successor(position.id()?),
        };
        Ok(match (from, selection.user()) {
            (None, _) => StorePage::default(),
            (Some(from), Some(user)) => self.list_of(user, selection, from, limit),
            (Some(from), None) => self.list_all(selection, from, limit),
        })
    }

    /// Lists a user's sessions by the index.
    fn list_of(
        &self,
        user: &str,
        selection: &Selection,
        mut from: SessionId,
        limit: usize,
    ) -> StorePage {
        let mut page = StorePage::default();
        let mut looked_at = 0;
        let mut last = None;
        loop {
            let ids = self.users.ids(user, from, BATCH);
            for id in &ids {
                if page.sessions.len() >= limit || looked_at >= LOOKED_AT {
                    page.next = last.map(Position::after);
                    return page;
                }
                looked_at += 1;
                last = Some(*id);
                let table = self.shard(*id).table.read();
                let slot = table.get(*id).filter(|slot| admits(selection, slot));
                page.sessions.extend(slot.map(listed));
            }
            match last.and_then(successor) {
                Some(next) if ids.len() == BATCH => from = next,
                _ => return page,
            }
        }
    }

    /// Lists all sessions. Shards hold ranges of ids in their order, so that only a few are locked.
    fn list_all(&self, selection: &Selection, from: SessionId, limit: usize) -> StorePage {
        let mut page = StorePage::default();
        let mut looked_at = 0;
        for index in self.index(from)..self.shards.len() {
            let table = self.shards[index].table.read();
            let slots = table
                .slots()
                .filter(|slot| slot.id >= from && admits(selection, slot));
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
                let last = page.sessions.last();
                page.next = last.map(|listed| Position::after(listed.id));
                return page;
            }
            looked_at += table.slots().len();
            if looked_at >= LOOKED_AT && index + 1 < self.shards.len() {
                page.next = Some(Position::after(self.last_id(index)));
                return page;
            }
        }
        page
    }

    /// The greatest id of a shard.
    fn last_id(&self, index: usize) -> SessionId {
        let span = (1_u128 << 32) / self.shards.len() as u128;
        let next = ((index as u128 + 1) * span) << 96_u32;
        Uuid::from_u128(next.wrapping_sub(1)).into()
    }
}

/// Brings the records of some slots near before each is looked at: these loads do not wait for each
/// other, as they do where the work on one record stands between them.
fn nearby<'a>(mut slots: impl Iterator<Item = &'a Slot>) -> impl Iterator<Item = &'a Slot> {
    let mut batch: [Option<&Slot>; AHEAD] = [None; AHEAD];
    let mut place = AHEAD;
    std::iter::from_fn(move || {
        if place == AHEAD {
            place = 0;
            batch = std::array::from_fn(|_| slots.next());
            let times = batch.iter().flatten();
            let touched = times.fold(0, |all, slot| all ^ slot.record.created_at().as_millis());
            std::hint::black_box(touched);
        }
        let slot = batch[place];
        place += 1;
        slot
    })
}

fn successor(id: SessionId) -> Option<SessionId> {
    let bits = u128::from_be_bytes(*id.as_bytes());
    Some(Uuid::from_u128(bits.checked_add(1)?).into())
}

fn admits(selection: &Selection, slot: &Slot) -> bool {
    selection.admits(&slot.record, slot.activity())
}

fn listed(slot: &Slot) -> Listed {
    Listed::new(slot.id, Arc::clone(&slot.record), slot.activity())
}
