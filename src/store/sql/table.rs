//! The name of a table, checked before it becomes part of a statement: [`TableName`].

use crate::error::ConfigError;

/// The databases allow 63 characters. Names that are derived from this one need some of them.
const MAX_NAME: usize = 48;

/// A table, perhaps in a schema. It has only letters, digits and underscores, so that quoting needs no escapes.
#[derive(Clone, Debug)]
pub struct TableName {
    schema: Option<Box<str>>,
    name: Box<str>,
}

impl TableName {
    pub(super) fn new(text: &str) -> Result<Self, ConfigError> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        if schema.into_iter().chain([name]).all(is_identifier) {
            return Ok(Self {
                schema: schema.map(Into::into),
                name: name.into(),
            });
        }
        Err(ConfigError::new(format!(
            "the table name {text:?} is not allowed: use up to {MAX_NAME} letters (a to z), \
             digits and underscores, not beginning with a digit, and where it is in a schema \
             that name and a dot before it: \"sessions\", \"app.sessions\""
        )))
    }

    pub(super) fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// Without the schema.
    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name beside it with this ending: of an index, or of the table of versions.
    pub(super) fn with(&self, ending: &str) -> Self {
        Self {
            schema: self.schema.clone(),
            name: format!("{}{ending}", self.name).into(),
        }
    }

    /// The name in these quotes, for a statement.
    pub(super) fn quoted(&self, quote: char) -> String {
        match &self.schema {
            Some(schema) => format!("{quote}{schema}{quote}.{}", self.bare(quote)),
            None => self.bare(quote),
        }
    }

    /// The same without the schema.
    pub(super) fn bare(&self, quote: char) -> String {
        format!("{quote}{}{quote}", self.name)
    }

    /// A number for the table, which names a lock.
    #[cfg(any(feature = "postgres", feature = "mysql"))]
    pub(super) fn number(&self) -> i64 {
        use sha2::{Digest as _, Sha256};

        let hash: [u8; 32] = Sha256::digest(format!("cloakroom {self}")).into();
        let (numbers, _) = hash.as_chunks();
        i64::from_be_bytes(numbers[0])
    }
}

impl Default for TableName {
    fn default() -> Self {
        Self {
            schema: None,
            name: "sessions".into(),
        }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(is_word)
        && !name.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_letters_digits_and_underscores_are_allowed() {
        for name in [
            "sessions",
            "_s",
            "S3ssions",
            "app.sessions",
            "select",
            &"a".repeat(48),
        ] {
            let table = TableName::new(name).unwrap();
            assert_eq!(table.to_string(), name);
        }
        let table = TableName::new("app.order").unwrap();
        assert_eq!(table.quoted('"'), r#""app"."order""#);
        assert_eq!(table.with("_schema").quoted('`'), "`app`.`order_schema`");
        assert_eq!(table.bare('"'), r#""order""#);
    }

    #[test]
    fn everything_else_is_refused_with_what_to_do() {
        let long = "a".repeat(49);
        for name in [
            "", ".", "a.", ".a", "a.b.c", "1a", "a-b", "a b", "a;b", "a\"b", "a`b", "a'b", "a\0",
            "ä", &long,
        ] {
            let error = TableName::new(name).unwrap_err().to_string();
            assert!(error.contains("letters"), "{name:?}: {error}");
        }
    }
}
