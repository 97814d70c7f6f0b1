//! Headless Chromium, driven over its DevTools protocol: a test sees what a visitor sees, and clicks as a visitor does.
#![allow(dead_code)] // Each test uses its part.

use std::{
    cell::RefCell,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, stream::MaybeTlsStream};

/// How long a page may take. A busy machine takes long to start a browser.
const PATIENCE: Duration = Duration::from_secs(60);

/// Collects what a page breaks of its policy, and errors of its scripts.
const COMPLAINTS: &str = "window.complaints = [];
addEventListener('error', event => complaints.push(event.message));
addEventListener('securitypolicyviolation', event =>
    complaints.push(event.violatedDirective + ' ' + event.blockedURI));";

fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    found.expect("chromium is missing: on Debian, apt-get install chromium")
}

/// A browser without a window. It ends when it is dropped.
pub(crate) struct Browser {
    process: Child,
    profile: PathBuf,
    connection: RefCell<Connection>,
}

struct Connection {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    last_id: u64,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let folder = format!(
            "cloakroom-guide-{}-{:?}",
            std::process::id(),
            thread::current().id()
        );
        let profile = std::env::temp_dir().join(folder);
        let mut process = Command::new(chromium())
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--no-first-run", "--disable-background-networking"])
            // A free port, which it prints.
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stderr.take().unwrap());
        let (tell, told) = mpsc::channel();
        // It reads to the end, because the browser goes on to write there.
        thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("listening on ") {
                    let _ = tell.send(address.trim().to_owned());
                }
            }
        });
        let Ok(address) = told.recv_timeout(PATIENCE) else {
            let _ = process.kill();
            panic!("the browser does not say where it listens");
        };
        let (socket, _) = tungstenite::connect(address).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        Self {
            process,
            profile,
            connection: RefCell::new(Connection { socket, last_id: 0 }),
        }
    }

    /// A page with cookies of its own, as another person's browser has them.
    pub(crate) fn visitor(&self) -> Page<'_> {
        let context = self.call("", "Target.createBrowserContext", &json!({}));
        let new = json!({"url": "about:blank", "browserContextId": context["browserContextId"]});
        let target = self.call("", "Target.createTarget", &new);
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call("", "Target.attachToTarget", &attach);
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let page = Page {
            browser: self,
            session,
        };
        page.call("Page.enable", &json!({}));
        let params = json!({"source": COMPLAINTS});
        page.call("Page.addScriptToEvaluateOnNewDocument", &params);
        page
    }

    fn call(&self, session: &str, method: &str, params: &Value) -> Value {
        let mut connection = self.connection.borrow_mut();
        connection.last_id += 1;
        let id = connection.last_id;
        let mut command = json!({"id": id, "method": method, "params": params});
        if !session.is_empty() {
            command["sessionId"] = session.into();
        }
        let command = Message::text(command.to_string());
        connection.socket.send(command).unwrap();
        loop {
            let message = connection.socket.read().unwrap();
            let Ok(mut answer) = serde_json::from_slice::<Value>(&message.into_data()) else {
                continue;
            };
            if answer["id"] == id {
                return answer["result"].take();
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Its last processes may still write there.
        for _ in 0..50 {
            if std::fs::remove_dir_all(&self.profile).is_ok() || !self.profile.exists() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A tab of the browser.
pub(crate) struct Page<'a> {
    browser: &'a Browser,
    session: String,
}

impl Page<'_> {
    fn call(&self, method: &str, params: &Value) -> Value {
        self.browser.call(&self.session, method, params)
    }

    /// From now on, pages are shown in a window of this width, and as a person sees them who wants dark colours or not.
    pub(crate) fn look(&self, width: u32, is_dark: bool) {
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if is_dark { "dark" } else { "light" };
        let scheme = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", &json!({"features": [scheme]}));
    }

    /// Presses a key: `Tab`, `Shift+Tab`, `Enter` or `Space`.
    pub(crate) fn press(&self, key: &str) {
        let (modifiers, key) = match key.strip_prefix("Shift+") {
            Some(key) => (8, key),
            None => (0, key),
        };
        let (name, code, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            "Space" => (" ", 32, " "),
            _ => panic!("no such key: {key}"),
        };
        // In a page without the focus of the window, nothing would happen.
        let focus = json!({"enabled": true});
        self.call("Emulation.setFocusEmulationEnabled", &focus);
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": kind, "key": name, "code": key, "modifiers": modifiers, "windowsVirtualKeyCode": code,
            });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", &event);
        }
    }

    /// Presses a key that leads to another page.
    #[track_caller]
    pub(crate) fn press_and_leave(&self, key: &str) {
        self.run("window.isLeft = true");
        self.press(key);
        self.wait_until("!window.isLeft && document.readyState === 'complete'");
    }

    /// Types a text.
    pub(crate) fn type_text(&self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// From now on, pages are shown without their scripts.
    pub(crate) fn turn_scripts_off(&self) {
        self.call(
            "Emulation.setScriptExecutionDisabled",
            &json!({"value": true}),
        );
    }

    /// What the page has broken of its policy, and the errors of its scripts.
    pub(crate) fn complaints(&self) -> Value {
        self.run("window.complaints")
    }

    /// What an expression in the page yields. While the page changes, that is nothing.
    pub(crate) fn run(&self, script: &str) -> Value {
        let params = json!({"expression": script, "returnByValue": true, "userGesture": true});
        let mut answer = self.call("Runtime.evaluate", &params);
        match answer["exceptionDetails"].take() {
            Value::Null => answer["result"]["value"].take(),
            failure => panic!("{script}: {failure}\n{}", self.text()),
        }
    }

    /// What a visitor reads.
    pub(crate) fn text(&self) -> String {
        let text = self.run("document.body ? document.body.innerText : ''");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// The path of the address, with the query.
    pub(crate) fn path(&self) -> String {
        let path = self.run("location.pathname + location.search");
        path.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    #[track_caller]
    pub(crate) fn wait_until(&self, script: &str) {
        let end = Instant::now() + PATIENCE;
        while self.run(script) != true {
            assert!(Instant::now() < end, "never: {script}\n{}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Does what leads to another page, and waits for that page.
    #[track_caller]
    fn leave(&self, script: &str) {
        self.run(&format!("window.isLeft = true; {script}; undefined"));
        self.wait_until("!window.isLeft && document.readyState === 'complete'");
    }

    #[track_caller]
    pub(crate) fn go(&self, address: &str) {
        self.leave(&format!("location.href = {}", json!(address)));
    }

    #[track_caller]
    pub(crate) fn reload(&self) {
        self.leave("location.reload()");
    }

    /// Clicks on a link or a button that leads to another page.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        self.leave(&format!(
            "document.querySelector({}).click()",
            json!(selector)
        ));
    }

    #[track_caller]
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        let (selector, text) = (json!(selector), json!(text));
        self.run(&format!(
            "document.querySelector({selector}).value = {text}; undefined"
        ));
    }

    /// The cookies that the browser has for this page.
    pub(crate) fn cookies(&self) -> Vec<Value> {
        let mut answer = self.call("Network.getCookies", &json!({}));
        match answer["cookies"].take() {
            Value::Array(cookies) => cookies,
            other => panic!("no list of cookies: {other}"),
        }
    }
}
