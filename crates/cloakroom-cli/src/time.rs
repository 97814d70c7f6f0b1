//! Durations and times, as people write and read them.

use std::time::SystemTime;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp, fmt::friendly::SpanPrinter};

/// `90m`, `2h 30m`, `14d`: a day has 24 hours.
pub(crate) fn duration(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text
        .parse()
        .map_err(|_| "expected a duration such as 90m, 2h30m or 14d".to_owned())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "months and years have no fixed length: say it in days".to_owned())?;
    if duration.is_negative() {
        return Err("expected a duration that is not negative".to_owned());
    }
    Ok(duration)
}

/// A time, or a duration before now.
pub(crate) fn moment(text: &str) -> Result<SystemTime, String> {
    if let Ok(duration) = duration(text) {
        return Ok(ago(duration));
    }
    let minutes = text.strip_suffix('Z').map(|text| format!("{text}:00Z"));
    let moment = text.parse::<Timestamp>();
    let moment = moment.or_else(|error| minutes.and_then(|text| text.parse().ok()).ok_or(error));
    moment.map(SystemTime::from).map_err(|_| {
        "expected a moment such as 2026-05-01T12:00Z, or a duration before now such as 2h"
            .to_owned()
    })
}

/// This long before now.
pub(crate) fn ago(duration: SignedDuration) -> SystemTime {
    let now = Timestamp::now();
    SystemTime::from(now.saturating_sub(duration).unwrap_or(Timestamp::MIN))
}

/// RFC 3339, to the second.
pub(crate) fn rfc3339(moment: SystemTime) -> String {
    match Timestamp::try_from(moment) {
        Ok(moment) => moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => "out of range".to_owned(),
    }
}

/// How long before `now`, or after it: `3m`, `in 2h`. One unit is enough in a table.
pub(crate) fn relative(moment: SystemTime, now: SystemTime) -> String {
    let (prefix, distance) = match now.duration_since(moment) {
        Ok(distance) => ("", distance),
        Err(error) => ("in ", error.duration()),
    };
    let seconds = i64::try_from(distance.as_secs()).unwrap_or(i64::MAX);
    let span = match seconds {
        0..60 => Span::new().try_seconds(seconds),
        60..3600 => Span::new().try_minutes(seconds / 60),
        3600..86_400 => Span::new().try_hours(seconds / 3600),
        _ => Span::new().try_days(seconds / 86_400),
    };
    let printed = span.map(|span| SpanPrinter::new().span_to_string(&span));
    format!(
        "{prefix}{}",
        printed.unwrap_or_else(|_| "very long".to_owned())
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90m", 5400),
            ("2h30m", 9000),
            ("14d", 1_209_600),
            ("1d 2h", 93_600),
        ] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in ["", "soon", "-5m", "1mo", "5"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments_are_read_with_and_without_seconds() {
        let expected = UNIX_EPOCH + Duration::from_secs(1_777_636_800);
        for text in [
            "2026-05-01T12:00Z",
            "2026-05-01T12:00:00Z",
            "2026-05-01T14:00:00+02:00",
        ] {
            assert_eq!(moment(text).unwrap(), expected, "{text}");
        }
        for text in ["yesterday", "2026-13-01T00:00Z", "2026-05-01"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn distances_are_in_one_unit() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (before, text) in [
            (0, "0s"),
            (59, "59s"),
            (61, "1m"),
            (7300, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(relative(now - Duration::from_secs(before), now), text);
        }
        assert_eq!(relative(now + Duration::from_secs(90), now), "in 1m");
    }
}
