//! The conformance kit: sound stores pass it, and each bug fails the clause that names it.

use std::sync::Arc;

use cloakroom::{
    MemoryStore,
    store::DynStore,
    testing::{FaultyStore, conformance},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_memory_store_keeps_the_contract() {
    conformance(async || MemoryStore::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_memory_store_of_one_shard_keeps_the_contract() {
    conformance(async || MemoryStore::builder().max_sessions(2_000).build()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shared_store_keeps_the_contract() {
    let store = Arc::new(MemoryStore::default());
    conformance(async || Arc::clone(&store)).await;
    assert!(store.is_empty(), "what the kit made it deletes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_chosen_at_run_time_keeps_the_contract() {
    conformance(async || DynStore::new(MemoryStore::default())).await;
    conformance(async || DynStore::new(FaultyStore::in_memory())).await;
}

#[tokio::test]
async fn a_faulty_store_without_faults_keeps_the_contract() {
    conformance(async || FaultyStore::in_memory()).await;
}
