//! The state of one request.

mod drop_order;
