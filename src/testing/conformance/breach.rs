//! A clause that does not hold: [`Breach`].

use std::{error::Error as _, fmt};

use crate::error::store::StoreError;

/// A clause of the contract that a store does not keep.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Breach {
    /// The clause's name.
    pub clause: &'static str,
    /// What the contract says.
    pub rule: &'static str,
    /// What should have come.
    pub expected: String,
    /// What came.
    pub came: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            clause,
            rule,
            expected,
            came,
        } = self;
        write!(
            f,
            "{clause}\n  rule:     {rule}\n  expected: {expected}\n  came:     {came}"
        )
    }
}

/// What a clause saw instead of what it expected.
#[derive(Debug)]
pub(super) struct Unmet {
    pub(super) expected: String,
    pub(super) came: String,
}

pub(super) type Outcome<T = ()> = Result<T, Unmet>;

impl Unmet {
    pub(super) fn new(expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            came: came.into(),
        }
    }

    pub(super) fn failed(call: &str, error: &StoreError) -> Self {
        let mut came = format!("the error {:?}: {error}", error.kind());
        let mut cause = error.source();
        while let Some(source) = cause {
            came = format!("{came}: {source}");
            cause = source.source();
        }
        Self::new(format!("`{call}` succeeds"), came)
    }
}

/// Unless `came` is `expected` of the `call`.
pub(super) fn expect<T: PartialEq + fmt::Debug>(call: &str, expected: T, came: T) -> Outcome {
    if came == expected {
        Ok(())
    } else {
        let expected = format!("{expected:?} of {call}");
        Err(Unmet::new(expected, format!("{came:?}")))
    }
}

/// Unless `holds`.
pub(super) fn require(holds: bool, expected: &str, came: impl fmt::Display) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Unmet::new(expected, came.to_string()))
    }
}
