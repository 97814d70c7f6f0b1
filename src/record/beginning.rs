//! When a session began, and in which realm: [`Beginning`].

use crate::{clock::Timestamp, record::realm::Realm};

/// The time and the realm in one word, because every session in memory has them. Times end with the year 9999, so 16 bits
/// are left for the realm.
#[derive(Clone, Copy)]
pub(super) struct Beginning(u64);

const TIME_BITS: u32 = 48;
const _: () = assert!(Timestamp::MAX.as_millis() >> TIME_BITS == 0);

impl Beginning {
    pub(super) const fn new(at: Timestamp, realm: Realm) -> Self {
        Self((realm.to_bits() as u64) << TIME_BITS | at.as_millis())
    }

    pub(super) const fn at(self) -> Timestamp {
        Timestamp::from_millis(self.0 & ((1 << TIME_BITS) - 1))
    }

    pub(super) const fn realm(self) -> Realm {
        Realm::from_bits((self.0 >> TIME_BITS) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_and_the_realm_are_kept_apart() {
        for at in [Timestamp::EPOCH, Timestamp::MAX] {
            for realm in [0, 1, u16::MAX].map(Realm::from_bits) {
                let beginning = Beginning::new(at, realm);
                assert_eq!((beginning.at(), beginning.realm()), (at, realm));
            }
        }
    }
}
