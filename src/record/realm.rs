//! Which cookie a session was issued for: [`Realm`].

use std::{collections::HashMap, sync::LazyLock};

use parking_lot::RwLock;

/// The longest name. Browsers keep no cookie whose name is longer.
const MAX_NAME: usize = 4096;

/// The realm of a session: where its tokens are accepted. Usually the full name of a cookie.
///
/// The name is kept once for the process, so that each record needs two bytes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Realm(u16);

/// Every name that a layer has, or a record had. Operators choose them, so there are few.
struct Names {
    by_name: HashMap<&'static str, Realm>,
    all: Vec<&'static str>,
}

static NAMES: LazyLock<RwLock<Names>> = LazyLock::new(|| {
    let mut names = Names {
        by_name: HashMap::new(),
        all: vec![""],
    };
    names.add(DEFAULT_NAME);
    RwLock::new(names)
});

/// The name of the default cookie.
const DEFAULT_NAME: &str = "__Host-id";

impl Realm {
    /// The realm of a record that was written before realms existed.
    pub(crate) const NONE: Self = Self(0);
    /// The realm of the default cookie. Nodes that know no realms read its records too.
    pub(crate) const DEFAULT: Self = Self(1);

    /// The realm of this name. `None` if the name is too long, or there are too many names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let known = NAMES.read().by_name.get(name).copied();
        known.or_else(|| NAMES.write().add(name))
    }

    /// `None` for [`Realm::NONE`].
    pub(crate) fn name(self) -> Option<&'static str> {
        (self != Self::NONE).then(|| NAMES.read().all[usize::from(self.0)])
    }

    pub(super) const fn to_bits(self) -> u16 {
        self.0
    }

    /// The realm whose [`to_bits`](Self::to_bits) returned this.
    pub(super) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }
}

impl Names {
    fn add(&mut self, name: &str) -> Option<Realm> {
        if let Some(known) = self.by_name.get(name) {
            return Some(*known);
        }
        let realm = Realm(u16::try_from(self.all.len()).ok()?);
        if name.len() > MAX_NAME {
            return None;
        }
        let name: &'static str = name.to_owned().leak();
        self.all.push(name);
        self.by_name.insert(name, realm);
        Some(realm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_realm() {
        assert_eq!(Realm::named("__Host-id"), Some(Realm::DEFAULT));
        assert_eq!(Realm::DEFAULT.name(), Some("__Host-id"));
        assert_eq!(Realm::NONE.name(), None);
        let shop = Realm::named("realm-test-shop").unwrap();
        assert_eq!(Realm::named("realm-test-shop"), Some(shop));
        assert_eq!(shop.name(), Some("realm-test-shop"));
        assert_ne!(Realm::named("realm-test-staff"), Some(shop));
        assert_eq!(Realm::named(&"x".repeat(MAX_NAME + 1)), None);
    }

    #[test]
    fn an_empty_name_is_a_realm_of_its_own() {
        let empty = Realm::named("").unwrap();
        assert_ne!(empty, Realm::NONE);
        assert_eq!(empty.name(), Some(""));
    }
}
