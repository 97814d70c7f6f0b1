//! The programs of the guide. Each example of this package is the program of the page with its name, and tests itself. The
//! page about moving from tower-sessions is its doctest.

#[doc = include_str!("../../../docs/guide/moving-from-tower-sessions.md")]
pub mod moving;
