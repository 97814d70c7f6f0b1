//! The console in a browser.

#[path = "../../cloakroom-guide/tests/chromium.rs"]
mod chromium;

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, routing::get};
use cloakroom::{
    MemoryStore, Session, SessionFilter, SessionLayer, StoreCall,
    store::{SessionStore, StoreErrorKind},
    testing::{Fault, FaultyStore},
};
use cloakroom_console::{Console, loopback};
use serde_json::json;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use self::chromium::{Browser, Page};

/// A server with a console and forty visitors, for as long as it is kept.
struct Site {
    runtime: Runtime,
    layer: SessionLayer,
    /// The address of the console.
    address: String,
}

impl Site {
    fn start() -> Self {
        Self::over(MemoryStore::default())
    }

    fn over(store: impl SessionStore) -> Self {
        let runtime = Runtime::new().unwrap();
        let layer = SessionLayer::new(store);
        let address = runtime.block_on(serve(&layer));
        let site = Self {
            runtime,
            layer,
            address,
        };
        for _ in 0..40 {
            site.visit(None);
        }
        site
    }

    /// A visitor comes, and logs in if there is a name.
    fn visit(&self, user: Option<&'static str>) {
        let visit = async move |session: Session| {
            let _ = session.insert("n", 1);
            let _ = session.set_label("device", "Firefox on Linux");
            let _ = user.map(|user| session.log_in(user));
        };
        let app = Router::new()
            .route("/", get(visit))
            .layer(self.layer.clone());
        let request = http::Request::get("/").body(Body::empty()).unwrap();
        self.runtime.block_on(app.oneshot(request)).unwrap();
    }

    fn ids(&self) -> Vec<String> {
        let sessions = self.layer.sessions();
        let all = SessionFilter::default();
        let page = self.runtime.block_on(sessions.list(&all, None, 1000));
        let sessions = page.unwrap().sessions;
        sessions.iter().map(|it| it.id().to_string()).collect()
    }
}

async fn serve(layer: &SessionLayer) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let console = Console::new(layer.sessions(), loopback()).show_values();
    let app = Router::new().nest("/console", console.router());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://localhost:{port}/console")
}

/// The element that an attribute names.
fn element(attribute: &str) -> String {
    format!(
        "document.querySelector({})",
        json!(format!("[{attribute}]"))
    )
}

#[test]
fn the_script_runs_under_the_policy_and_counts_what_is_selected() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.go(&format!("{}/sessions", site.address));
    let button = element("data-selected");
    page.wait_until(&format!("{button}.disabled"));
    let boxes = "document.querySelectorAll('[name=id]')";
    assert_eq!(page.run(&format!("{boxes}.length")), 40);
    page.run(&format!("{boxes}[0].click(); {boxes}[1].click()"));
    page.wait_until(&format!("!{button}.disabled"));
    page.wait_until(&format!("/\\b2\\b/.test({button}.innerText)"));
    assert_eq!(page.complaints(), json!([]));
    // What the policy does not allow is noticed.
    page.run("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))");
    page.wait_until("complaints.length === 1");
}

#[test]
fn live_numbers_change_while_the_page_is_open() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.go(&site.address);
    page.wait_until(&format!("{} !== null", element("data-state=live")));
    let revoked = "Array.from(document.querySelectorAll('tr'))
        .find(row => row.innerText.includes('Revoked all')).innerText";
    assert!(!page.run(revoked).to_string().contains("40"));
    let revoking = site.layer.sessions();
    let revoking = site.runtime.block_on(revoking.revoke_all(|_| {}));
    assert_eq!(revoking.unwrap(), 40);
    page.wait_until(&format!("/\\b40\\b/.test({revoked})"));
    assert_eq!(page.complaints(), json!([]));
}

