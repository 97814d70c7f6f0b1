//! Stored records: encoding, lifetimes, renewal, secrecy.

mod clocks;
mod encoding;
mod lifetime;
mod renewal;
mod rolling_upgrade;
mod secrecy;
mod values;
