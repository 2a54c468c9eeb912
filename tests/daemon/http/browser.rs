//! A real browser without a window, steered over a pipe by its own protocol: one JSON message between two zero bytes.

use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const COMMAND: &str = "chromium";
/// The first start on a loaded machine takes long.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

pub(super) struct Browser {
    child: Child,
    stdin: RefCell<ChildStdin>,
    messages: mpsc::Receiver<Value>,
    last: Cell<u64>,
    session: String,
    complaints: RefCell<Vec<String>>,
}

/// Is there one?
pub(super) fn is_there() -> bool {
    Command::new(COMMAND).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

impl Browser {
    pub(super) fn start(scratch: &Path) -> Browser {
        let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
                     --disable-background-networking --disable-component-update --disable-sync \
                     --disable-dev-shm-usage --remote-debugging-pipe";
        // The pipe is its third and fourth descriptor.
        let script =
            format!("exec {COMMAND} {flags} --user-data-dir=\"$1\" 3<&0 4>&1 </dev/null >/dev/null 2>&1");
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(scratch)
            .env("HOME", scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let stdin = RefCell::new(child.stdin.take().expect("it was asked for"));
        let stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (tell, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in stdout.split(0).map_while(Result::ok) {
                let _ = tell.send(serde_json::from_slice(&message).expect("its messages are JSON"));
            }
        });
        let mut browser = Browser {
            child,
            stdin,
            messages,
            last: Cell::new(0),
            session: String::new(),
            complaints: RefCell::default(),
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session =
            browser.call("Target.attachToTarget", attach)["sessionId"].as_str().expect("id").into();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable", "Network.enable"] {
            browser.call(domain, json!({}));
        }
        browser
    }

    pub(super) fn open(&self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
        crate::common::wait_until(ANSWER_LIMIT, "the page is there", || {
            self.value("document.readyState") == "complete" && self.value("location.href") != "about:blank"
        });
    }

    pub(super) fn without_scripts(&self, without: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": without}));
    }

    /// The value of an expression in the page, as text.
    pub(super) fn value(&self, expression: &str) -> String {
        let expression = format!("String({expression})");
        let answer = self.call("Runtime.evaluate", json!({"expression": expression}));
        answer["result"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Errors and warnings of the page so far, and what it asked of others.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.value("1"); // what has been told by now is read
        self.complaints.borrow().clone()
    }

    fn call(&self, method: &str, params: Value) -> Value {
        let id = self.last.get() + 1;
        self.last.set(id);
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut stdin = self.stdin.borrow_mut();
        stdin.write_all(format!("{message}\0").as_bytes()).expect("the browser reads");
        stdin.flush().expect("the browser reads");
        loop {
            let message = self.messages.recv_timeout(ANSWER_LIMIT).expect("the browser answers");
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.listen(&message);
        }
    }

    fn listen(&self, message: &Value) {
        let complaint = match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => true,
            "Network.requestWillBeSent" => {
                let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                !url.starts_with("http://127.0.0.1:") && !url.starts_with("data:")
            }
            _ => false,
        };
        if complaint {
            self.complaints.borrow_mut().push(message.to_string());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
