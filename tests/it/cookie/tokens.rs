//! T1 to T5: which cookies open a session, and which never do.

use std::collections::BTreeSet;

use axum::{Router, body::Body, extract::Path, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cloakroom::{
    CookiePrefix, Error, Session, SessionCookie, SessionCookieBuilder, SessionLayer, SessionStore,
    Transport,
};
use http::{HeaderValue, Request, StatusCode, header};
use tokio::time::advance;
use tracing::Level;
use uuid::Uuid;

use crate::support::{
    Browser, FaultyStore, FixedClock, Log, Reply, StoreCall,
    carried::{carried, every_transport},
    fixture::SECOND,
    session_cookie,
    token::{NEVER_ISSUED, is_well_formed, join, split},
};

const NAME: &str = "__Host-id";

async fn who(session: Session) -> Result<String, Error> {
    let name: Option<String> = session.get("name")?;
    Ok(name.unwrap_or_else(|| "nobody".to_owned()))
}

/// An app whose visitors have names.
struct House {
    app: Router,
    store: FaultyStore,
}

impl House {
    fn new() -> Self {
        Self::with(SessionCookie::new("id"))
    }

    /// One for each way that a token can travel.
    fn each() -> [Self; 3] {
        every_transport().map(|transport| Self::over(SessionCookie::new("id"), &transport))
    }

    fn with(cookie: SessionCookieBuilder) -> Self {
        Self::over(cookie, &Transport::Cookie)
    }

    fn over(cookie: SessionCookieBuilder, transport: &Transport) -> Self {
        let store = FaultyStore::in_memory();
        let layer = SessionLayer::new(store.clone())
            .cookie(cookie.build().unwrap())
            .transport(transport.clone())
            .clock(FixedClock::default())
            .reap_every(None);
        let be = async |session: Session, Path(name): Path<String>| session.insert("name", name);
        let app = Router::new()
            .route("/who", get(who))
            .route("/be/{name}", get(be))
            .route("/in", get(async |session: Session| session.log_in("ann")))
            .layer(layer);
        let app = carried(app, transport);
        Self { app, store }
    }

    /// Lets a new visitor of this name in; his token.
    async fn enter(&self, name: &str) -> String {
        let reply = self.ask(&format!("/be/{name}"), &[]).await;
        let token = issued(&reply).expect("a cookie for the new visitor");
        self.store.calls();
        token
    }

    /// Asks with these Cookie headers.
    async fn ask(&self, path: &str, cookies: &[&[u8]]) -> Reply {
        let mut request = Request::get(path);
        for cookie in cookies {
            request = request.header(header::COOKIE, HeaderValue::from_bytes(cookie).unwrap());
        }
        let browser = Browser::new(self.app.clone());
        browser.send(request.body(Body::empty()).unwrap()).await
    }

    async fn ask_as(&self, path: &str, cookie: &str) -> Reply {
        self.ask(path, &[cookie.as_bytes()]).await
    }

    async fn has(&self, token: &str) -> bool {
        let (id, _) = split(token);
        self.store.inner().load(id).await.unwrap().is_some()
    }
}

/// The token in the reply's Set-Cookie.
fn issued(reply: &Reply) -> Option<String> {
    let cookies = reply.set_cookies();
    let (_, value) = cookies.first()?.split(';').next()?.split_once('=')?;
    Some(value.to_owned())
}

fn permutations<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for index in 0..items.len() {
        let mut rest = items.to_vec();
        let first = rest.remove(index);
        for mut permutation in permutations(&rest) {
            permutation.insert(0, first.clone());
            all.push(permutation);
        }
    }
    all
}

fn cookies(name: &str, tokens: &[String]) -> String {
    let pairs: Vec<_> = tokens.iter().map(|t| format!("{name}={t}")).collect();
    pairs.join("; ")
}

