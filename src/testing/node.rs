//! A second node for a test: [`second_node`].

use crate::http::layer::SessionLayer;

/// A layer as another machine would have it: the same settings and the same
/// store, and apart from that nothing in common with `layer`.
///
/// The clock and the listeners are shared. The second layer has statistics, a
/// background task and queues of its own, so that two requests on one session
/// meet in the store alone. A cache that is part of the store is shared too:
/// give each node a [`TieredStore`](crate::store::TieredStore) of its own to
/// test that.
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
