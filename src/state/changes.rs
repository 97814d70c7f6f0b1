//! The changes of a request: [`Changes`], and how they apply to a record.
//!
//! They are a list of steps, sorted by key, and in the order of the calls for each key. A step has its result.
//! The step of an `update` has its closure too, which runs again if the stored record has changed meanwhile
//! (rule M3). Steps on different keys are independent, so their order is not kept.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{
    clock::Timestamp,
    error::{Error, ErrorKind},
    record::{
        Record,
        data::{self, Data},
        key::Name,
        labels::Labels,
        stamp::Stamp,
        timeout::Timeout,
        value::{self, Json},
    },
    state::{
        change_seq::ChangeSeq,
        overrides::{Absolute, LabelChange, Overrides},
    },
};

/// The closure of an update, which may run several times.
pub(crate) trait Replay: Send + Sync {
    fn run(&self, key: &str, current: Option<&[u8]>) -> Result<Option<Json>, Error>;
}

#[derive(Clone, Default)]
pub(crate) struct Changes {
    /// The last call that removed all values.
    cleared: Option<ChangeSeq>,
    /// Most requests make one change.
    steps: SmallVec<[Step; 1]>,
    // Boxed: rarely there, and every write makes and drops this struct.
    overrides: Option<Box<Overrides>>,
    /// The number of the last change.
    last: ChangeSeq,
    /// Changes up to this one stay separable, see [`until`](Self::until).
    mark: ChangeSeq,
    /// Bytes of the data after these changes, on the record that they were made on.
    bytes: usize,
}

#[derive(Clone)]
pub(crate) struct Step {
    key: Name,
    made: ChangeSeq,
    /// The closure of an update. `None`: the result is applied as it is, and the last writer wins (rule M2).
    again: Option<Arc<dyn Replay>>,
    /// `None` if the value was removed, or if only the next step needs it and computes it again.
    result: Option<Json>,
}

impl Step {
    fn is_on(&self, key: &Name) -> bool {
        self.key.bytes() == key.bytes()
    }

    /// Whether only `next`, on the same key, needs the result of this step, and computes it again.
    fn is_covered_by(&self, next: &Self, mark: ChangeSeq) -> bool {
        let is_asked_for = self.made <= mark && mark < next.made;
        self.again.is_some() && next.again.is_some() && self.is_on(&next.key) && !is_asked_for
    }
}

impl Changes {
    /// No changes on `base` yet. Their numbers follow `last`.
    pub(crate) fn on(base: &Data, last: ChangeSeq) -> Self {
        Self {
            last,
            bytes: base.bytes(),
            ..Self::default()
        }
    }

    pub(crate) fn last(&self) -> ChangeSeq {
        self.last
    }

    /// Keeps the current changes separable by [`until`](Self::until).
    pub(crate) fn mark(&mut self) {
        self.mark = self.last;
    }

    fn tick(&mut self) -> ChangeSeq {
        self.last = self.last.next();
        self.last
    }

    /// The value of `key` after these changes to `base`.
    pub(crate) fn get<'a>(&'a self, base: &'a Data, key: impl AsRef<[u8]>) -> Option<&'a [u8]> {
        let key = key.as_ref();
        let end = self.end_of(key);
        match end.checked_sub(1).map(|last| &self.steps[last]) {
            Some(step) if step.key.bytes() == key => step.result.as_deref(),
            _ => self.beneath(base, key),
        }
    }

    /// The place after the steps on `key`.
    fn end_of(&self, key: &[u8]) -> usize {
        self.steps.partition_point(|step| step.key.bytes() <= key)
    }

