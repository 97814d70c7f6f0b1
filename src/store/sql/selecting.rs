//! The statements of lists and counts: [`Selecting`] writes them.

use uuid::Uuid;

use super::value::Value;
use crate::store::Order;

/// The `begun_at` of a record that was created as a marker. Such a record is no session, and a count finds it by the index
/// of this column. Its `user_hash` is NULL.
pub(super) const BEGUN_AS_MARKER: i64 = 0;

/// The request for a page.
pub(super) struct Request<'a> {
    pub(super) order: Order,
    /// When the last session of the previous page began, and its id.
    pub(super) after: Option<(i64, Uuid)>,
    /// Terms that an index finds, so that no other row is looked at.
    pub(super) bounds: Vec<Term<'a>>,
    pub(super) conditions: Vec<Term<'a>>,
    pub(super) limit: i64,
    /// How many rows within the bounds are looked at; `None`: as many as it takes.
    pub(super) window: Option<i64>,
}

/// A condition that each row meets.
#[derive(Clone, Copy)]
pub(super) enum Term<'a> {
    User(Value<'a>),
    LoggedIn(bool),
    LastSeenBefore(i64),
    CreatedBefore(i64),
    BegunSince(i64),
    BegunBefore(i64),
}

impl Term<'_> {
    pub(super) fn is_of_user(&self) -> bool {
        matches!(self, Self::User(_))
    }

    /// Whether no row of a record that was created as a marker meets it.
    fn excludes_markers(&self) -> bool {
        match self {
            Self::User(_) | Self::LoggedIn(true) => true,
            Self::BegunSince(time) => *time > BEGUN_AS_MARKER,
            _ => false,
        }
    }

    pub(super) fn is_begun(&self) -> bool {
        matches!(self, Self::BegunSince(_) | Self::BegunBefore(_))
    }
}

/// Writes the statements that select rows of one table.
#[derive(Debug)]
pub(super) struct Selecting {
    pub(super) table: String,
    /// The columns that [`SessionRow`](super::value::SessionRow) reads.
    pub(super) columns: String,
    /// The expression for the time when a session got its id.
    pub(super) begun: &'static str,
    /// Whether placeholders have numbers.
    pub(super) numbers: bool,
    /// Whether an index finds a pair that is compared with a pair.
    pub(super) compares_pairs: bool,
}

type Statement<'a> = (String, Vec<Value<'a>>);