#[tokio::test]
async fn t1_a_token_never_issued_is_never_adopted() {
    for house in House::each() {
        let planted = join(NEVER_ISSUED, [7; 16]);
        let cookie = format!("{NAME}={planted}");
        let read = house.ask_as("/who", &cookie).await;
        assert_eq!(read.body, "nobody");
        assert!(read.set_cookies().is_empty());
        let written = house.ask_as("/be/ann", &cookie).await;
        let token = issued(&written).unwrap();
        assert_ne!(split(&token).0, split(&planted).0);
        assert_ne!(split(&token).1, split(&planted).1);
        assert!(!house.has(&planted).await);
        assert!(house.has(&token).await);
        assert_eq!(house.store.inner().len(), 1);
        // Nor does it come alive later.
        assert_eq!(house.ask_as("/who", &cookie).await.body, "nobody");
    }
}

#[tokio::test]
async fn t1_a_log_in_never_adopts_the_token_that_was_brought() {
    for house in House::each() {
        let planted = join(NEVER_ISSUED, [7; 16]);
        let reply = house.ask_as("/in", &format!("{NAME}={planted}")).await;
        let token = issued(&reply).unwrap();
        assert_ne!(split(&token).0, split(&planted).0);
        assert!(!house.has(&planted).await);
    }
}

#[tokio::test]
async fn t1_a_known_id_with_another_secret_opens_and_changes_nothing() {
    for house in House::each() {
        let ann = house.enter("ann").await;
        let (id, secret) = split(&ann);
        let mut flipped = secret;
        flipped[15] ^= 1;
        for guess in [[0; 16], [255; 16], flipped] {
            let cookie = format!("{NAME}={}", join(id, guess));
            assert_eq!(house.ask_as("/who", &cookie).await.body, "nobody");
            let written = house.ask_as("/be/eve", &cookie).await;
            assert_ne!(split(&issued(&written).unwrap()).0, id);
        }
        let ann = house.ask_as("/who", &format!("{NAME}={ann}")).await;
        assert_eq!(ann.body, "ann");
    }
}