#[test]
fn without_its_script_everything_is_there_too() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.turn_scripts_off();
    page.go(&site.address);
    let text = page.text();
    assert!(text.contains("This process"), "{text}");
    let refresh = "document.querySelector('noscript meta[http-equiv=refresh]') !== null";
    assert_eq!(page.run(refresh), true);
    page.go(&format!("{}/sessions", site.address));
    assert_eq!(
        page.run("document.querySelectorAll('[name=id]').length"),
        40
    );
    // Nothing counts what is selected, so the button always works.
    let button = element("data-selected");
    assert_eq!(page.run(&format!("{button}.disabled")), false);
    let label = page.run(&format!("{button}.innerText")).to_string();
    assert!(label.contains("End selected"), "{label}");
}

#[test]
fn what_is_selected_ends_after_a_preview_and_a_confirmation() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.go(&format!("{}/sessions", site.address));
    page.run(
        "for (const box of [...document.querySelectorAll('[name=id]')].slice(0, 2)) box.click()",
    );
    page.click("[data-selected]");
    assert!(page.text().contains("End 2 sessions?"), "{}", page.text());
    assert_eq!(site.ids().len(), 40);
    page.click("main form .danger");
    assert!(page.text().contains("2 sessions ended"), "{}", page.text());
    assert_eq!(site.ids().len(), 38);
    // All of a page, by its box.
    page.go(&format!("{}/sessions?limit=25", site.address));
    page.run("document.querySelector('[data-all]').click()");
    page.click("[data-selected]");
    page.click("main form .danger");
    assert!(page.text().contains("25 sessions ended"), "{}", page.text());
    assert_eq!(site.ids().len(), 13);
    assert_eq!(page.complaints(), json!([]));
}

/// Presses Tab until the focus is on what the selector selects. Each focus on the way has to be visible.
#[track_caller]
fn tab_to(page: &Page<'_>, selector: &str) {
    let is_there = format!("document.activeElement.matches({})", json!(selector));
    for _ in 0..150 {
        page.press("Tab");
        let outline = page.run(
            "(({outlineStyle, outlineWidth}) => outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2)(
                getComputedStyle(document.activeElement))",
        );
        let element = page.run("document.activeElement.outerHTML.slice(0, 200)");
        assert_eq!(outline, true, "the focus is not visible: {element}");
        if page.run(&is_there) == true {
            return;
        }
    }
    panic!("the keyboard does not reach {selector}\n{}", page.text());
}

#[test]
fn the_keyboard_alone_is_enough() {
    let (site, browser) = (Site::start(), Browser::start());
    site.visit(Some("ann"));
    let page = browser.visitor();
    page.go(&site.address);
    // The first key leads past the head of the page.
    tab_to(&page, ".skip");
    page.press("Enter");
    page.wait_until("document.activeElement.matches('main')");
    page.go(&site.address);
    tab_to(&page, "nav a[href$='/sessions']");
    page.press_and_leave("Enter");
    tab_to(&page, "[name=id]");
    page.press("Space");
    tab_to(&page, "[name=id]");
    page.press("Space");
    tab_to(&page, "[data-selected]");
    page.press_and_leave("Enter");
    assert!(page.text().contains("End 2 sessions?"), "{}", page.text());
    // A key that is pressed too often ends nothing.
    page.wait_until("document.activeElement.matches('a.quiet')");
    page.press("Shift+Tab");
    assert_eq!(
        page.run("document.activeElement.matches('button.danger')"),
        true
    );
    page.press_and_leave("Enter");
    assert!(page.text().contains("2 sessions ended"), "{}", page.text());
    assert_eq!(site.ids().len(), 39);
    // A user is found, and all sessions end.
    tab_to(&page, ".search input");
    page.type_text("nobody");
    page.press_and_leave("Enter");
    assert!(
        page.text().contains("No session of nobody"),
        "{}",
        page.text()
    );
    tab_to(&page, "main a.button");
    page.press_and_leave("Enter");
    tab_to(&page, "a.danger");
    page.press_and_leave("Enter");
    tab_to(&page, "[name=words]");
    page.type_text("something else");
    page.press_and_leave("Enter");
    // The field has the focus, and says what is wrong with it.
    page.wait_until(
        "document.activeElement.matches('[name=words][aria-invalid=true][aria-describedby=wrong]')",
    );
    page.type_text("end every session");
    page.press_and_leave("Enter");
    assert!(page.text().contains("39 sessions ended"), "{}", page.text());
    assert_eq!(site.ids().len(), 0);
    assert_eq!(page.complaints(), json!([]));
}