impl Selecting {
    /// A page of sessions, each with its key, after which the list can continue.
    pub(super) fn list<'a>(&self, request: &Request<'a>) -> Statement<'a> {
        let (table, begun) = (&self.table, self.begun);
        let order = self.order(request.order);
        let mut text = Text::new(self);
        text.push(&format!("SELECT {}, {begun} AS begun FROM ", self.columns));
        match request.window {
            None => {
                text.push(table);
                let terms = request.bounds.iter().chain(&request.conditions);
                self.place(&mut text, request, terms);
            }
            Some(window) => {
                // The ids alone first, so that rows which do not match are not read as a whole.
                text.push("(SELECT id FROM ");
                text.push(&format!(
                    "(SELECT id, user_hash, created_at, last_seen_at, {begun} AS begun FROM {table}"
                ));
                self.place(&mut text, request, request.bounds.iter());
                text.push(&format!(" ORDER BY {order} LIMIT "));
                text.bind(Value::Number(window));
                text.push(") AS looked_at");
                for (index, term) in request.conditions.iter().enumerate() {
                    text.push(if index == 0 { " WHERE " } else { " AND " });
                    text.term(term, "begun");
                }
                let order = order.replace(begun, "begun");
                text.push(&format!(" ORDER BY {order} LIMIT "));
                text.bind(Value::Number(request.limit));
                text.push(&format!(") AS found JOIN {table} USING (id)"));
            }
        }
        text.push(&format!(" ORDER BY {order} LIMIT "));
        text.bind(Value::Number(request.limit));
        text.done()
    }

    /// The last row that the request's window looks at. `None` if there is no window.
    pub(super) fn end_of_window<'a>(&self, request: &Request<'a>) -> Option<Statement<'a>> {
        let window = request.window?;
        let mut text = Text::new(self);
        let begun = self.begun;
        text.push(&format!("SELECT id, {begun} AS begun FROM {}", self.table));
        self.place(&mut text, request, request.bounds.iter());
        let order = self.order(request.order);
        text.push(&format!(" ORDER BY {order} LIMIT 1 OFFSET "));
        text.bind(Value::Number(window - 1));
        Some(text.done())
    }

    /// How many sessions meet the terms, counted up to `limit`. What was created as a marker is left out.
    pub(super) fn count<'a>(&self, terms: &[Term<'a>], limit: Option<i64>) -> Statement<'a> {
        let mut text = Text::new(self);
        let (table, begun) = (&self.table, self.begun);
        if terms.is_empty() && limit.is_none() {
            // Databases count all rows by their smallest index, and an index finds the markers, which are few.
            text.push(&format!(
                "SELECT count(*) - (SELECT count(*) FROM {table} WHERE {begun} = {BEGUN_AS_MARKER}) \
                 FROM {table}"
            ));
            return text.done();
        }
        if limit.is_some() {
            text.push("SELECT count(*) FROM (SELECT id FROM ");
        } else {
            text.push("SELECT count(*) FROM ");
        }
        text.push(table);
        let mut link = " WHERE ";
        for term in terms {
            text.push(link);
            text.term(term, begun);
            link = " AND ";
        }
        if !terms.iter().any(Term::excludes_markers) {
            // Written so that the database uses no index for it, because nearly all rows meet it.
            text.push(&format!("{link}{begun} + 0 > {BEGUN_AS_MARKER}"));
        }
        if let Some(limit) = limit {
            // The newest rows are at the end of the table. A planner that expects them all over the table reads it
            // from the beginning.
            if terms.iter().any(Term::is_begun) && !terms.iter().any(Term::is_of_user) {
                text.push(&format!(" ORDER BY {begun} DESC"));
            }
            text.push(" LIMIT ");
            text.bind(Value::Number(limit));
            text.push(") AS counted");
        }
        text.done()
    }

    fn order(&self, order: Order) -> String {
        match order {
            Order::Id => "id".to_owned(),
            Order::NewestFirst => format!("{} DESC, id DESC", self.begun),
            Order::LastSeenFirst => "last_seen_at DESC, id DESC".to_owned(),
        }
    }

    /// The `WHERE` clause: the terms, and the position after the previous page.
    fn place<'a, 'b>(
        &self,
        text: &mut Text<'a>,
        request: &Request<'a>,
        terms: impl Iterator<Item = &'b Term<'a>>,
    ) where
        'a: 'b,
    {
        let mut link = " WHERE ";
        for term in terms {
            text.push(link);
            text.term(term, self.begun);
            link = " AND ";
        }
        let Some((begun_at, id)) = request.after else {
            return;
        };
        let (begun, begun_at, id) = (self.begun, Value::Number(begun_at), Value::Id(id));
        text.push(link);
        match request.order {
            Order::NewestFirst if self.compares_pairs => {
                text.push(&format!("({begun}, id) < ("));
                text.bind(begun_at);
                text.push(", ");
                text.bind(id);
                text.push(")");
            }
            Order::NewestFirst => {
                // Two ranges of the index.
                text.push(&format!("({begun} < "));
                text.bind(begun_at);
                text.push(&format!(" OR ({begun} = "));
                text.bind(begun_at);
                text.push(" AND id < ");
                text.bind(id);
                text.push("))");
            }
            Order::Id | Order::LastSeenFirst => {
                text.push("id > ");
                text.bind(id);
            }
        }
    }
}

/// The text of a statement, and the values bound to it.
struct Text<'a> {
    sql: String,
    values: Vec<Value<'a>>,
    numbers: bool,
}

impl<'a> Text<'a> {
    fn new(selecting: &Selecting) -> Self {
        Self {
            sql: String::with_capacity(256),
            values: Vec::new(),
            numbers: selecting.numbers,
        }
    }

    fn push(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    fn bind(&mut self, value: Value<'a>) {
        self.values.push(value);
        if self.numbers {
            let number = self.values.len();
            self.push(&format!("${number}"));
        } else {
            self.push("?");
        }
    }

    fn term(&mut self, term: &Term<'a>, begun: &str) {
        let (column, operator, value) = match *term {
            Term::User(hash) => ("user_hash", " = ", hash),
            Term::LoggedIn(true) => return self.push("user_hash IS NOT NULL"),
            Term::LoggedIn(false) => return self.push("user_hash IS NULL"),
            Term::LastSeenBefore(time) => ("last_seen_at", " < ", Value::Number(time)),
            Term::CreatedBefore(time) => ("created_at", " < ", Value::Number(time)),
            Term::BegunSince(time) => (begun, " >= ", Value::Number(time)),
            Term::BegunBefore(time) => (begun, " < ", Value::Number(time)),
        };
        self.push(column);
        self.push(operator);
        self.bind(value);
    }

    fn done(self) -> Statement<'a> {
        (self.sql, self.values)
    }
}
