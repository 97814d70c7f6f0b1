//! Redis Cluster: three primaries, three replicas, and those that fail.

use cloakroom::{SessionStore as _, store::RedisStore, testing::Conformance};

use super::{load::Load, processes, redis};
use crate::support::servers::{RedisCluster, redis::unique_prefix};

async fn connect(cluster: &RedisCluster) -> RedisStore {
    let urls = cluster.urls();
    RedisStore::cluster(urls.iter().map(String::as_str))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_keeps_the_contract() {
    let prefix = unique_prefix();
    let cluster = RedisCluster::shared();
    Conformance::new(async || connect(cluster).await.prefix(&prefix))
        .run()
        .await;
}
