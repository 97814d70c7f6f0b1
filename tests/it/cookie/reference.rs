//! Whoever sends whatever headers is who a plain parser, written apart from the library, says that they are.

use std::convert::Infallible;

use cloakroom::{MemoryStore, SessionCookie, SessionHandle, SessionLayer, Transport};
use futures::executor::block_on;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use proptest::{collection::vec, prelude::*, sample::select};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::token::{NEVER_ISSUED, is_well_formed, join, split};

const X_SESSION: HeaderName = HeaderName::from_static("x-session");

/// How tokens come, with the name that a cookie has.
const WAYS: [(&str, Way); 4] = [
    ("__Host-id", Way::HostBound),
    ("__Secure-id", Way::Shared),
    ("", Way::Bearer),
    ("", Way::Named),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    HostBound,
    Shared,
    Bearer,
    Named,
}

impl Way {
    fn header(self) -> HeaderName {
        match self {
            Self::HostBound | Self::Shared => header::COOKIE,
            Self::Bearer => header::AUTHORIZATION,
            Self::Named => X_SESSION,
        }
    }

    fn layer(self) -> SessionLayer {
        let layer = SessionLayer::new(MemoryStore::default()).reap_every(None);
        match self {
            Self::HostBound => layer,
            Self::Shared => layer.cookie(SessionCookie::new("id").domain("example.com")),
            Self::Bearer => layer.transport(Transport::Bearer),
            Self::Named => layer.transport(Transport::Header(X_SESSION)),
        }
    }
}

/// Sends headers of one name. The user, and the response.
async fn ask(layer: &SessionLayer, name: &HeaderName, values: &[Vec<u8>], log_in: &str) -> Reply {
    let mut request = Request::new(());
    for value in values {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append(name.clone(), value);
    }
    let service = service_fn(async |request: Request<()>| {
        let handle: &SessionHandle = request.extensions().get().unwrap();
        let session = handle.load().await.unwrap();
        let user = session.user().map_or(String::new(), |it| it.to_string());
        if !log_in.is_empty() {
            session.log_in(log_in).unwrap();
        }
        Ok::<_, Infallible>(Response::new(user))
    });
    layer.layer(service).oneshot(request).await.unwrap()
}

type Reply = Response<String>;

fn log_in(way: Way, layer: &SessionLayer, user: &str) -> String {
    let reply = block_on(ask(layer, &way.header(), &[], user));
    let name = match way.header() {
        header::COOKIE => header::SET_COOKIE,
        name => name,
    };
    let value = reply.headers()[name].to_str().unwrap();
    let value = value.split(';').next().unwrap();
    let value = value.split_once('=').map_or(value, |(_, value)| value);
    value.trim_start_matches("Bearer ").to_owned()
}

/// A value that is a token, or nearly.
#[derive(Clone, Debug)]
enum Value {
    Ann,
    Bob,
    /// Of a session that never was.
    Invented(u8),
    /// Ann's session with another secret.
    WrongSecret(u8),
    /// The last character has bits that no token has.
    LastBits(u8),
    Padded,
    /// In the characters of the other alphabet.
    OtherAlphabet,
    OtherCase,
    Cut,
    Bytes(Vec<u8>),
}

impl Value {
    fn bytes(&self, [ann, bob]: &[String; 2]) -> Vec<u8> {
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (head, last) = ann.split_at(ann.len() - 1);
        let text = match self {
            Self::Ann => ann.clone(),
            Self::Bob => bob.clone(),
            Self::Invented(number) => join(NEVER_ISSUED, [*number; 16]),
            Self::WrongSecret(number) => join(split(ann).0, [*number; 16]),
            Self::LastBits(more) => {
                let place = ALPHABET.find(last).unwrap() + usize::from(more % 4);
                format!("{head}{}", &ALPHABET[place..=place])
            }
            Self::Padded => format!("{ann}="),
            Self::OtherAlphabet => ann.replace('-', "+").replace('_', "/"),
            Self::OtherCase => ann.to_uppercase(),
            Self::Cut => head.to_owned(),
            Self::Bytes(bytes) => return bytes.clone(),
        };
        text.into_bytes()
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'\t'), Just(b'"'), 0x20..=0x7e_u8, 0x80..=0xff_u8];
    vec(byte, 0..50)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(Value::Ann),
        2 => Just(Value::Bob),
        2 => (0..4_u8).prop_map(Value::Invented),
        1 => (0..4_u8).prop_map(Value::WrongSecret),
        1 => any::<u8>().prop_map(Value::LastBits),
        1 => Just(Value::Padded),
        1 => Just(Value::OtherAlphabet),
        1 => Just(Value::OtherCase),
        1 => Just(Value::Cut),
        1 => bytes().prop_map(Value::Bytes),
    ]
}

/// A piece of a header: what comes before the value, the value, and what comes after it.
type Piece = (&'static str, Value, &'static str);

fn piece(
    before: &'static [&'static str],
    after: &'static [&'static str],
) -> impl Strategy<Value = Piece> {
    (select(before), value(), select(after))
}