    fn beneath<'a>(&self, base: &'a Data, key: &[u8]) -> Option<&'a [u8]> {
        if self.cleared.is_some() {
            None
        } else {
            base.get(key)
        }
    }

    /// Sets or removes a value. Returns what it replaces, to be dropped after the lock.
    ///
    /// # Errors
    ///
    /// `TooLarge` if the data would exceed `max_bytes`. Nothing has changed then.
    pub(crate) fn put(
        &mut self,
        base: &Data,
        key: Name,
        value: Option<Json>,
        max_bytes: usize,
    ) -> Result<Vec<Step>, Error> {
        let former = self.get(base, key.bytes()).map(<[u8]>::len);
        self.make_room(key.bytes(), former, value.as_ref(), max_bytes)?;
        let end = self.end_of(key.bytes());
        let start = self.steps[..end].partition_point(|step| step.key.bytes() < key.bytes());
        let step = Step {
            key,
            made: self.tick(),
            again: None,
            result: value,
        };
        let replaced = match start == end {
            true => Vec::new(),
            false => self.steps.drain(start..end).collect(),
        };
        self.steps.insert(start, step);
        Ok(replaced)
    }

    /// Adds a computed value, which is computed again if the record changes. It needs [room](Self::make_room) first.
    pub(crate) fn compute(&mut self, key: Name, again: Arc<dyn Replay>, result: Option<Json>) {
        let end = self.end_of(key.bytes());
        let step = Step {
            key,
            made: self.tick(),
            again: Some(again),
            result,
        };
        if let Some(before) = self.steps[..end].last_mut()
            && before.is_covered_by(&step, self.mark)
        {
            before.result = None;
        }
        self.steps.insert(end, step);
    }

    /// Counts the bytes of a `value` that replaces one with the length `former`.
    ///
    /// # Errors
    ///
    /// `TooLarge` if the data would exceed `max_bytes`. Nothing has changed then.
    pub(crate) fn make_room(
        &mut self,
        key: &[u8],
        former: Option<usize>,
        value: Option<&Json>,
        max_bytes: usize,
    ) -> Result<(), Error> {
        let size = |value: Option<usize>| value.map_or(0, |value| key.len() + value);
        let former = size(former);
        let latter = size(value.map(|value| value.len()));
        let bytes = self.bytes - former + latter;
        // Data that is too large already may still shrink.
        if latter > former {
            check_size(bytes, max_bytes)?;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Removes all values.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
        self.bytes = 0;
        self.cleared = Some(self.tick());
    }

    /// Removes all values and overrides.
    pub(crate) fn reset(&mut self) {
        self.clear();
        self.overrides = None;
    }

    /// Whether these changes affect `key`.
    pub(crate) fn affects(&self, key: &str) -> bool {
        self.cleared.is_some()
            || self
                .steps
                .iter()
                .any(|step| step.key.bytes() == key.as_bytes())
    }

    pub(crate) fn set_idle(&mut self, timeout: Timeout) {
        let made = self.tick();
        self.overrides_mut().idle = Some((made, timeout));
    }

    pub(crate) fn set_absolute(&mut self, timeout: Timeout) {
        let made = self.tick();
        self.overrides_mut().absolute = Some((made, Absolute::Timeout(timeout)));
    }

    pub(crate) fn set_persistent(&mut self, persistent: bool) {
        let made = self.tick();
        self.overrides_mut().persistent = Some((made, persistent));
    }

    /// Sets both timeouts to `duration`, counted from `now`, and makes the cookie persistent.
    pub(crate) fn remember(&mut self, duration: Duration, now: Timestamp) {
        let seq = self.tick();
        let overrides = self.overrides_mut();
        overrides.idle = Some((seq, Timeout::After(duration)));
        overrides.absolute = Some((seq, Absolute::From(now, duration)));
        overrides.persistent = Some((seq, true));
    }

    pub(crate) fn set_label(&mut self, name: &str, value: Option<&str>) {
        let made = self.tick();
        let labels = &mut self.overrides_mut().labels;
        labels.retain(|change| *change.name != *name);
        labels.push(LabelChange {
            made,
            name: name.into(),
            value: value.map(Box::from),
        });
    }

    /// `labels` with the changes that were made here.
    pub(crate) fn labelled(&self, labels: Option<&Labels>) -> Labels {
        match &self.overrides {
            Some(overrides) => overrides.labelled(labels),
            None => labels.unwrap_or(Labels::NONE).clone(),
        }
    }

    /// The stamp that a change sets.
    pub(crate) fn stamp(&self) -> Option<&Stamp> {
        let overrides = self.overrides.as_ref()?;
        overrides.stamp.as_ref().map(|(_, stamp)| stamp)
    }

    pub(crate) fn set_stamp(&mut self, stamp: Stamp) {
        let made = self.tick();
        self.overrides_mut().stamp = Some((made, stamp));
    }

    /// Counts the overrides as made now, so that they belong to the session of a log-in.
    pub(crate) fn set_overrides_anew(&mut self) {
        if self.overrides.is_some() {
            let seq = self.tick();
            self.overrides_mut().renumber(seq);
        }
    }

    fn overrides_mut(&mut self) -> &mut Overrides {
        self.overrides.get_or_insert_default()
    }

    /// Sets these overrides in `record` (rule L4).
    pub(crate) fn set_overrides(&self, record: &mut Record) {
        if let Some(overrides) = &self.overrides {
            overrides.set(record);
        }
    }

    /// The last result of each key.
    fn results(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let is_last = |at: usize, step: &Step| {
            let next = self.steps.get(at + 1);
            next.is_none_or(|next| !next.is_on(&step.key))
        };
        let steps = self.steps.iter().enumerate();
        steps
            .filter(move |(at, step)| is_last(*at, step))
            .map(|(_, step)| (step.key.bytes(), step.result.as_deref()))
    }

    /// `base` after these changes.
    pub(crate) fn apply(&self, base: &Data) -> Data {
        if self.cleared.is_some() {
            Data::default().with(self.results())
        } else {
            base.with(self.results())
        }
    }

    /// The data of `record` after these changes. `None` if neither the data nor an override differs.
    pub(crate) fn merged(&self, record: &Record) -> Option<Data> {
        self.differ(record).then(|| self.apply(record.data()))
    }

    /// Whether `record` would have other data or overrides after these changes.
    pub(crate) fn differ(&self, record: &Record) -> bool {
        let base = record.data();
        let differs = |(key, result): (&[u8], Option<&[u8]>)| match (base.get(key), result) {
            (Some(former), Some(result)) => !value::is_same(former, result),
            (former, result) => former.is_some() != result.is_some(),
        };
        let is_changed = match self.cleared {
            Some(_) => !self.apply(base).is_same(base),
            None => self.results().any(differs),
        };
        let overrides = self.overrides.as_ref();
        is_changed || overrides.is_some_and(|overrides| overrides.differ(record))
    }

    /// Whether a new session has a value after these changes.
    pub(crate) fn leave_values(&self) -> bool {
        self.results().any(|(_, result)| result.is_some())
    }

    /// Computes the updates again on a fresher record. Call it without the lock.
    ///
    /// # Errors
    ///
    /// A closure's error, and `TooLarge`.
    pub(crate) fn rebase(&mut self, fresher: &Data, max_bytes: usize) -> Result<(), Error> {
        for index in 0..self.steps.len() {
            let (before, rest) = self.steps.split_at_mut(index);
            let step = &mut rest[0];
            if let Some(again) = &step.again {
                let beneath = match before.last() {
                    Some(previous) if previous.is_on(&step.key) => previous.result.as_deref(),
                    _ if self.cleared.is_some() => None,
                    _ => fresher.get(step.key.bytes()),
                };
                step.result = again.run(step.key.text(), beneath)?;
                if let Some(before) = before.last_mut()
                    && before.is_covered_by(step, self.mark)
                {
                    before.result = None;
                }
            }
        }
        let before = if self.cleared.is_some() {
            0
        } else {
            fresher.bytes()
        };
        self.bytes = self.apply(fresher).bytes();
        if self.bytes > before {
            check_size(self.bytes, max_bytes)?;
        }
        Ok(())
    }

    /// Takes over the results of `earlier`, which are these changes, computed again on `fresher`. Returns `false`
    /// if there are updates since, which must be computed again too.
    pub(crate) fn take_results(&mut self, earlier: &Self, fresher: &Data) -> bool {
        let rebased = |step: &Step| earlier.steps.iter().find(|other| other.made == step.made);
        let mut computed = self.steps.iter().filter(|step| step.again.is_some());
        if !computed.all(|step| rebased(step).is_some()) {
            return false;
        }
        for step in &mut self.steps {
            if let Some(rebased) = rebased(step) {
                step.result.clone_from(&rebased.result);
            }
        }
        self.measure(fresher);
        true
    }

    /// Counts the bytes again. Call it when the changes apply to another record.
    pub(crate) fn measure(&mut self, base: &Data) {
        self.bytes = self.apply(base).bytes();
    }

    /// The changes up to `until`, where [`mark`](Self::mark) was called.
    pub(crate) fn until(&self, until: ChangeSeq) -> Self {
        let mut earlier = self.clone();
        earlier.keep(|made| made <= until);
        earlier
    }

    /// Drops the changes up to `until`, which have been saved.
    pub(crate) fn forget_until(&mut self, until: ChangeSeq, saved: &Data) {
        self.keep(|made| made > until);
        self.measure(saved);
    }

    fn keep(&mut self, keep: impl Fn(ChangeSeq) -> bool) {
        self.steps.retain(|step| keep(step.made));
        self.cleared = self.cleared.filter(|made| keep(*made));
        self.overrides.take_if(|overrides| !overrides.keep(&keep));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.cleared.is_none() && self.overrides.is_none()
    }
}

