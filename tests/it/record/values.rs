//! What a value is: JSON text that reads back, and when two are the same.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use cloakroom::{Error, ErrorKind, EventKind, Session, SessionLayer};
use serde::Serialize;
use serde_json::{Value, json};

use crate::support::{FaultyStore, FixedClock, StoreCall, Visitor};

fn visitor(store: &FaultyStore) -> Visitor {
    Visitor::new(&SessionLayer::new(store.clone()).clock(FixedClock::default()))
}

fn is_refused<T>(done: Result<T, Error>) -> bool {
    done.is_err_and(|error| error.kind() == ErrorKind::Serialize)
}

#[tokio::test]
async fn a_number_that_is_not_finite_is_a_serialize_error_wherever_it_stands() {
    #[derive(Serialize)]
    enum Shape {
        Circle { radius: f32 },
        Square(f64),
        Line(f64, f64),
    }
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store);
    let reply = visitor.visit(async |session: Session| {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(is_refused(session.insert("n", bad)));
            assert!(is_refused(session.insert("n", bad as f32)));
            assert!(is_refused(session.insert("n", Some(bad))));
            assert!(is_refused(session.insert("n", [1.0, bad])));
            assert!(is_refused(session.insert("n", (1, bad))));
            assert!(is_refused(session.insert(
                "n",
                HashMap::from([("a", BTreeMap::from([(1, bad)]))])
            )));
            assert!(is_refused(
                session.insert("n", Shape::Circle { radius: bad as f32 })
            ));
            assert!(is_refused(session.insert("n", Shape::Square(bad))));
            assert!(is_refused(session.insert("n", Shape::Line(0.0, bad))));
            assert!(is_refused(session.update("n", move |_: Option<f64>| bad)));
            assert!(is_refused(
                session.update("n", move |_: Option<Vec<f64>>| vec![bad])
            ));
            assert!(is_refused(
                session.try_update("n", move |_: Option<f64>| Ok::<_, ()>(Some(bad)))
            ));
        }
        assert!(session.is_empty() && !session.is_modified());
        session.insert("none", None::<f64>)?;
        session.insert("some", (Some(0.5), ()))?;
        assert_eq!(session.get::<Option<f64>>("none")?, Some(None));
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, 200);
    assert_eq!(store.calls(), [StoreCall::Create]);
}

#[tokio::test]
async fn an_update_that_is_not_finite_on_the_fresher_value_fails_the_commit() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store);
    visitor
        .visit(async |session: Session| session.insert("n", 2.0))
        .await;
    let other = visitor.twin();
    let reply = visitor.visit(async move |session: Session| {
        session.update("n", |n: Option<f64>| 1.0 / n.unwrap_or(1.0))?;
        other
            .visit(async |session: Session| session.insert("n", 0.0))
            .await;
        Ok::<_, Error>(())
    });
    assert_eq!(reply.await.status, 503);
    let kept = visitor
        .visit(async |session: Session| Ok::<_, Error>(format!("{:?}", session.get::<f64>("n")?)));
    assert_eq!(kept.await.body, "Some(0.0)");
}

#[tokio::test]
async fn a_map_that_is_put_back_in_another_order_is_no_change() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store);
    let map = || {
        (0..20)
            .map(|n| (format!("k{n}"), n))
            .collect::<HashMap<_, _>>()
    };
    visitor
        .visit(async move |session: Session| session.insert("map", vec![map()]))
        .await;
    store.calls();
    for _ in 0..20 {
        let reply = visitor.visit(async move |session: Session| {
            let read: Option<Vec<HashMap<String, i32>>> = session.get("map")?;
            session.insert("map", read)?;
            session.update("map", |read: Option<Vec<HashMap<String, i32>>>| {
                read.unwrap()
            })?;
            session.insert("map", vec![map()])?;
            assert!(!session.is_modified());
            Ok::<_, Error>(())
        });
        let reply = reply.await;
        assert!(reply.set_cookies().is_empty());
        assert_eq!(store.calls(), [StoreCall::Load]);
    }
}

#[tokio::test]
async fn an_event_names_only_the_keys_whose_values_differ_as_json() {
    let told = std::sync::Arc::new(Mutex::new(Vec::new()));
    let telling = std::sync::Arc::clone(&told);
    let layer = SessionLayer::default().on_event(move |event: &cloakroom::Event| {
        if let EventKind::Saved { keys } = event.kind() {
            telling.lock().unwrap().push(keys.clone());
        }
    });
    let visitor = Visitor::new(&layer);
    let map = || {
        (0..20)
            .map(|n| (format!("k{n}"), n))
            .collect::<HashMap<_, _>>()
    };
    visitor
        .visit(async move |session: Session| session.insert("map", map()))
        .await;
    visitor
        .visit(async move |session: Session| {
            session.insert("map", map())?;
            session.insert("n", 1)
        })
        .await;
    assert_eq!(*told.lock().unwrap(), [["n"]]);
}

#[tokio::test]
async fn another_order_in_an_array_and_another_text_of_a_number_are_changes() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store);
    visitor
        .visit(async |session: Session| session.insert("v", (1, [1, 2])))
        .await;
    store.calls();
    for is_float in [true, false] {
        visitor
            .visit(async move |session: Session| {
                if is_float {
                    session.insert("v", (1.0, [1, 2]))
                } else {
                    session.insert("v", (1.0, [2, 1]))
                }
            })
            .await;
        assert_eq!(store.calls(), [StoreCall::Load, StoreCall::Update]);
    }
}

#[tokio::test]
async fn any_json_value_is_a_value_and_null_is_one_too() {
    let store = FaultyStore::in_memory();
    let visitor = visitor(&store);
    let whole = json!({"list": [1, null, "x"], "deep": {"n": 1.5}, "no": null});
    let expected = whole.clone();
    visitor
        .visit(async |session: Session| {
            session.insert("whole", &whole)?;
            session.insert("null", Value::Null)?;
            session.insert("none", None::<u32>)
        })
        .await;
    let reply = visitor
        .visit(async |session: Session| {
            assert_eq!(session.get::<Value>("whole")?, Some(expected));
            for key in ["null", "none"] {
                assert!(session.contains_key(key));
                assert_eq!(session.get::<Value>(key)?, Some(Value::Null));
                assert_eq!(session.get::<Option<u32>>(key)?, Some(None));
                let kind = session.get::<u32>(key).unwrap_err().kind();
                assert_eq!(kind, ErrorKind::Deserialize);
            }
            assert_eq!(session.get::<Value>("absent")?, None);
            assert_eq!(session.get::<Option<u32>>("absent")?, None);
            let counted = session.update("none", |n: Option<Option<u32>>| {
                Some(n.flatten().unwrap_or(0) + 1)
            })?;
            assert_eq!(counted, Some(1));
            assert_eq!(session.take::<Value>("null")?, Some(Value::Null));
            assert!(!session.contains_key("null"));
            Ok::<_, Error>("as expected")
        })
        .await;
    assert_eq!(reply.body, "as expected");
    let claimed = async |session: Session| {
        let claimed = session.claim::<Value>("whole").await?;
        Ok::<_, Error>(claimed.is_some().to_string())
    };
    assert_eq!(visitor.visit(claimed).await.body, "true");
    assert_eq!(visitor.visit(claimed).await.body, "false");
}
