//! The programs of the guide. Each example of this package is the program of the page with its name, and tests itself. The
//! pages about other packages are its doctests.

#[doc = include_str!("../../../docs/guide/moving-from-tower-sessions.md")]
pub mod moving;

#[doc = include_str!("../../../docs/guide/operators.md")]
pub mod operators {}
