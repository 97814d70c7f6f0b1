//! A clause that does not hold: [`Breach`].

use std::{error::Error as _, fmt};

use crate::error::store::StoreError;

/// A clause of the contract that a store does not keep. [`Conformance::breaches`](super::Conformance::breaches)
/// returns it.
///
/// ```
/// use cloakroom::testing::Breach;
///
/// fn names(breaches: &[Breach]) -> Vec<&'static str> {
///     breaches.iter().map(|breach| breach.clause).collect()
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Breach {
    /// The clause's name.
    pub clause: &'static str,
    /// The rule of the contract.
    pub rule: &'static str,
    /// The expected result.
    pub expected: String,
    /// The actual result.
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

/// Checks that the `call` has returned the `expected` result.
pub(super) fn expect<T: PartialEq + fmt::Debug>(call: &str, expected: T, came: T) -> Outcome {
    if came == expected {
        Ok(())
    } else {
        let expected = format!("{expected:?} of {call}");
        Err(Unmet::new(expected, format!("{came:?}")))
    }
}

/// Checks that the condition `holds`.
pub(super) fn require(holds: bool, expected: &str, came: impl fmt::Display) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(Unmet::new(expected, came.to_string()))
    }
}
