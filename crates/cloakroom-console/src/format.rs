//! Numbers, times and sizes as people read them.

use std::time::{Duration, SystemTime};

use cloakroom::SessionId;
use maud::{Markup, html};

/// `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `3.4 MiB`.
pub(crate) fn bytes(bytes: usize) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1000.0 || unit == "GiB" {
            return match unit {
                "B" => format!("{bytes} B"),
                _ if amount < 10.0 => format!("{amount:.1} {unit}"),
                _ => format!("{amount:.0} {unit}"),
            };
        }
        amount /= 1024.0;
    }
    unreachable!("the last unit takes everything")
}

/// `870 ns`, `12 µs`, `3.4 ms`, `1.2 s`.
pub(crate) fn latency(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let (amount, unit) = match nanos {
        _ if nanos < 1e3 => return format!("{nanos:.0} ns"),
        _ if nanos < 1e6 => (nanos / 1e3, "µs"),
        _ if nanos < 1e9 => (nanos / 1e6, "ms"),
        _ => (nanos / 1e9, "s"),
    };
    if amount < 10.0 {
        format!("{amount:.1} {unit}")
    } else {
        format!("{amount:.0} {unit}")
    }
}

/// `45 s`, `12 min`, `3 h`, `9 d`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=89 => format!("{seconds} s"),
        90..=5_399 => format!("{} min", (seconds + 30) / 60),
        5_400..=172_799 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `2026-01-31T12:00:00Z`.
pub(crate) fn moment(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.0}")
}

/// `12:00:00 UTC`.
pub(crate) fn clock(time: SystemTime) -> Markup {
    let exact = moment(time);
    let clock = exact.split('T').nth(1).unwrap_or_default();
    html! { time datetime=(exact) { (clock.trim_end_matches('Z')) " UTC" } }
}

/// `12:00:00 UTC, 5 min ago`.
pub(crate) fn since(time: SystemTime, now: SystemTime) -> Markup {
    let ago = now.duration_since(time).unwrap_or_default();
    html! { (clock(time)) ", " (span(ago)) " ago" }
}

/// How long ago, or in how long, with the exact time as a hint.
pub(crate) fn when(time: SystemTime, now: SystemTime) -> Markup {
    let exact = moment(time);
    let text = match now.duration_since(time) {
        Ok(since) if since < Duration::from_secs(1) => "just now".to_owned(),
        Ok(since) => format!("{} ago", span(since)),
        Err(until) => format!("in {}", span(until.duration())),
    };
    html! { time datetime=(exact) title=(exact) { (text) } }
}

/// The first digits of an id.
pub(crate) fn short(id: SessionId) -> String {
    let mut text = id.to_string();
    text.truncate(8);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn sizes_and_times_take_the_unit_that_fits() {
        assert_eq!(
            [bytes(0), bytes(999), bytes(1536)],
            ["0 B", "999 B", "1.5 KiB"]
        );
        assert_eq!(bytes(300 << 20), "300 MiB");
        let latencies = [870, 1_500, 12_000, 3_400_000, 1_200_000_000].map(Duration::from_nanos);
        assert_eq!(
            latencies.map(latency),
            ["870 ns", "1.5 µs", "12 µs", "3.4 ms", "1.2 s"]
        );
        let spans = [45, 90, 3_600, 7_200, 900_000].map(Duration::from_secs);
        assert_eq!(spans.map(span), ["45 s", "2 min", "60 min", "2 h", "10 d"]);
        assert_eq!(moment(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00Z");
    }
}
