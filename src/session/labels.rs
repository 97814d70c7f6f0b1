//! The labels of a [`Session`], which lists show.

use crate::{
    error::Error,
    record::labels::{check, check_number},
    session::Session,
};

/// # Labels
impl Session {
    /// The session's label with this name. `None` if there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<String> {
        self.0.state().labels().get(name).map(str::to_owned)
    }

    /// Sets a label of the session, for a list of the user's devices: "Ann's phone", for example.
    ///
    /// Labels are short texts beside the session's data. They survive cycles, and log-ins of the same user.
    /// [`SessionSummary::label`](crate::SessionSummary::label) returns them. With
    /// [`SessionLayer::label`](crate::SessionLayer::label) the layer sets labels when a session begins or logs in. A
    /// label alone does not store a new session.
    ///
    /// ```
    /// # use cloakroom::{Error, Session};
    /// fn log_in(session: &Session, user: u64, device: &str) -> Result<(), Error> {
    ///     session.log_in(user)?;
    ///     session.set_label("device", device)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `TooLarge` if the name is empty or has more than 32 bytes, if the label has more than 256 bytes, or if the
    /// session would have more than eight labels. After an error the session is unchanged. ([Rule](crate#rules) U9.)
    pub fn set_label(&self, name: &str, label: &str) -> Result<(), Error> {
        check(name, label)?;
        let mut state = self.0.state();
        let labels = state.labels();
        let is_further = labels.get(name).is_none();
        check_number(labels.len() + usize::from(is_further))?;
        state.edit().0.set_label(name, Some(label));
        Ok(())
    }

    /// Removes the session's label with this name, if there is one.
    pub fn remove_label(&self, name: &str) {
        self.0.state().edit().0.set_label(name, None);
    }
}
