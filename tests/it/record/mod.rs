//! What a store keeps, and how long.

mod encoding;
mod lifetime;
mod renewal;
mod rolling_upgrade;
mod secrecy;
mod values;
