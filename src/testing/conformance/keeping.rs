//! A store returns records unchanged.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::{
    breach::{Outcome, Unmet, expect},
    draft::Draft,
    times::{just_expired, live, until},
    trial::{Made, Trial},
};
use crate::{
    clock::Timestamp,
    record::{Activity, Record},
    store::{Created, SessionStore, Updated},
};

/// The verifier of some other secret.
const FORMER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Created so, and updated to so, it comes back.
async fn comes_back<S: SessionStore>(trial: &Trial<S>, record: Arc<Record>, what: &str) -> Outcome {
    let plain = trial.session(Draft::first(), live()).await?;
    let created = Made {
        id: trial.new_id(),
        record,
        ..plain.clone()
    };
    let answer = trial
        .create(created.id, &created.record, created.activity)
        .await?;
    expect("`create`", Created::Yes, answer)?;
    let when = format!("after `create` with {what}");
    trial.keeps(&created, &when).await?;

    let updated = Made {
        id: plain.id,
        ..created
    };
    let answer = trial
        .update(
            updated.id,
            &updated.record,
            updated.activity,
            plain.former(),
        )
        .await?;
    expect("`update`", Updated::Saved, answer)?;
    let when = format!("after `update` to {what}");
    trial.keeps(&updated, &when).await
}

pub(super) async fn every_field_comes_back<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let fields: [&[(&str, Value)]; 8] = [
        &[
            ("user", json!("ann")),
            ("authenticated_at", json!(1_767_225_600_123_u64)),
        ],
        &[
            ("idle_timeout", json!(1)),
            ("absolute_timeout", json!("never")),
        ],
        &[
            ("idle_timeout", json!("never")),
            ("absolute_timeout", json!(u32::MAX)),
        ],
        &[
            ("persistent", json!(true)),
            ("recent", json!(["0000000000000000", "ffffffffffffffff"])),
        ],
        &[
            ("persistent", json!(false)),
            ("moved_at", json!(1_767_225_600_123_u64)),
            ("moved_to", json!("67e55044-10b1-426f-9247-bb680e5fe0c8")),
        ],
        &[("moved_from", json!("67e55044-10b1-426f-9247-bb680e5fe0c8"))],
        &[
            ("user", json!("ann")),
            ("ranked_at", json!(1_767_225_600_123_u64)),
        ],
        &[
            ("renewed_at", json!(1_767_225_600_123_u64)),
            ("pending", json!([[FORMER, 1]])),
            ("former", json!([[FORMER, 2], [FORMER, 3]])),
        ],
    ];
    for fields in fields {
        let mut draft = Draft::first();
        let mut names = Vec::new();
        for (name, value) in fields {
            names.push(*name);
            draft.others.insert((*name).to_owned(), value.clone());
        }
        comes_back(trial, draft.record(), &names.join(" and ")).await?;
    }
    Ok(())
}

pub(super) async fn unknown_fields_come_back<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let mut draft = Draft::first();
    let later = json!({ "nested": [1, null, { "deep": "\u{0}" }], "": 1.5e-7 });
    for (name, value) in [
        ("later", later),
        ("", json!(true)),
        ("quo\"te\u{1F600}", json!(-1)),
    ] {
        draft.others.insert(name.to_owned(), value);
    }
    comes_back(trial, draft.record(), "fields of a later version").await
}

/// Quotes, backslashes and newlines take two bytes in JSON. Made once: it takes its time.
static MEBIBYTE: LazyLock<Arc<Record>> = LazyLock::new(|| {
    let text = "0123456789\\\"\u{e9}\u{1F600}\n".repeat((1 << 20) / 20);
    Draft::first().with_data("large", json!(text)).record()
});

pub(super) async fn data_of_any_size_comes_back<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let mut empty = Draft::first();
    empty.data.clear();
    comes_back(trial, empty.record(), "no data").await?;
    comes_back(trial, Arc::clone(&MEBIBYTE), "1 MiB of data").await?;
    let many = (0..1000).fold(Draft::first(), |draft, number| {
        draft.with_data(&format!("key {number}"), json!(number))
    });
    comes_back(trial, many.record(), "1000 keys").await
}

