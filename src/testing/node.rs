//! A second node for a test: [`second_node`].

use crate::http::layer::SessionLayer;

/// A second layer with the same settings and the same store, like on another
/// machine.
///
/// The clock and the listeners are shared. The second layer has statistics, a
/// background task and queues of its own, so that requests to the two layers
/// interact only through the store. A cache that is part of the store is shared
/// too. To test a cache, give each node a
/// [`TieredStore`](crate::store::TieredStore) of its own.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use cloakroom::{SessionLayer, testing::{Ticket, second_node}};
///
/// let here = SessionLayer::default();
/// let there = second_node(&here);
/// let ticket = Ticket::new(&here, |session| session.insert("cart", ["hat"])).await?;
///
/// let session = ticket.peek_at(&there).await?.expect("both have one store");
/// assert!(session.contains_key("cart"));
/// # Ok::<(), cloakroom::Error>(())
/// # }).unwrap();
/// ```
#[must_use]
pub fn second_node(layer: &SessionLayer) -> SessionLayer {
    layer.second_node()
}
