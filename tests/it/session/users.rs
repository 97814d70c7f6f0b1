//! Whose a session is.

use std::{borrow::Cow, sync::Arc};

use cloakroom::{ErrorKind, SessionFilter, SessionLayer, UserId};
use uuid::Uuid;

use crate::support::Client;

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

#[test]
fn u1_strings_integers_and_uuids_are_user_ids() {
    let uuid: Uuid = UUID.parse().unwrap();
    let string = String::from("ann");
    let strings: [UserId; 9] = [
        "ann".into(),
        string.clone().into(),
        (&string).into(),
        (&"ann").into(),
        Box::<str>::from("ann").into(),
        Arc::<str>::from("ann").into(),
        (&Arc::<str>::from("ann")).into(),
        Cow::Borrowed("ann").into(),
        (&UserId::from("ann")).into(),
    ];
    assert!(strings.iter().all(|user| user.as_str() == "ann"));
    let numbers: [(UserId, &str); 8] = [
        (5.into(), "5"),
        (5_u8.into(), "5"),
        ((-5_i64).into(), "-5"),
        ((&7_u64).into(), "7"),
        (u128::MAX.into(), "340282366920938463463374607431768211455"),
        (i128::MIN.into(), "-170141183460469231731687303715884105728"),
        (uuid.into(), UUID),
        ((&uuid).into(), UUID),
    ];
    for (user, text) in numbers {
        assert_eq!(user.as_str(), text);
        assert_eq!(user.to_string(), text);
        assert_eq!(String::from(user), text);
    }
}

#[test]
fn a_user_id_does_not_show_itself_in_debug() {
    assert!(!format!("{:?}", UserId::from("ann")).contains("ann"));
}

#[tokio::test]
async fn u1_the_user_id_is_read_as_the_type_that_logged_in() {
    let uuid: Uuid = UUID.parse().unwrap();
    let visitor = Client::new(SessionLayer::default());
    visitor
        .visit(async |session| {
            assert_eq!(session.user_as::<u64>().unwrap(), None);
            session.log_in(5).unwrap();
            // Before the log-in is committed, too.
            assert_eq!(session.user_as::<u64>().unwrap(), Some(5));
            assert_eq!(session.user().as_deref(), Some("5"));
        })
        .await;
    visitor
        .visit(async |session| {
            assert_eq!(session.user_as::<i64>().unwrap(), Some(5));
            session.log_in(uuid).unwrap();
        })
        .await;
    visitor
        .visit(async |session| {
            assert_eq!(session.user_as::<Uuid>().unwrap(), Some(uuid));
            assert_eq!(session.user_as::<String>().unwrap().as_deref(), Some(UUID));
        })
        .await;
}

#[tokio::test]
async fn u1_a_user_id_that_does_not_parse_is_an_error_that_says_so() {
    let layer = SessionLayer::default();
    let visitor = Client::new(layer.clone());
    visitor
        .visit(async |session| session.log_in("ann").unwrap())
        .await;
    let error = visitor
        .visit(async |session| session.user_as::<u64>().unwrap_err())
        .await;
    assert_eq!(error.kind(), ErrorKind::Deserialize);
    assert_eq!(
        error.to_string(),
        "the session's user id does not parse as u64"
    );
    let filter = SessionFilter::default().user("ann");
    let page = layer.sessions().list(&filter, None, 9).await.unwrap();
    let [summary] = &page.sessions[..] else {
        panic!("one session of ann's");
    };
    assert!(summary.user_as::<u64>().is_err());
    assert_eq!(summary.user_as::<String>().unwrap().as_deref(), Some("ann"));
}

#[tokio::test]
async fn a_user_is_found_and_revoked_by_the_type_that_logged_in() {
    let layer = SessionLayer::default();
    let sessions = layer.sessions();
    let id = || async {
        let visitor = Client::new(layer.clone());
        let log_in = visitor.visit(async |session| {
            session.log_in(5_u64).unwrap();
            session.next_id().unwrap()
        });
        log_in.await
    };
    let (first, _second) = (id().await, id().await);
    let filter = SessionFilter::default().user(5_u64);
    let page = sessions.list(&filter, None, 9).await.unwrap();
    assert_eq!(page.sessions.len(), 2);
    assert!(!sessions.revoke_for(6_u64, first).await.unwrap());
    assert!(sessions.revoke_for(5_u64, first).await.unwrap());
    assert_eq!(sessions.revoke_user(6_i32).await.unwrap(), 0);
    assert_eq!(sessions.revoke_user(5_i32).await.unwrap(), 1);
}