pub(super) async fn values_come_back_as_they_are<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let values = [
        json!(null),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(0.1),
        json!(f64::MAX),
        json!(f64::MIN_POSITIVE),
        json!(1.0),
        json!([]),
        json!({}),
        json!(""),
        json!({ "b": 1, "a": [true, false] }),
    ];
    let draft = values
        .into_iter()
        .enumerate()
        .fold(Draft::first(), |draft, (index, value)| {
            draft.with_data(&index.to_string(), value)
        });
    comes_back(trial, draft.record(), "values of every JSON type").await
}

/// Texts that reveal a store which splices, cuts or folds text, or takes it for ASCII.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "\u{0}",
        "a\u{0}b",
        "'; DROP TABLE sessions; --",
        "\"quoted\\\"",
        "line\r\nbreak\ttab",
        "../../etc/passwd",
        "%s{}$1?:user*",
        "\u{1F600}\u{10FFFF}",
        "\u{202E}\u{5E9}\u{5DC}\u{5D5}\u{5DD}",
        "e\u{301}",
        "\u{e9}",
        "\u{FEFF}\u{200B}\u{FFFD}\u{FFFF}",
    ]
    .map(str::to_owned)
    .into();
    texts.push("long".repeat(2_000));
    texts.push("\u{1F9E5}".repeat(2_000));
    texts
}

pub(super) async fn keys_of_any_unicode_come_back<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for text in texts() {
        let draft = Draft::first().with_data(&text, json!(text));
        comes_back(trial, draft.record(), &format!("the key {}", shown(&text))).await?;
    }
    let all = texts().into_iter().fold(Draft::first(), |draft, text| {
        draft.with_data(&text, json!(1))
    });
    comes_back(trial, all.record(), "all these keys at once").await
}

pub(super) async fn users_of_any_unicode_come_back<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for text in texts() {
        let draft = Draft::of_user(&text);
        comes_back(trial, draft.record(), &format!("the user {}", shown(&text))).await?;
    }
    Ok(())
}

fn shown(text: &str) -> String {
    let start: String = text.chars().take(20).collect();
    format!("{start:?} of {} bytes", text.len())
}

pub(super) async fn times_at_both_ends_come_back<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    for at in [Timestamp::EPOCH, Timestamp::from_millis(1), Timestamp::MAX] {
        let mut draft = Draft::of_user("ann");
        draft.created_at = at;
        draft
            .others
            .insert("authenticated_at".into(), json!(at.as_millis()));
        let activity = Activity {
            last_seen_at: at,
            expires_at: Some(Timestamp::MAX),
        };
        let session = trial.session(draft, activity).await?;
        trial
            .keeps(&session, &format!("with times at {at:?}"))
            .await?;
        let millisecond = Timestamp::from_millis(Timestamp::MAX.as_millis() - 1);
        let session = trial.session(Draft::first(), until(millisecond)).await?;
        trial
            .keeps(&session, "a millisecond before the end of time")
            .await?;
    }
    // A store with a clock of its own may have deleted this one.
    let session = trial
        .session(Draft::first(), until(Timestamp::EPOCH))
        .await?;
    match trial.load_latest(session.id).await? {
        None => Ok(()),
        kept => session.is_kept(kept, "with a deadline at the epoch"),
    }
}

pub(super) async fn what_has_just_expired_is_still_there<S: SessionStore>(
    trial: &Trial<S>,
) -> Outcome {
    let session = trial.session(Draft::first(), just_expired()).await?;
    trial.keeps(&session, "a second after its deadline").await?;
    let loaded = trial.load(session.id).await?;
    if loaded.is_none() {
        return Err(Unmet::new(
            "the record of `load` a second after its deadline",
            "nothing",
        ));
    }
    Ok(())
}
