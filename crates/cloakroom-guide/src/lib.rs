//! The programs of the guide that need more than cloakroom's own examples. The examples of this package are the programs
//! of the pages "Log in" and "OpenID Connect", and test themselves. The pages about other packages are its doctests.

#[doc = include_str!("../../../docs/guide/moving-from-tower-sessions.md")]
pub mod moving;

#[doc = include_str!("../../../docs/guide/operators.md")]
pub mod operators {}
