//! How many sessions began and ended in each of the last sixty minutes: [`Minutes`].

use std::collections::VecDeque;

use crate::clock::Timestamp;

/// Counts by the minute, for an hour. Where the clock goes back, the latest
/// minute keeps counting.
#[derive(Clone, Debug, Default)]
pub(crate) struct Minutes(VecDeque<Minute>);

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Minute {
    /// Minutes since the Unix epoch.
    number: u64,
    pub(crate) created: u64,
    pub(crate) ended: u64,
}

/// How many minutes are remembered.
const MAX_MINUTES: usize = 60;

fn number(at: Timestamp) -> u64 {
    at.as_millis() / 60_000
}

impl Minutes {
    /// The minute to count what happens `at` this time.
    pub(crate) fn at(&mut self, at: Timestamp) -> &mut Minute {
        let number = number(at);
        if self.0.back().is_none_or(|latest| latest.number < number) {
            if self.0.len() == MAX_MINUTES {
                self.0.pop_front();
            }
            self.0.push_back(Minute {
                number,
                ..Minute::default()
            });
        }
        self.0
            .back_mut()
            .expect("one was just pushed, if there was none")
    }

    /// The sum of `count` over the last `minutes`, the minute of `now` included.
    pub(crate) fn sum(&self, now: Timestamp, minutes: u32, count: impl Fn(&Minute) -> u64) -> u64 {
        let since = (number(now) + 1).saturating_sub(u64::from(minutes));
        let recent = self.0.iter().filter(|minute| minute.number >= since);
        recent.map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(number: u64) -> Timestamp {
        Timestamp::from_millis(number * 60_000)
    }

    #[test]
    fn each_minute_has_its_own_count_and_is_forgotten_after_an_hour() {
        let mut minutes = Minutes::default();
        for number in 0..100 {
            minutes.at(minute(number)).created += number;
        }
        let sum = |now, over| minutes.sum(minute(now), over, |minute| minute.created);
        assert_eq!(sum(99, 1), 99);
        assert_eq!(sum(99, 3), 99 + 98 + 97);
        assert_eq!(sum(102, 4), 99);
        assert_eq!(sum(200, 60), 0);
        assert_eq!(sum(99, u32::MAX), (40..100).sum::<u64>());
    }

    #[test]
    fn a_clock_that_goes_back_counts_into_the_latest_minute() {
        let mut minutes = Minutes::default();
        minutes.at(minute(7)).ended += 1;
        minutes.at(minute(3)).ended += 1;
        assert_eq!(minutes.sum(minute(7), 1, |minute| minute.ended), 2);
    }
}
