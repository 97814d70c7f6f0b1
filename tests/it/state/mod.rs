//! What one request knows of its session.

mod drop_order;
