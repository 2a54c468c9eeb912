//! A headless Chromium, controlled with the DevTools protocol over a pipe: JSON messages that end with a zero byte.

use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const COMMAND: &str = "chromium";
/// The first start can take this long on a loaded machine.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(80);

pub(super) struct Browser {
    child: Child,
    stdin: RefCell<ChildStdin>,
    messages: mpsc::Receiver<Value>,
    last_id: Cell<u64>,
    session: String,
    problems: RefCell<Vec<String>>,
}

pub(super) fn is_installed() -> bool {
    Command::new(COMMAND).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

impl Browser {
    pub(super) fn start(scratch: &Path) -> Browser {
        let flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
                     --disable-background-networking --disable-component-update --disable-sync \
                     --disable-dev-shm-usage --remote-debugging-pipe";
        // Chromium reads commands from descriptor 3 and writes to descriptor 4.
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
        let stdin = RefCell::new(child.stdin.take().expect("the stream is piped"));
        let stdout = BufReader::new(child.stdout.take().expect("the stream is piped"));
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            for message in stdout.split(0).map_while(Result::ok) {
                let _ = sender.send(serde_json::from_slice(&message).expect("its messages are JSON"));
            }
        });
        let mut browser = Browser {
            child,
            stdin,
            messages,
            last_id: Cell::new(0),
            session: String::new(),
            problems: RefCell::default(),
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
        crate::common::wait_until(RESPONSE_TIMEOUT, "the page is loaded", || {
            self.is_loaded("location.href != 'about:blank'")
        });
    }

    /// Whether the page is loaded and this expression is true there. It is not while the browser goes from one page to
    /// another, which interrupts an evaluation.
    pub(super) fn is_loaded(&self, expression: &str) -> bool {
        let expression = format!("document.readyState === 'complete' && ({expression})");
        match self.try_call("Runtime.evaluate", json!({"expression": expression})) {
            Ok(result) => result["result"]["value"] == true,
            Err(error) if error["message"] == "Inspected target navigated or closed" => false,
            Err(error) => panic!("{expression}: {error}"),
        }
    }

    pub(super) fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": true});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    pub(super) fn disable_scripts(&self) {
        self.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    }

    /// Evaluates a JavaScript expression to a string.
    pub(super) fn value(&self, expression: &str) -> String {
        let expression = format!("String({expression})");
        let response = self.call("Runtime.evaluate", json!({"expression": expression}));
        response["result"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// Console messages, exceptions, and requests to other hosts so far.
    pub(super) fn problems(&self) -> Vec<String> {
        self.value("1"); // reads the messages sent so far
        self.problems.borrow().clone()
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut stdin = self.stdin.borrow_mut();
        stdin.write_all(format!("{message}\0").as_bytes()).expect("the browser reads");
        stdin.flush().expect("the browser reads");
        loop {
            let message = self.messages.recv_timeout(RESPONSE_TIMEOUT).expect("the browser responds");
            if message["id"] == id {
                return match message["error"].is_null() {
                    true => Ok(message["result"].clone()),
                    false => Err(message["error"].clone()),
                };
            }
            self.record(&message);
        }
    }

    fn record(&self, message: &Value) {
        let is_problem = match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => true,
            "Network.requestWillBeSent" => {
                let url = message["params"]["request"]["url"].as_str().unwrap_or_default();
                !url.starts_with("http://127.0.0.1:") && !url.starts_with("data:")
            }
            _ => false,
        };
        if is_problem {
            self.problems.borrow_mut().push(message.to_string());
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
