//! What tower-sessions documents and tests of itself, on cloakroom. The routes are the same for both of its versions.

macro_rules! documented {
    ($version:ident, $tower_sessions:ident) => {
        mod $version {
            use std::time::SystemTime;

            use axum::{Router, extract::FromRequestParts, routing::get};
            use http::{StatusCode, request::Parts};
            use serde::{Deserialize, Serialize};
            use $tower_sessions::Session;

            use crate::support::{Fixture, on_cloakroom};

            fn fixture() -> Fixture {
                on_cloakroom(
                    Router::new()
                        .route("/", get(async |_: Session| "Hello, world!"))
                        .route(
                            "/insert",
                            get(async |session: Session| session.insert("foo", 42).await.unwrap()),
                        )
                        .route(
                            "/get",
                            get(async |session: Session| {
                                format!("{:?}", session.get_value("foo").await.unwrap())
                            }),
                        )
                        .route(
                            "/remove",
                            get(async |session: Session| {
                                format!("{:?}", session.remove::<u32>("foo").await.unwrap())
                            }),
                        )
                        .route(
                            "/cycle_id",
                            get(async |session: Session| session.cycle_id().await.unwrap()),
                        )
                        .route(
                            "/flush",
                            get(async |session: Session| session.flush().await.unwrap()),
                        )
                        .route(
                            "/counter",
                            get(async |counter: Counter| counter.0.to_string()),
                        )
                        .route(
                            "/guest",
                            get(async |guest: Guest| guest.0.pageviews.to_string()),
                        ),
                )
            }

            #[derive(Default, Deserialize, Serialize)]
            struct Counter(usize);

            impl<S: Send + Sync> FromRequestParts<S> for Counter {
                type Rejection = (StatusCode, &'static str);

                async fn from_request_parts(
                    parts: &mut Parts,
                    state: &S,
                ) -> Result<Self, Self::Rejection> {
                    let session = Session::from_request_parts(parts, state).await?;
                    let counter: Self = session.get("counter").await.unwrap().unwrap_or_default();
                    session.insert("counter", counter.0 + 1).await.unwrap();
                    Ok(counter)
                }
            }

            #[derive(Clone, Deserialize, Serialize)]
            struct GuestData {
                pageviews: usize,
                first_seen: SystemTime,
                last_seen: SystemTime,
            }

            struct Guest(GuestData);

            impl<S: Send + Sync> FromRequestParts<S> for Guest {
                type Rejection = (StatusCode, &'static str);

                async fn from_request_parts(
                    parts: &mut Parts,
                    state: &S,
                ) -> Result<Self, Self::Rejection> {
                    let session = Session::from_request_parts(parts, state).await?;
                    let now = SystemTime::now();
                    let new = GuestData {
                        pageviews: 0,
                        first_seen: now,
                        last_seen: now,
                    };
                    let guest: Option<GuestData> = session.get("guest.data").await.unwrap();
                    let mut guest = guest.unwrap_or(new);
                    guest.pageviews += 1;
                    guest.last_seen = now;
                    session.insert("guest.data", guest.clone()).await.unwrap();
                    Ok(Self(guest))
                }
            }

            #[tokio::test]
            async fn a_request_that_inserts_nothing_gets_no_session() {
                let fixture = fixture();
                assert!(fixture.browser.get("/").await.set_cookies().is_empty());
                assert_eq!(fixture.browser.page("/get").await, "None");
                assert_eq!(fixture.count().await, 0);
            }

            #[tokio::test]
            async fn a_value_is_there_in_the_next_request() {
                let fixture = fixture();
                let reply = fixture.browser.get("/insert").await;
                let cookie = reply.set_cookie();
                assert!(cookie.starts_with("__Host-id="), "{cookie}");
                assert!(
                    cookie.contains("HttpOnly") && cookie.contains("Secure"),
                    "{cookie}"
                );
                assert_eq!(fixture.browser.page("/get").await, "Some(Number(42))");
            }

            #[tokio::test]
            async fn a_cookie_that_names_no_session_is_not_adopted() {
                let fixture = fixture();
                for value in ["malformed", "AAAAAAAAAAAAAAAAAAAAAA", &"A".repeat(43)] {
                    fixture.browser.cookies.set("__Host-id", value);
                    assert_eq!(fixture.browser.page("/get").await, "None");
                    fixture.browser.get("/insert").await;
                    assert_ne!(fixture.browser.cookies.session().unwrap(), value);
                    assert_eq!(fixture.browser.page("/get").await, "Some(Number(42))");
                }
            }

            #[tokio::test]
            async fn the_last_value_can_be_removed() {
                let fixture = fixture();
                fixture.browser.get("/insert").await;
                assert_eq!(fixture.browser.page("/remove").await, "Some(42)");
                assert_eq!(fixture.browser.page("/get").await, "None");
            }

            #[tokio::test]
            async fn a_cycle_keeps_the_values_under_another_cookie() {
                let fixture = fixture();
                fixture.browser.get("/insert").await;
                let old = fixture.browser.copy();
                fixture.browser.get("/cycle_id").await;
                assert_ne!(fixture.browser.cookies.session(), old.cookies.session());
                assert_eq!(fixture.browser.page("/get").await, "Some(Number(42))");
                assert_eq!(old.page("/get").await, "None");
            }

            #[tokio::test]
            async fn a_flush_ends_the_session_and_removes_the_cookie() {
                let fixture = fixture();
                fixture.browser.get("/insert").await;
                let old = fixture.browser.copy();
                let reply = fixture.browser.get("/flush").await;
                assert!(reply.set_cookie().contains("Max-Age=0"), "{reply:?}");
                assert_eq!(old.page("/get").await, "None");
                assert_eq!(fixture.count().await, 0);
            }

            #[tokio::test]
            async fn an_extractor_built_on_theirs_counts() {
                let fixture = fixture();
                for visits in 0..4 {
                    assert_eq!(fixture.browser.page("/counter").await, visits.to_string());
                }
            }

            #[tokio::test]
            async fn a_typed_bucket_built_on_theirs_is_kept() {
                let fixture = fixture();
                for visits in 1..4 {
                    assert_eq!(fixture.browser.page("/guest").await, visits.to_string());
                }
            }
        }
    };
}

documented!(v0_14, tower_sessions);
documented!(v0_15, tower_sessions_0_15);