/// `NAME` is the cookie's name.
const BEFORE: [&str; 20] = [
    "NAME=",
    "NAME=",
    "NAME=",
    "NAME=",
    "NAME=\"",
    "  NAME=",
    "\tNAME=",
    "NAME =",
    "NAME= ",
    "NAME==",
    "NAMEx=",
    "xNAME=",
    "x__Host-NAME=",
    "__Secure-NAME=",
    "\u{a0}NAME=",
    "$Version=1; NAME=",
    "NAME",
    "=NAME=",
    ";;NAME=",
    "a=NAME=",
];
const AFTER: [&str; 10] = [
    "; ", "; ", ";", ";;", " ;\t", "\"; ", ", ", "", "=; ", "\"\"; ",
];
const BEFORE_BEARER: [&str; 8] = [
    "Bearer ",
    "bearer ",
    "BEARER   ",
    "Bearer",
    "Bearer\t",
    "Basic ",
    " Bearer ",
    "",
];
const BEFORE_NAMED: [&str; 4] = ["", " ", "\t", "Bearer "];
const AFTER_TOKEN: [&str; 4] = ["", " ", "\t ", ","];

fn pieces(way: Way) -> BoxedStrategy<Vec<Vec<Piece>>> {
    match way {
        Way::HostBound | Way::Shared => vec(vec(piece(&BEFORE, &AFTER), 0..6), 0..4).boxed(),
        Way::Bearer => vec(vec(piece(&BEFORE_BEARER, &AFTER_TOKEN), 1..2), 0..3).boxed(),
        Way::Named => vec(vec(piece(&BEFORE_NAMED, &AFTER_TOKEN), 1..2), 0..3).boxed(),
    }
}

/// The bytes without spaces and tabs at both ends.
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The tokens in these headers, each once, in their order.
fn tokens(way: Way, name: &str, headers: &[Vec<u8>]) -> Vec<String> {
    let mut values: Vec<&[u8]> = Vec::new();
    for header in headers {
        match way {
            Way::HostBound | Way::Shared => {
                for pair in header.split(|byte| *byte == b';') {
                    let pair = trimmed(pair);
                    let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
                        continue;
                    };
                    if pair[..equals] == *name.as_bytes() {
                        let value = &pair[equals + 1..];
                        let is_quoted =
                            value.len() > 1 && value.starts_with(b"\"") && value.ends_with(b"\"");
                        values.push(if is_quoted {
                            &value[1..value.len() - 1]
                        } else {
                            value
                        });
                    }
                }
            }
            Way::Bearer => {
                let scheme = header.get(..7).unwrap_or_default();
                if scheme.eq_ignore_ascii_case(b"Bearer ") {
                    values.push(trimmed(&header[7..]));
                }
            }
            Way::Named => values.push(trimmed(header)),
        }
    }
    let mut tokens: Vec<String> = Vec::new();
    for value in values {
        let text = str::from_utf8(value)
            .ok()
            .filter(|text| is_well_formed(text));
        tokens.extend(
            text.filter(|text| !tokens.iter().any(|known| known == text))
                .map(str::to_owned),
        );
    }
    tokens
}

/// Whose session these headers open, by rules T5 and T9.
fn whose(way: Way, name: &str, headers: &[Vec<u8>], [ann, bob]: &[String; 2]) -> &'static str {
    let tokens = tokens(way, name, headers);
    let looked_up = tokens.iter().take(3);
    let mut good = looked_up.filter_map(|token| match token {
        token if token == ann => Some("ann"),
        token if token == bob => Some("bob"),
        _ => None,
    });
    let first = good.next();
    let is_decided = match way {
        Way::HostBound => true,
        Way::Shared => tokens.len() <= 3 && good.next().is_none(),
        Way::Bearer | Way::Named => headers.len() == 1,
    };
    first.filter(|_| is_decided).unwrap_or_default()
}

fn check(way: Way, name: &str, pieces: &[Vec<Piece>]) -> Result<(), TestCaseError> {
    let layer = way.layer();
    let users = ["ann", "bob"].map(|user| log_in(way, &layer, user));
    let headers: Vec<Vec<u8>> = pieces
        .iter()
        .map(|pieces| {
            let parts = pieces.iter().flat_map(|(before, value, after)| {
                let before = before.replace("NAME", name).into_bytes();
                [before, value.bytes(&users), after.as_bytes().to_vec()]
            });
            parts.flatten().collect()
        })
        .collect();
    let reply = block_on(ask(&layer, &way.header(), &headers, ""));
    prop_assert_eq!(reply.status(), StatusCode::OK);
    let shown: Vec<_> = headers
        .iter()
        .map(|it| it.escape_ascii().to_string())
        .collect();
    prop_assert_eq!(
        reply.body(),
        whose(way, name, &headers, &users),
        "{:?}",
        shown
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn t5_t9_a_plain_parser_of_the_headers_finds_the_same_session(
        ((name, way), pieces) in select(&WAYS[..]).prop_flat_map(|(name, way)| (Just((name, way)), pieces(way))),
    ) {
        check(way, name, &pieces)?;
    }
}