#[tokio::test]
async fn t1_no_two_visitors_get_the_same_id_or_secret() {
    let house = House::new();
    let (mut ids, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..200 {
        let token = house.enter("ann").await;
        assert!(is_well_formed(&token), "{token}");
        let (id, secret) = split(&token);
        assert!(ids.insert(id));
        assert!(secrets.insert(secret));
    }
}

/// Everything here is sent as the value of the cookie.
fn no_tokens() -> Vec<Vec<u8>> {
    let good = join(NEVER_ISSUED, [0xfb; 16]);
    let mut values: Vec<Vec<u8>> = [
        "",
        "=",
        "==",
        "-",
        "null",
        "undefined",
        "deleted",
        "%00",
        "%0d%0aSet-Cookie:%20id=1",
        "\\r\\n\\0",
        "../../../../../../../../../../../etc/passwd",
        "....//....//....//....//....//....//..//x//",
        "' OR 1=1 --",
        "{\"id\":1}",
        "67e55044-10b1-426f-9247-bb680e5fe0c8",
        "67e5504410b1426f9247bb680e5fe0c867e5504410b1",
        "*",
        "\t",
    ]
    .map(|value| value.as_bytes().to_vec())
    .into();
    values.extend([
        vec![b'A'; 42],
        vec![b'A'; 44],
        vec![b'A'; 64 * 1024],
        vec![b'.'; 43],
        vec![b' '; 43],
        vec![0xff; 43],
        vec![0x80; 64],
        "é".repeat(22).into_bytes()[..43].to_vec(),
        "%00".repeat(15).into_bytes()[..43].to_vec(),
        format!("{good}=").into_bytes(),
        format!("{good}A").into_bytes(),
        // Half a pair of quotes, and two pairs.
        format!("\"{good}").into_bytes(),
        format!("{good}\"").into_bytes(),
        format!("\"\"{good}\"\"").into_bytes(),
        b"\"".to_vec(),
        b"\"\"".to_vec(),
        format!("{good},{good}").into_bytes(),
        good.as_bytes()[..42].to_vec(),
        // The standard alphabet, a space inside, a byte that is not ASCII.
        good.replace('-', "+").replace('_', "/").into_bytes(),
        format!("{} {}", &good[..21], &good[22..]).into_bytes(),
        [&good.as_bytes()[..42], &[0xc3]].concat(),
    ]);
    values
}

#[tokio::test]
async fn t2_values_that_are_no_token_never_reach_the_store() {
    for house in House::each() {
        for value in no_tokens() {
            let cookie = [NAME.as_bytes(), b"=", &value].concat();
            let shown = value.escape_ascii().to_string();
            let read = house.ask("/who", &[&cookie]).await;
            assert_eq!(read.status, StatusCode::OK, "{shown}");
            assert_eq!(read.body, "nobody", "{shown}");
            assert!(read.set_cookies().is_empty(), "{shown}");
            assert_eq!(house.store.calls(), [], "{shown}");
            let written = house.ask("/be/ann", &[&cookie]).await;
            assert_eq!(written.status, StatusCode::OK, "{shown}");
            assert!(is_well_formed(&issued(&written).unwrap()), "{shown}");
            assert_eq!(house.store.calls(), [StoreCall::Create], "{shown}");
        }
    }
}

#[test]
fn t2_nul_and_line_breaks_cannot_even_be_a_header_value() {
    for value in [&b"id=\0"[..], b"id=a\r\nb", b"id=\n", b"id=\r", b"id=\x7f"] {
        assert!(HeaderValue::from_bytes(value).is_err());
    }
}

#[tokio::test]
async fn t2_only_the_canonical_characters_of_a_token_count() {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for house in House::each() {
        let ann = house.enter("ann").await;
        let (start, last) = ann.split_at(42);
        let last = ALPHABET.iter().position(|c| *c == last.as_bytes()[0]);
        let last = last.unwrap();
        assert_eq!(last % 4, 0, "the last two bits are spare");
        for spare in 1..4 {
            let twin = format!("{start}{}", char::from(ALPHABET[last + spare]));
            let reply = house.ask_as("/who", &format!("{NAME}={twin}")).await;
            assert_eq!(reply.body, "nobody");
            assert_eq!(house.store.calls(), []);
        }
        let reply = house.ask_as("/who", &format!("{NAME}={ann}")).await;
        assert_eq!(reply.body, "ann");
    }
}

#[tokio::test]
async fn t2_only_ids_of_version_4_count() {
    for house in House::each() {
        let mut others = vec![Uuid::nil(), Uuid::max()];
        for version in (0..16).filter(|version| *version != 4) {
            let mut bytes = NEVER_ISSUED.into_bytes();
            bytes[6] = bytes[6] & 0x0f | version << 4;
            others.push(Uuid::from_bytes(bytes));
        }
        for variant in [0x00, 0x40, 0xc0] {
            let mut bytes = NEVER_ISSUED.into_bytes();
            bytes[8] = bytes[8] & 0x3f | variant;
            others.push(Uuid::from_bytes(bytes));
        }
        for id in others {
            let cookie = format!("{NAME}={}", join(id, [7; 16]));
            assert_eq!(house.ask_as("/who", &cookie).await.body, "nobody");
            assert_eq!(house.store.calls(), [], "{id}");
        }
        let cookie = format!("{NAME}={}", join(NEVER_ISSUED, [7; 16]));
        house.ask_as("/who", &cookie).await;
        assert_ne!(house.store.calls(), []);
    }
}

#[tokio::test]
async fn t4_the_stored_verifier_sent_as_a_cookie_opens_nothing() {
    for house in House::each() {
        let ann = house.enter("ann").await;
        let (id, secret) = split(&ann);
        let (record, _) = house.store.inner().load(id).await.unwrap().unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record.to_bytes()).unwrap();
        let text = record["verifier"].as_str().unwrap();
        let verifier = URL_SAFE_NO_PAD.decode(text).unwrap();
        assert_eq!(verifier.len(), 32);
        assert_ne!(verifier[..16], secret);
        let id_bytes = Uuid::from(id).into_bytes();
        let hex: String = verifier.iter().map(|byte| format!("{byte:02x}")).collect();
        let guesses = [
            text.to_owned(),
            format!("{text}="),
            hex.clone(),
            hex[..43].to_owned(),
            join(id, verifier[..16].try_into().unwrap()),
            join(id, verifier[16..].try_into().unwrap()),
            URL_SAFE_NO_PAD.encode([&id_bytes[..], &verifier].concat()),
            format!("{}{text}", URL_SAFE_NO_PAD.encode(id_bytes)),
            format!("{}{}", &ann[..21], &text[..22]),
            format!("{}{}", &ann[..21], &text[21..]),
            format!("{id}{text}"),
            format!("{id}.{text}"),
            id.to_string(),
            String::from_utf8(record.to_string().into_bytes()).unwrap(),
        ];
        for guess in guesses {
            let reply = house.ask_as("/who", &format!("{NAME}={guess}")).await;
            assert_eq!(reply.status, StatusCode::OK, "{guess}");
            assert_eq!(reply.body, "nobody", "{guess}");
        }
        let reply = house.ask_as("/who", &format!("{NAME}={ann}")).await;
        assert_eq!(reply.body, "ann");
    }
}

