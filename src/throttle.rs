//! Keeps a log line that repeats from filling the log: [`Throttle`].

use std::time::Duration;

use parking_lot::Mutex;
// Without a runtime this is the standard library's; in tests it can be paused.
use tokio::time::Instant;

/// How many lines are logged in each window.
const MAX_LINES: u32 = 5;
const WINDOW: Duration = Duration::from_secs(10);

/// Admits so many lines in each window, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    admitted: u32,
    /// How many lines were not logged since the last one.
    suppressed: u64,
}

impl Throttle {
    /// If a line may be logged now, returns how many were not logged since the last one. `None` if it may not.
    pub(crate) fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut window = self.0.lock();
        if window.began.is_none_or(|began| now - began >= WINDOW) {
            window.began = Some(now);
            window.admitted = 0;
        }
        if window.admitted == MAX_LINES {
            window.suppressed += 1;
            return None;
        }
        window.admitted += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_a_window_are_logged_and_the_others_are_counted() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..MAX_LINES {
            assert_eq!(throttle.admit_at(now), Some(0));
        }
        for _ in 0..1000 {
            assert_eq!(throttle.admit_at(now + WINDOW / 2), None);
        }
        assert_eq!(throttle.admit_at(now + WINDOW), Some(1000));
        assert_eq!(throttle.admit_at(now + WINDOW), Some(0));
    }
}
