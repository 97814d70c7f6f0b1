//! The positions at which pages of a list end.

use super::{
    breach::{Outcome, Unmet, expect},
    draft::Draft,
    times::live,
    trial::{Trial, of},
};
use crate::{
    error::store::StoreErrorKind,
    record::token::SessionId,
    store::{Position, Query, SessionStore, StorePage},
};

pub(super) async fn a_position_survives_its_bytes<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = trial.new_user("ann");
    for _ in 0..3 {
        trial.session(Draft::of_user(&user), live()).await?;
    }
    for query in [of(&user), Query::default()] {
        let Some(page) = trial.list(&query, None, 1).await? else {
            return Ok(());
        };
        let Some(next) = page.next else {
            return Err(Unmet::new("a position after the first of three", "none"));
        };
        let copy = Position::new(next.as_bytes()).ok_or_else(|| {
            let expected = format!("at most {} bytes in a position", Position::MAX_BYTES);
            Unmet::new(expected, next.as_bytes().len().to_string())
        })?;
        let ids = |page: Option<StorePage>| -> Vec<SessionId> {
            let sessions = page.map(|page| page.sessions).unwrap_or_default();
            sessions.iter().map(|listed| listed.id).collect()
        };
        let expected = ids(trial.list(&of(&user), Some(&next), 100).await?);
        let came = ids(trial.list(&of(&user), Some(&copy), 100).await?);
        expect("`list` after a copy of the position", expected, came)?;
    }
    Ok(())
}

pub(super) async fn a_position_of_no_list_is_refused<S: SessionStore>(trial: &Trial<S>) -> Outcome {
    let user = trial.new_user("ann");
    trial.session(Draft::of_user(&user), live()).await?;
    for query in [of(&user), Query::default()] {
        for bytes in [
            vec![],
            vec![0],
            vec![b'x'; 17],
            vec![0xff; Position::MAX_BYTES],
        ] {
            let length = bytes.len();
            let Some(position) = Position::new(bytes) else {
                continue;
            };
            let came = match trial.store.list(&query, Some(&position), 10).await {
                Err(error) if error.kind() == StoreErrorKind::Unsupported => return Ok(()),
                Err(error) if error.kind() == StoreErrorKind::InvalidPosition => continue,
                Err(error) => format!("the error {:?}", error.kind()),
                Ok(_) => "a page".to_owned(),
            };
            let expected = format!("the error InvalidPosition of a position of {length} bytes");
            return Err(Unmet::new(expected, came));
        }
    }
    Ok(())
}