/// The faults that `audit.js` finds, in narrow and wide windows, light and dark. 320 pixels is also a window of 1280
/// that is enlarged to 400 %, and 640 one that is enlarged to 200 %.
#[track_caller]
fn audit(page: &Page<'_>) {
    for width in [320, 360, 640, 1280] {
        for is_dark in [false, true] {
            page.look(width, is_dark);
            let faults = page.run(include_str!("audit.js"));
            let path = page.path();
            assert_eq!(faults, json!([]), "{path}, {width} wide, dark: {is_dark}");
        }
    }
}

#[test]
fn every_page_is_fit_for_all_who_read_it_at_each_width_light_and_dark() {
    let (site, browser) = (Site::start(), Browser::start());
    let long =
        "margaret\u{202e}-with-a-name-as-long-as-nobody-has-one-and-without-any-place-to-break-it";
    site.visit(Some(long));
    let id = &site.ids()[0];
    let page = browser.visitor();
    for path in [
        "",
        "?pause=yes",
        "/sessions",
        "/sessions?limit=25&order=seen",
        "/sessions?kind=anonymous&begun=1h&idle=7d",
        &format!("/sessions/{id}"),
        &format!("/sessions/{}", id.replace(|_: char| true, "0")),
        "/user?name=nobody",
        "/revoke",
        "/revoke?job=1",
    ] {
        page.go(&format!("{}{path}", site.address));
        audit(&page);
    }
    // The link to the user of the one session that has one.
    page.go(&format!("{}/sessions?kind=logged_in", site.address));
    page.click("td.user a");
    assert!(page.text().contains("U+202E"), "{}", page.text());
    audit(&page);
    page.click(".last button");
    assert!(page.text().contains("End one session?"), "{}", page.text());
    audit(&page);
    page.click("main form .danger");
    assert!(page.text().contains("One session ended"), "{}", page.text());
    audit(&page);
    page.go(&format!("{}/revoke", site.address));
    page.fill("[name=words]", "no");
    page.click("main form .danger");
    assert!(page.text().contains("These are not the words"));
    audit(&page);
    assert_eq!(page.complaints(), json!([]));
    // The audit finds what is wrong.
    page.run(
        "document.querySelector('main').innerHTML = `<h3>Low</h3><p>grey</p>
            <input name=x><table><tr><th>a</table><div>wide</div>`;
        document.querySelector('main p').style.color = 'silver';
        document.querySelector('main div').style.width = '2000px'",
    );
    page.look(360, false);
    let faults = page.run(include_str!("audit.js")).to_string();
    for fault in [
        "not one h1",
        "a heading skips a level",
        "a control without a name",
        "a table without a caption",
        "a heading of a table without a scope",
        "a text has a contrast of",
        "the page is 2",
    ] {
        assert!(faults.contains(fault), "{fault} is not in {faults}");
    }
}

#[test]
fn dark_colours_come_where_they_are_wanted() {
    let (site, browser) = (Site::start(), Browser::start());
    let page = browser.visitor();
    page.go(&site.address);
    let ground = |is_dark| {
        page.look(1280, is_dark);
        let ground =
            page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)");
        let parts: Vec<u64> = serde_json::from_value(ground).unwrap();
        parts[..3].iter().sum::<u64>()
    };
    assert!(ground(false) > 3 * 200);
    assert!(ground(true) < 3 * 50);
}

#[test]
fn without_scripts_forms_and_links_do_everything() {
    let (site, browser) = (Site::start(), Browser::start());
    for _ in 0..3 {
        site.visit(Some("ann"));
    }
    let page = browser.visitor();
    page.turn_scripts_off();
    page.go(&format!("{}/sessions", site.address));
    page.fill("[name=kind]", "anonymous");
    page.fill("[name=limit]", "25");
    page.click(".filter button");
    assert!(
        page.text().contains("Anonymous sessions"),
        "{}",
        page.text()
    );
    page.click("[rel=next]");
    let boxes = page.run("document.querySelectorAll('[name=id]').length");
    assert_eq!(boxes, 15);
    page.run("document.querySelector('[name=id]').checked = true");
    page.click("[data-selected]");
    assert!(page.text().contains("End one session?"), "{}", page.text());
    page.click("main form .danger");
    assert!(page.text().contains("One session ended"), "{}", page.text());
    assert_eq!(site.ids().len(), 42);
    page.run("document.querySelector('.search input').focus()");
    page.type_text("ann");
    page.press_and_leave("Enter");
    page.click("th.id a");
    assert!(page.text().contains("Firefox on Linux"), "{}", page.text());
    page.click(".heading button");
    page.click("main form .danger");
    assert_eq!(site.ids().len(), 41);
    page.go(&format!("{}/user?name=ann", site.address));
    page.click(".last button");
    page.click("main form .danger");
    assert!(page.text().contains("2 sessions ended"), "{}", page.text());
    page.go(&format!("{}/sessions", site.address));
    page.click("a.danger");
    page.fill("[name=words]", "end every session");
    page.click("main form .danger");
    assert!(page.text().contains("39 sessions ended"), "{}", page.text());
    // Numbers that change by reloading can stand still.
    page.go(&site.address);
    let reloads = "document.querySelector('meta[http-equiv=refresh]') !== null";
    assert_eq!(page.run(reloads), true);
    page.click("[href='?pause=yes']");
    assert_eq!(page.run(reloads), false);
    assert!(page.text().contains("These numbers stand still"));
}

#[test]
fn a_screen_reader_hears_once_that_the_store_is_down() {
    let store = FaultyStore::in_memory();
    let (site, browser) = (Site::over(store.clone()), Browser::start());
    let page = browser.visitor();
    page.go(&site.address);
    page.wait_until(&format!("{} !== null", element("data-state=live")));
    page.run(
        "window.heard = [];
        new MutationObserver(() => heard.push(document.querySelector('[role=status]').textContent))
            .observe(document.querySelector('[role=status]'), {childList: true, characterData: true, subtree: true})",
    );
    store.plan(|_| Fault::Fail(StoreErrorKind::Unavailable));
    for _ in 0..3 {
        site.visit(None);
    }
    page.wait_until("heard.length > 0");
    // Some ticks later it is still there, and was said once.
    page.run("window.ticks = 0; new MutationObserver(() => ticks++).observe(document.querySelector('[data-live]'), {childList: true})");
    page.wait_until("ticks > 1");
    assert_eq!(page.run("heard"), json!(["The store does not answer."]));
    assert!(
        page.text().contains("none has succeeded"),
        "{}",
        page.text()
    );
    store.heal();
    site.visit(None);
    page.wait_until("heard.length > 1");
    assert_eq!(page.run("heard[1]"), json!("The numbers are live."));
    assert_eq!(page.complaints(), json!([]));
}

#[test]
fn long_work_shows_how_far_it_is_and_then_its_end() {
    let store = FaultyStore::in_memory();
    let (site, browser) = (Site::over(store.clone()), Browser::start());
    for _ in 0..100 {
        site.visit(None);
    }
    store.plan_for(StoreCall::Update, Fault::Delay(Duration::from_millis(70)));
    let page = browser.visitor();
    page.go(&format!("{}/sessions?kind=anonymous", site.address));
    page.click(".last button");
    page.click("main form .danger");
    let text = page.text();
    assert!(text.contains("sessions ended so far"), "{text}");
    page.run("window.isSame = true");
    page.wait_until(
        "window.isSame && document.querySelector('[data-ended]')?.textContent === '100'",
    );
    // Enough time to look at it.
    store.plan_for(StoreCall::Update, Fault::Delay(Duration::from_secs(1)));
    audit(&page);
    store.heal();
    page.wait_until("document.body?.innerText.includes('140 sessions ended')");
    assert_eq!(page.complaints(), json!([]));
}