#[tokio::test]
async fn t5_every_part_of_a_split_cookie_header_is_read() {
    let house = House::new();
    let ann = house.enter("ann").await;
    let ours = format!("{NAME}={ann}").into_bytes();
    let others: [&[u8]; 3] = [b"theme=dark", b"\xff\xfe=\xfd; x", b""];
    for place in 0..=others.len() {
        let mut headers = others.to_vec();
        headers.insert(place, &ours);
        assert_eq!(house.ask("/who", &headers).await.body, "ann");
    }
    for around in [
        format!("a=1;{NAME}={ann};b=2"),
        format!("a=1;   {NAME}={ann}   ;b=2"),
        format!(";;; {NAME}={ann};"),
        format!("broken; {NAME}={ann}; =; also broken"),
        format!("\t{NAME}={ann}\t"),
    ] {
        assert_eq!(house.ask_as("/who", &around).await.body, "ann", "{around}");
    }
}

#[tokio::test]
async fn t5_the_name_matches_exactly() {
    let house = House::new();
    let ann = house.enter("ann").await;
    for name in [
        "id",
        "__host-id",
        "__HOST-ID",
        "__Host-ID",
        "__Host-Id",
        "__Host-id2",
        "x__Host-id",
        "__Host-i",
        "__Host-id ",
        "__Host-id\t",
        "\"__Host-id\"",
        "__Host-id=x",
        "__Host-id;",
        "__Secure-id",
        "%5F_Host-id",
        "$__Host-id",
        "",
    ] {
        let reply = house.ask_as("/who", &format!("{name}={ann}")).await;
        assert_eq!(reply.body, "nobody", "{name:?}");
        assert_eq!(house.store.calls(), [], "{name:?}");
    }
}

#[tokio::test]
async fn t5_repeated_and_malformed_values_do_not_count() {
    for cookie in [
        SessionCookie::new("id"),
        SessionCookie::new("id").prefix(CookiePrefix::None),
    ] {
        let name = cookie.clone().build().unwrap().name().to_owned();
        let house = House::with(cookie);
        let ann = house.enter("ann").await;
        let malformed = ["x".to_owned(), String::new(), "A".repeat(43)];
        let mut tokens = vec![malformed.clone(); 5].concat();
        tokens.extend(vec![ann.clone(); 10]);
        tokens.extend(malformed);
        let reply = house.ask_as("/who", &cookies(&name, &tokens)).await;
        assert_eq!(reply.body, "ann");
        assert_eq!(house.store.calls(), [StoreCall::Load]);
        // Repeats of a token that proves nothing do not crowd out one that does.
        let mut tokens = vec![join(NEVER_ISSUED, [7; 16]); 10];
        tokens.push(ann);
        let reply = house.ask_as("/who", &cookies(&name, &tokens)).await;
        assert_eq!(reply.body, "ann");
        let calls = [StoreCall::Load, StoreCall::Load];
        assert_eq!(house.store.calls(), calls);
    }
}

