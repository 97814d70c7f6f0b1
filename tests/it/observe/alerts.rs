//! The alert rules in `docs/`, each with samples that fire it and samples that do not.

use std::{collections::BTreeSet, process::Command};

use crate::support::process::{Directory, program};

pub(super) const ALERTS: &str = include_str!("../../../docs/alerts.yml");

/// The alert rules, each with its name.
pub(super) fn alerts() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rules = ALERTS.split("- alert: ").skip(1);
    rules.map(|rule| rule.split_once('\n').unwrap())
}

/// Samples, one a minute, that fire an alert, and samples that do not.
struct Case {
    alert: &'static str,
    /// Those labels of the alert that come from the samples.
    labels: &'static str,
    fires: &'static [Samples],
    is_quiet: &'static [Samples],
}

/// The metric, its labels beside those that each metric has, and its values in the notation of `promtool`.
type Samples = (&'static str, &'static str, &'static str);

/// How long the samples run.
const MINUTES: u32 = 80;

const CASES: [Case; 10] = [
    Case {
        alert: "SessionStoreDown",
        labels: r#"instance="a", layer="shop", store="S""#,
        fires: &[("cloakroom_store_circuit_open", "", "0 1x80")],
        is_quiet: &[("cloakroom_store_circuit_open", "", "0x80")],
    },
    Case {
        alert: "SessionStoreFailing",
        labels: r#"layer="shop", store="S""#,
        fires: &[
            ("cloakroom_store_failures_total", r#"call="load""#, "0+2x80"),
            (
                "cloakroom_store_call_seconds_count",
                r#"call="load""#,
                "0+100x80",
            ),
        ],
        is_quiet: &[
            ("cloakroom_store_failures_total", r#"call="load""#, "0+1x80"),
            (
                "cloakroom_store_call_seconds_count",
                r#"call="load""#,
                "0+200x80",
            ),
        ],
    },
    Case {
        alert: "SessionStoreSlow",
        labels: r#"layer="shop", store="S""#,
        fires: &[
            (
                "cloakroom_store_call_seconds_bucket",
                r#"call="load", le="0.5""#,
                "0+95x80",
            ),
            (
                "cloakroom_store_call_seconds_bucket",
                r#"call="load", le="1""#,
                "0+100x80",
            ),
            (
                "cloakroom_store_call_seconds_bucket",
                r#"call="load", le="+Inf""#,
                "0+100x80",
            ),
        ],
        is_quiet: &[
            (
                "cloakroom_store_call_seconds_bucket",
                r#"call="load", le="0.5""#,
                "0+100x80",
            ),
            (
                "cloakroom_store_call_seconds_bucket",
                r#"call="load", le="1""#,
                "0+100x80",
            ),
            (
                "cloakroom_store_call_seconds_bucket",
                r#"call="load", le="+Inf""#,
                "0+100x80",
            ),
        ],
    },
    Case {
        alert: "SessionStoreAbandoned",
        labels: r#"layer="shop", store="S""#,
        fires: &[(
            "cloakroom_store_abandoned_total",
            r#"call="load""#,
            "0+90x80",
        )],
        is_quiet: &[(
            "cloakroom_store_abandoned_total",
            r#"call="load""#,
            "0+30x80",
        )],
    },
    Case {
        alert: "SessionMemoryNearBound",
        labels: r#"instance="a", layer="shop""#,
        fires: &[
            ("cloakroom_memory_bytes", "", "950x80"),
            ("cloakroom_memory_max_bytes", "", "1000x80"),
        ],
        is_quiet: &[
            ("cloakroom_memory_bytes", "", "850x80"),
            ("cloakroom_memory_max_bytes", "", "1000x80"),
        ],
    },
    Case {
        alert: "SessionMemoryNearBound",
        labels: r#"instance="a", layer="shop""#,
        fires: &[
            ("cloakroom_sessions", "", "870x80"),
            ("cloakroom_memory_max_sessions", "", "1000x80"),
        ],
        is_quiet: &[
            ("cloakroom_sessions", "", "800x80"),
            ("cloakroom_memory_max_sessions", "", "1000x80"),
        ],
    },
    Case {
        alert: "SessionsEvicted",
        labels: r#"layer="shop""#,
        fires: &[(
            "cloakroom_sessions_ended_total",
            r#"reason="evicted""#,
            "0+10x80",
        )],
        is_quiet: &[
            (
                "cloakroom_sessions_ended_total",
                r#"reason="evicted""#,
                "0+1x80",
            ),
            (
                "cloakroom_sessions_ended_total",
                r#"reason="idle""#,
                "0+1000x80",
            ),
        ],
    },
    Case {
        alert: "SessionCookiesRejected",
        labels: r#"layer="shop""#,
        fires: &[(
            "cloakroom_cookies_rejected_total",
            r#"reason="unproven""#,
            "0+60x80",
        )],
        is_quiet: &[
            (
                "cloakroom_cookies_rejected_total",
                r#"reason="unproven""#,
                "0+10x80",
            ),
            (
                "cloakroom_cookies_rejected_total",
                r#"reason="unknown""#,
                "0+1000x80",
            ),
        ],
    },
    Case {
        alert: "SessionCookieCopied",
        labels: r#"layer="shop""#,
        // The first one, half an hour before the end.
        fires: &[(
            "cloakroom_sessions_ended_total",
            r#"reason="copied""#,
            "0x50 1x30",
        )],
        is_quiet: &[(
            "cloakroom_sessions_ended_total",
            r#"reason="copied""#,
            "3x80",
        )],
    },
    Case {
        alert: "SessionReaperBehind",
        labels: r#"instance="a", job="site", layer="shop", store="S""#,
        // The samples begin in 1970.
        fires: &[(
            "cloakroom_last_reap_timestamp_seconds",
            "",
            "0+60x10 600x70",
        )],
        is_quiet: &[(
            "cloakroom_last_reap_timestamp_seconds",
            "",
            "0+60x40 2400x40",
        )],
    },
];

impl Case {
    /// A test for `promtool`: how many alerts of this kind are there at the end.
    fn test(&self, samples: &[Samples], expected: &str) -> String {
        let series = samples.iter().map(|(metric, labels, values)| {
            let comma = if labels.is_empty() { "" } else { ", " };
            format!(
                "  - series: '{metric}{{instance=\"a\", job=\"site\", layer=\"shop\", store=\"S\"{comma}{labels}}}'\n    \
                 values: '{values}'\n"
            )
        });
        let series: String = series.collect();
        let firing = format!(
            "max without (alertname, alertstate, severity) (ALERTS{{alertname=\"{}\", alertstate=\"firing\"}})",
            self.alert
        );
        format!(
            "- interval: 1m\n  input_series:\n{series}  promql_expr_test:\n  - expr: '{firing}'\n    \
             eval_time: {MINUTES}m\n    exp_samples: {expected}\n"
        )
    }
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let cases: BTreeSet<&str> = CASES.iter().map(|case| case.alert).collect();
    let names: BTreeSet<&str> = alerts().map(|(name, _)| name).collect();
    assert_eq!(cases, names);

    let mut tests = "rule_files: [ alerts.yml ]\nevaluation_interval: 1m\ntests:\n".to_owned();
    for case in &CASES {
        let firing = format!("[ {{ labels: '{{{}}}', value: 1 }} ]", case.labels);
        tests += &case.test(case.fires, &firing);
        tests += &case.test(case.is_quiet, "[]");
    }
    let directory = Directory::new();
    let at = |name: &str| directory.path().join(name);
    std::fs::write(at("alerts.yml"), ALERTS).unwrap();
    std::fs::write(at("tests.yml"), tests).unwrap();
    let run = Command::new(program("promtool", "prometheus"))
        .args(["test", "rules"])
        .arg(at("tests.yml"))
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
}

#[test]
fn the_texts_of_the_alerts_name_labels_that_the_alerts_have() {
    for (alert, rule) in alerts() {
        let case = CASES.iter().find(|case| case.alert == alert).unwrap();
        for used in rule.split("$labels.").skip(1) {
            let label = used.split(' ').next().unwrap();
            assert!(
                case.labels.contains(&format!("{label}=")),
                "{alert}: {label}"
            );
        }
    }
}
