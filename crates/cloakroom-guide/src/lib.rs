//! The programs of the guide. Each example of this package is the program of the page with its name, and tests itself. The
//! programs of two pages are tests.

pub mod moving;