#[tokio::test]
async fn t5_under_the_host_prefix_the_first_that_proves_itself_wins_in_every_order() {
    let house = House::new();
    let (ann, bob) = (house.enter("ann").await, house.enter("bob").await);
    let guess = join(split(&ann).0, [7; 16]);
    let planted = join(NEVER_ISSUED, [7; 16]);
    let tokens = [ann.clone(), bob.clone(), guess, planted];
    for order in permutations(&tokens) {
        let first = order.iter().find(|token| [&ann, &bob].contains(token));
        let expected = if first == Some(&ann) { "ann" } else { "bob" };
        let together = house.ask_as("/who", &cookies(NAME, &order)).await;
        assert_eq!(together.body, expected);
        assert!(together.set_cookies().is_empty());
        let pairs: Vec<_> = order.iter().map(|t| format!("{NAME}={t}")).collect();
        let split: Vec<_> = pairs.iter().map(|pair| pair.as_bytes()).collect();
        assert_eq!(house.ask("/who", &split).await.body, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn t5_without_the_prefix_two_that_prove_themselves_make_the_visitor_anonymous() {
    for (cookie, name) in [
        (SessionCookie::new("id").prefix(CookiePrefix::None), "id"),
        (SessionCookie::new("id").insecure(), "id"),
        (SessionCookie::new("id").path("/app"), "__Secure-id"),
    ] {
        let house = House::with(cookie);
        let (ann, eve) = (house.enter("ann").await, house.enter("eve").await);
        let tokens = [ann.clone(), eve.clone(), join(NEVER_ISSUED, [7; 16])];
        for order in permutations(&tokens) {
            // The log is throttled.
            advance(10 * SECOND).await;
            let log = Log::capture();
            let header = cookies(name, &order);
            let read = house.ask_as("/who", &header).await;
            assert_eq!(read.status, StatusCode::OK);
            assert_eq!(read.body, "nobody");
            assert!(read.set_cookies().is_empty());
            assert_eq!(log.count(Level::WARN, "planted"), 1, "{}", log.text());
            let written = house.ask_as("/be/mallory", &header).await;
            assert_eq!(written.status, StatusCode::OK);
            assert!(written.set_cookies().is_empty());
            assert_eq!(house.store.inner().len(), 2, "nothing is stored");
        }
        // The two sessions are as they were.
        for (token, body) in [(&ann, "ann"), (&eve, "eve")] {
            let reply = house.ask_as("/who", &format!("{name}={token}")).await;
            assert_eq!(reply.body, body);
        }
    }
}

#[tokio::test]
async fn t5_a_log_in_over_planted_cookies_begins_a_session_of_its_own() {
    let house = House::with(SessionCookie::new("id").insecure());
    let (ann, eve) = (house.enter("ann").await, house.enter("eve").await);
    let reply = house
        .ask_as("/in", &cookies("id", &[eve.clone(), ann.clone()]))
        .await;
    let token = issued(&reply).unwrap();
    assert_eq!(house.store.inner().len(), 3);
    let fresh = house.ask_as("/who", &format!("id={token}")).await;
    assert_eq!(fresh.body, "nobody", "nothing of either is taken along");
    for (token, body) in [(&ann, "ann"), (&eve, "eve")] {
        let reply = house.ask_as("/who", &format!("id={token}")).await;
        assert_eq!(reply.body, body);
    }
}

#[tokio::test]
async fn t5_one_that_proves_itself_among_planted_ones_is_the_visitor_in_every_order() {
    let house = House::with(SessionCookie::new("id").prefix(CookiePrefix::None));
    let ann = house.enter("ann").await;
    let guess = join(split(&ann).0, [7; 16]);
    for order in permutations(&[ann, guess, join(NEVER_ISSUED, [7; 16])]) {
        let log = Log::capture();
        let reply = house.ask_as("/who", &cookies("id", &order)).await;
        assert_eq!(reply.body, "ann");
        assert!(reply.set_cookies().is_empty());
        assert_eq!(log.count(Level::WARN, ""), 0);
    }
}

#[tokio::test]
async fn t5_at_most_three_tokens_are_looked_up() {
    let house = House::with(SessionCookie::new("id").prefix(CookiePrefix::None));
    let ann = house.enter("ann").await;
    let mut tokens: Vec<_> = (0..3).map(|n| join(NEVER_ISSUED, [n; 16])).collect();
    tokens.push(ann.clone());
    let reply = house.ask_as("/who", &cookies("id", &tokens)).await;
    assert_eq!(reply.body, "nobody");
    let calls = house.store.calls();
    assert_eq!(
        calls
            .iter()
            .filter(|call| **call == StoreCall::Load)
            .count(),
        3
    );
    tokens.pop();
    tokens[2] = ann;
    let reply = house.ask_as("/who", &cookies("id", &tokens)).await;
    assert_eq!(reply.body, "ann");
}

#[tokio::test(start_paused = true)]
async fn t5_more_tokens_than_are_looked_up_make_the_visitor_anonymous_whichever_are_good() {
    for cookie in [
        SessionCookie::new("id").prefix(CookiePrefix::None),
        SessionCookie::new("id").insecure(),
        SessionCookie::new("new").also_read("id"),
    ] {
        let house = House::with(cookie);
        let (ann, eve) = (house.enter("ann").await, house.enter("eve").await);
        let junk = [7, 8].map(|n| join(NEVER_ISSUED, [n; 16]));
        let planted = [eve, junk[0].clone(), junk[1].clone(), ann];
        for order in permutations(&planted) {
            // The log is throttled.
            advance(10 * SECOND).await;
            let log = Log::capture();
            let header = cookies("id", &order);
            let read = house.ask_as("/who", &header).await;
            assert_eq!(read.body, "nobody", "{header}");
            assert!(read.set_cookies().is_empty());
            assert_eq!(log.count(Level::WARN, "planted"), 1, "{}", log.text());
            let written = house.ask_as("/be/mallory", &header).await;
            assert!(written.set_cookies().is_empty());
            assert_eq!(house.store.inner().len(), 2, "nothing is stored");
        }
    }
}

#[tokio::test]
async fn t5_a_host_prefixed_cookie_decides_before_any_number_of_planted_ones() {
    let house = House::with(SessionCookie::new("id").also_read("sid"));
    let (ann, eve) = (house.enter("ann").await, house.enter("eve").await);
    let junk = (0..5).map(|n| join(NEVER_ISSUED, [n; 16]));
    let planted: Vec<_> = junk.chain([eve]).collect();
    let header = format!("{}; {NAME}={ann}", cookies("sid", &planted));
    assert_eq!(house.ask_as("/who", &header).await.body, "ann");
}

#[tokio::test]
async fn a_token_in_double_quotes_is_the_token() {
    let house = House::new();
    let ann = house.enter("ann").await;
    for header in [
        format!("{NAME}=\"{ann}\""),
        format!("a=1; {NAME}=\"{ann}\" ; b=2"),
        format!("{NAME}=\"{ann}\"; {NAME}={ann}"),
    ] {
        let reply = house.ask_as("/who", &header).await;
        assert_eq!(reply.body, "ann", "{header}");
        assert_eq!(house.store.calls(), [StoreCall::Load], "{header}");
    }
}

#[tokio::test]
async fn t5_a_token_under_the_cookies_own_name_goes_before_one_under_a_former_name() {
    let house = House::with(SessionCookie::new("id").also_read("sid"));
    let (ann, bob) = (house.enter("ann").await, house.enter("bob").await);
    for header in [
        format!("sid={bob}; {NAME}={ann}"),
        format!("{NAME}={ann}; sid={bob}"),
    ] {
        let reply = house.ask_as("/who", &header).await;
        assert_eq!(reply.body, "ann");
        assert!(reply.set_cookies().is_empty());
    }
    // A former name has no prefix that guards it: two of them are one too many.
    let planted = house
        .ask_as("/who", &cookies("sid", &[ann.clone(), bob.clone()]))
        .await;
    assert_eq!(planted.body, "nobody");
    assert!(planted.set_cookies().is_empty());
    let former = house.ask_as("/who", &format!("sid={bob}")).await;
    assert_eq!(former.body, "bob");
    let cookie = session_cookie(&former);
    assert_ne!(cookie, format!("{NAME}={bob}"), "it has a new id");
    assert_eq!(house.ask_as("/who", &cookie).await.body, "bob");
}