fn check_size(bytes: usize, max_bytes: usize) -> Result<(), Error> {
    let max_bytes = max_bytes.min(data::MAX_BYTES);
    if bytes > max_bytes {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("the session's data would take {bytes} bytes, max_data_bytes is {max_bytes}"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a value longer by one.
    struct Grow;

    impl Replay for Grow {
        fn run(&self, _: &str, current: Option<&[u8]>) -> Result<Option<Json>, Error> {
            let mut grown = Json::from_slice(current.unwrap_or_default());
            grown.push(b'1');
            Ok(Some(grown))
        }
    }

    const MAX: usize = 1 << 20;

    fn grow(changes: &mut Changes, base: &Data, times: usize) {
        for _ in 0..times {
            let current = changes.get(base, "k");
            let former = current.map(<[u8]>::len);
            let grown = Grow.run("k", current).unwrap();
            let room = changes.make_room(b"k", former, grown.as_ref(), MAX);
            room.unwrap();
            changes.compute(Name::Const("k"), Arc::new(Grow), grown);
        }
    }

    fn base(len: usize) -> Data {
        Data::from_sorted([("k", &*vec![b'0'; len])].into_iter())
    }

    fn length(changes: &Changes, base: &Data) -> usize {
        changes.get(base, "k").unwrap().len()
    }

    /// Bytes of the values that are kept.
    fn held(changes: &Changes) -> usize {
        let results = changes.steps.iter().filter_map(|step| step.result.as_ref());
        results.map(|result| result.capacity()).sum()
    }

    #[test]
    fn of_steps_computed_one_on_another_only_the_last_result_is_kept() {
        let base_data = base(10_000);
        let mut changes = Changes::on(&base_data, ChangeSeq::default());
        grow(&mut changes, &base_data, 1_000);
        assert!(held(&changes) < 3 * 11_000, "{}", held(&changes));
        let fresher = base(20_000);
        changes.rebase(&fresher, MAX).unwrap();
        assert_eq!(length(&changes, &fresher), 21_000);
        assert!(held(&changes) < 3 * 21_000, "{}", held(&changes));
    }

    #[test]
    fn what_was_computed_before_the_mark_can_be_asked_for() {
        let base_data = base(10_000);
        let mut changes = Changes::on(&base_data, ChangeSeq::default());
        grow(&mut changes, &base_data, 3);
        changes.mark();
        let marked = changes.last();
        grow(&mut changes, &base_data, 4);
        assert_eq!(length(&changes.until(marked), &base_data), 10_003);
        let fresher = base(20_000);
        changes.rebase(&fresher, MAX).unwrap();
        assert_eq!(length(&changes.until(marked), &fresher), 20_003);
        assert_eq!(length(&changes, &fresher), 20_007);
        let mut later = changes.clone();
        later.forget_until(marked, &base(30_003));
        later.rebase(&base(30_003), MAX).unwrap();
        assert_eq!(length(&later, &base(30_003)), 30_007);
    }

    #[test]
    fn what_is_put_is_kept_beneath_what_is_computed() {
        let base = base(10);
        let mut changes = Changes::on(&base, ChangeSeq::default());
        changes
            .put(&base, Name::Const("k"), Some(Json::from_slice(b"22")), MAX)
            .unwrap();
        grow(&mut changes, &base, 3);
        changes.rebase(&Data::default(), MAX).unwrap();
        assert_eq!(changes.get(&base, "k"), Some(&b"22111"[..]));
    }
}
