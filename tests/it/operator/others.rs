//! The others of a session are those of its user, as its handler sees it, and of nobody else.

use cloakroom::{Error, ErrorKind, Session, SessionLayer, Sessions};
use http::StatusCode;

use crate::support::{
    FixedClock, Visitor,
    acts::{holding, layer_over, live, log_in, stores},
};

struct House {
    name: &'static str,
    layer: SessionLayer,
    sessions: Sessions,
}

impl House {
    /// Ann and Bob each have two sessions elsewhere.
    async fn all() -> Vec<Self> {
        let mut houses = Vec::new();
        for (name, store) in stores() {
            let layer = layer_over(&store, &FixedClock::default());
            for user in ["ann", "ann", "bob", "bob"] {
                let visitor = Visitor::new(&layer);
                assert_eq!(log_in(&visitor, user).await.status, StatusCode::OK);
            }
            houses.push(Self {
                name,
                sessions: layer.sessions(),
                layer,
            });
        }
        houses
    }

    async fn live(&self) -> [usize; 2] {
        [
            live(&self.sessions, Some("ann")).await.len(),
            live(&self.sessions, Some("bob")).await.len(),
        ]
    }

    /// What the request of `visitor` is told that ends the others after `act`.
    async fn revoke_others_after(
        &self,
        visitor: &Visitor,
        act: impl AsyncFnOnce(&Session) -> Result<(), Error>,
    ) -> Result<u64, ErrorKind> {
        let mut told = Ok(0);
        let reply = visitor.visit(async |session: Session| {
            act(&session).await?;
            let revoked = self.sessions.revoke_others(&session).await;
            told = revoked.map_err(|error| error.kind());
            Ok::<_, Error>(())
        });
        assert_eq!(reply.await.status, StatusCode::OK);
        told
    }
}

#[tokio::test]
async fn p1_a_log_in_that_is_not_stored_yet_has_no_others() {
    for house in House::all().await {
        let ann = Visitor::new(&house.layer);
        log_in(&ann, "ann").await;
        let told = house.revoke_others_after(&ann, async |session| session.log_in("bob"));
        let told = told.await;
        // Ann's third has become Bob's.
        assert_eq!(house.live().await, [2, 3], "{}: nobody's end", house.name);
        assert_eq!(told, Err(ErrorKind::NoUser), "{}", house.name);
    }
}

#[tokio::test]
async fn p1_a_log_in_over_an_anonymous_session_has_no_others_before_it_is_stored() {
    for house in House::all().await {
        let visitor = holding(&house.layer, [("n", 1)]).await;
        let told = house.revoke_others_after(&visitor, async |session| session.log_in("ann"));
        assert_eq!(told.await, Err(ErrorKind::NoUser), "{}", house.name);
        assert_eq!(house.live().await, [3, 2], "{}", house.name);
    }
}

#[tokio::test]
async fn p1_a_log_in_of_the_same_user_ends_their_others_or_says_that_it_is_not_stored() {
    for house in House::all().await {
        let ann = Visitor::new(&house.layer);
        log_in(&ann, "ann").await;
        let told = house.revoke_others_after(&ann, async |session| session.log_in("ann"));
        let told = told.await;
        let [anns, bobs] = house.live().await;
        assert_eq!(bobs, 2, "{}", house.name);
        match told {
            Ok(ended) => assert_eq!((ended, anns), (2, 1), "{}", house.name),
            Err(kind) => assert_eq!((kind, anns), (ErrorKind::NoUser, 3), "{}", house.name),
        }
    }
}

#[tokio::test]
async fn p1_a_log_in_that_was_saved_ends_the_users_others() {
    for house in House::all().await {
        let visitor = Visitor::new(&house.layer);
        let told = house.revoke_others_after(&visitor, async |session| {
            session.log_in("bob")?;
            session.save().await
        });
        assert_eq!(told.await, Ok(2), "{}", house.name);
        assert_eq!(house.live().await, [2, 1], "{}", house.name);
    }
}

#[tokio::test]
async fn p1_a_session_that_its_handler_has_destroyed_has_no_others() {
    for house in House::all().await {
        let ann = Visitor::new(&house.layer);
        log_in(&ann, "ann").await;
        let told = house.revoke_others_after(&ann, async |session| {
            session.destroy();
            Ok(())
        });
        assert_eq!(told.await, Err(ErrorKind::NoUser), "{}", house.name);
        assert_eq!(house.live().await, [2, 2], "{}", house.name);
    }
}
