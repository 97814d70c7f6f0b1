//! What a server and the wire to it may do to a SQL store: [`server_faults`] makes the tests.

/// The tests of `$store` over the network, with servers of the type `$server`.
macro_rules! server_faults {
    ($store:ty, $server:ty) => {
        /// A server, a wire to it, and a store of some connections through that.
        async fn wired(server: &$server) -> (Proxy, $store) {
            let database = server.new_database().await;
            let proxy = Proxy::before(([127, 0, 0, 1], server.port()).into());
            let url = <$server>::url(proxy.address().port(), &database);
            let store = <$store>::connect(&url).await.unwrap();
            store.migrate().await.unwrap();
            (proxy, store)
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_server_that_is_killed_and_restarted_loses_nothing_that_was_answered() {
            let server = <$server>::start();
            let url = server.database().await;
            let store = <$store>::connect(&url).await.unwrap();
            store.migrate().await.unwrap();
            let load = Load::on(store).await;
            for _ in 0..3 {
                load.answered(150).await;
                tokio::task::block_in_place(|| {
                    server.kill();
                    server.restart();
                });
            }
            load.answered(150).await;
            load.finish().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_connection_that_breaks_and_loses_replies_neither_loses_nor_repeats_a_call() {
            let (proxy, store) = wired(<$server>::shared()).await;
            let load = Load::on(store).await;
            for turn in 0..60 {
                load.answered(5).await;
                proxy.set(match turn % 6 {
                    0 => Mode::Cut,
                    3 => Mode::Delay(Duration::from_millis(1)),
                    _ => Mode::LoseOneReply,
                });
                if proxy.mode() == Mode::Cut {
                    proxy.set(Mode::Pass);
                }
            }
            proxy.set(Mode::Pass);
            assert!(proxy.lost_replies() > 10);
            load.answered(100).await;
            load.finish().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_server_that_hangs_delays_no_request_past_its_time_and_is_found_again() {
            let (proxy, store) = wired(<$server>::shared()).await;
            let load = Load::on(store).await;
            for end in [Mode::Pass, Mode::Cut] {
                load.answered(50).await;
                proxy.set(Mode::Hang);
                load.failed(20).await;
                proxy.set(end);
                proxy.set(Mode::Pass);
            }
            load.answered(100).await;
            load.finish().await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn f7_requests_that_clients_give_up_cost_no_connections() {
            let (proxy, store) = wired(<$server>::shared()).await;
            let before = proxy.connections();
            abandon::requests(&store, &proxy, Duration::from_secs(1)).await;
            let most = store.pool().options().get_max_connections() as usize;
            let made = proxy.connections() - before;
            assert!(made <= most, "{made} connections, and the pool has {most} at most");
            assert!(store.load(id(1)).await.unwrap().is_none());
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn f7_connections_that_never_answer_again_are_given_up() {
            let (proxy, store) = wired(<$server>::shared()).await;
            let load = Load::on(store).await;
            load.answered(50).await;
            // Those that are open now hang for good: no end is ever signalled.
            proxy.set(Mode::Hang);
            load.failed(20).await;
            proxy.strand();
            load.answered(100).await;
            load.finish().await;
        }

        /// The next reply is lost: that of the same statement as `rehearsal`, which is prepared by it.
        async fn lose<T>(proxy: &Proxy, store: &$store, rehearsal: impl Future<Output = T>) {
            quiet(store).await;
            rehearsal.await;
            quiet(store).await;
            proxy.set(Mode::LoseOneReply);
        }

        /// Connections that are given back are tried once more: waits for that.
        async fn quiet(store: &$store) {
            let idle = async {
                while store.pool().num_idle() < store.pool().size() as usize {
                    tokio::task::yield_now().await;
                }
            };
            let idle = tokio::time::timeout(Duration::from_secs(60), idle).await;
            idle.expect("connections are given back");
        }

        #[tokio::test]
        async fn a_call_whose_reply_is_lost_is_asked_again_and_knows_its_own_write() {
            let (proxy, store) = wired(<$server>::shared()).await;
            // One connection, which asks nothing of its own.
            let pool = PoolOptions::new().max_connections(1).test_before_acquire(false);
            let options = store.pool().connect_options();
            let store = <$store>::new(pool.connect_lazy_with((*options).clone()));
            let first = record(json!({}));
            let second = record(json!({ "version": "2-00000000000000aa" }));
            lose(&proxy, &store, store.create(id(2), &first, until(None))).await;
            let created = store.create(id(1), &first, until(9_000)).await.unwrap();
            assert_eq!(created, Created::Yes);
            lose(&proxy, &store, store.load(id(2))).await;
            let (loaded, _) = store.load(id(1)).await.unwrap().unwrap();
            assert_eq!(loaded.version(), first.version());
            lose(&proxy, &store, store.touch(id(2), crate::support::former(first.version()), until(None))).await;
            let touched = store.touch(id(1), crate::support::former(first.version()), until(None)).await.unwrap();
            assert_eq!(touched, Touched::Yes);
            lose(&proxy, &store, store.update(id(2), &first, until(None), former(first.version()))).await;
            let updated = store.update(id(1), &second, until(9_000), former(first.version())).await;
            assert_eq!(updated.unwrap(), Updated::Saved);
            let (loaded, activity) = store.load(id(1)).await.unwrap().unwrap();
            assert_eq!((loaded.version(), activity), (second.version(), until(9_000)));
            lose(&proxy, &store, store.delete(id(3))).await;
            let lost = store.delete(id(1)).await.unwrap_err();
            assert_eq!(lost.kind(), StoreErrorKind::Unavailable);
            assert!(!lost.is_not_applied());
            assert!(store.load(id(1)).await.unwrap().is_none());
            assert_eq!(proxy.lost_replies(), 5);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn a_lost_reply_is_not_denied() {
            let (proxy, store) = wired(<$server>::shared()).await;
            let pool = PoolOptions::new().max_connections(1).test_before_acquire(false);
            let options = store.pool().connect_options();
            let store = <$store>::new(pool.connect_lazy_with((*options).clone()));
            let proxy = std::sync::Arc::new(proxy);
            cloakroom::testing::Conformance::new(async || store.clone())
                .lose_reply(move |store: std::sync::Arc<$store>| {
                    let proxy = std::sync::Arc::clone(&proxy);
                    async move {
                        quiet(&store).await;
                        proxy.set(Mode::LoseOneReply);
                    }
                })
                .only("reply")
                .run()
                .await;
        }

        #[tokio::test]
        async fn what_was_never_sent_is_certainly_not_applied() {
            let (proxy, store) = wired(<$server>::shared()).await;
            let pool = PoolOptions::new().max_connections(1).acquire_timeout(std::time::Duration::from_millis(200));
            let options = store.pool().connect_options();
            let store = <$store>::new(pool.connect_lazy_with((*options).clone()));
            proxy.set(Mode::Cut);
            let unreachable = store.create(id(1), &record(json!({})), until(None)).await.unwrap_err();
            assert!(unreachable.is_not_applied(), "{unreachable:?}");
            proxy.set(Mode::Pass);
            let held = store.pool().acquire().await.unwrap();
            let exhausted = store.create(id(1), &record(json!({})), until(None)).await.unwrap_err();
            assert!(exhausted.is_not_applied(), "{exhausted:?}");
            drop(held);
            store.pool().close().await;
            let closed = store.create(id(1), &record(json!({})), until(None)).await.unwrap_err();
            assert!(closed.is_not_applied(), "{closed:?}");
        }

        #[tokio::test]
        async fn an_error_to_connect_names_host_and_port_and_no_password() {
            let free = free_port();
            let nobody = <$server>::url(free, "app");
            let error = <$store>::connect(&nobody).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            let said = format!("{error} {error:?} {}", error.source().unwrap());
            assert!(said.contains(&format!("127.0.0.1:{free}")), "{said}");
            assert!(said.contains("refused"), "{said}");
            let server = <$server>::shared();
            let wrong = <$server>::url(server.port(), "app").replace("-of-the-", "-off-the-");
            let error = <$store>::connect(&wrong).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Unavailable);
            let refused = format!("{error} {error:?} {}", error.source().unwrap());
            assert!(
                refused.contains(&format!("127.0.0.1:{}", server.port())),
                "{refused}"
            );
            assert!(
                refused.contains("refuses the user or the password"),
                "{refused}"
            );
            let none = <$store>::connect(&<$server>::url(server.port(), "none"))
                .await
                .unwrap_err();
            let none = format!("{none} {none:?} {}", none.source().unwrap());
            assert!(none.contains("no such database"), "{none}");
            for said in [said, refused, none] {
                assert!(
                    !said.contains("hunter2") && !said.contains("cloakroom@"),
                    "{said}"
                );
            }
        }
    };
}
pub(crate) use server_faults;
