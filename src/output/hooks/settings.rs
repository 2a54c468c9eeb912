//! What is told to whom, validated. What is wrong is said so that it fits behind the place where it was written.

use crate::output::http_client::Access;
use crate::output::http_client::Address;
use crate::output::http_client::Credentials;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The events of the contract that a hook can ask for.
pub const EVENTS: [&str; 12] = [
    "mounted",
    "unmounted",
    "remounted",
    "moved",
    "failed",
    "still_failing",
    "recovered",
    "slow",
    "missing",
    "found",
    "denied",
    "run",
];
/// What a hook is told when nothing else is said: what somebody must act on, and its end.
pub const DEFAULT_EVENTS: [&str; 4] = ["failed", "recovered", "missing", "found"];
/// How long a run may take when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A run that takes longer holds up the later events of its mount for longer than anybody wants.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);
/// How often Alertmanager is told that an alert still fires when nothing else is said, as Prometheus does it.
pub const DEFAULT_REFRESH: Duration = Duration::from_secs(60);
/// Below, it is a flood; above, an alert outlives a dead daemon for hours.
const REFRESH_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// More hooks than anybody has written; each may have its processes, its queue and its thread for names.
pub const MAX_HOOKS: usize = 16;
/// Names are labels of metrics and words in messages.
const MAX_NAME: usize = 64;
/// The name by which a rule chooses Alertmanager; no hook may have it.
pub const ALERTMANAGER: &str = "alertmanager";
/// More labels or longer ones are no labels.
const MAX_LABELS: usize = 64;
const MAX_LABEL_VALUE: usize = 1024;
/// Labels that tell alerts of one machine apart, and those that the daemon must be able to say itself.
const OWN_LABELS: [&str; 5] = ["alertname", "device", "fstype", "mountpoint", "severity"];

/// Who is told what happens, besides the sinks. By default nobody.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HookSettings {
    /// Commands and requests.
    pub hooks: Vec<Hook>,
    /// An Alertmanager.
    pub alertmanager: Option<Alertmanager>,
}

/// A command or a request for each event of some kinds.
#[derive(Clone, PartialEq, Debug)]
pub struct Hook {
    /// Its name in rules, messages and metrics.
    pub name: String,
    /// The events that it is told, by their names in the contract.
    pub events: Vec<&'static str>,
    /// What is done.
    pub action: HookAction,
    /// How long one run may take.
    pub timeout: Duration,
}

/// What a hook does.
#[derive(Clone, PartialEq)]
pub enum HookAction {
    /// Starts a command: an absolute path, and arguments. No shell.
    Command(Vec<OsString>),
    /// Sends the event by POST.
    Post {
        /// Where to.
        url: Address,
        /// Who we are.
        credentials: Credentials,
        /// Trust the certificates in this PEM file instead of the system's.
        ca_file: Option<PathBuf>,
    },
}

/// An Alertmanager, which is told which mounts are dead, slow or missing.
#[derive(Clone, PartialEq, Debug)]
pub struct Alertmanager {
    /// Its base, such as `http://localhost:9093`.
    pub url: Address,
    /// Who we are.
    pub credentials: Credentials,
    /// Trust the certificates in this PEM file instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Added to the labels of each alert. `instance` and `job` can be replaced.
    pub labels: BTreeMap<String, String>,
    /// How often it is told that an alert still fires.
    pub refresh: Duration,
}

impl HookSettings {
    /// All of them together.
    ///
    /// # Errors
    /// Too many; a name that is used twice.
    pub fn new(hooks: Vec<Hook>, alertmanager: Option<Alertmanager>) -> Result<HookSettings, String> {
        if hooks.len() > MAX_HOOKS {
            return Err(format!("{} hooks are more than {MAX_HOOKS}", hooks.len()));
        }
        for (at, hook) in hooks.iter().enumerate() {
            if hooks[..at].iter().any(|other| other.name == hook.name) {
                return Err(format!("the name {} is used twice", hook.name));
            }
        }
        Ok(HookSettings { hooks, alertmanager })
    }

    /// Is nobody told anything?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty() && self.alertmanager.is_none()
    }
}

impl Hook {
    /// A hook; what is not given has its default.
    ///
    /// # Errors
    /// A name that cannot be a word, an unknown event, a timeout that is none.
    pub fn new(
        name: &str,
        events: Option<&[String]>,
        action: HookAction,
        timeout: Option<Duration>,
    ) -> Result<Hook, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
            return Err(format!(
                "a name has 1 to {MAX_NAME} letters, digits, dots, dashes and underscores, not {name:?}"
            ));
        }
        if name == ALERTMANAGER {
            return Err(format!("{ALERTMANAGER} is the name of Alertmanager itself"));
        }
        let events = match events {
            None => DEFAULT_EVENTS.to_vec(),
            Some([]) => return Err("events is empty, so it would never run".to_owned()),
            Some(names) => names.iter().map(|name| event(name)).collect::<Result<_, _>>()?,
        };
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        if timeout.is_zero() || timeout > LONGEST_TIMEOUT {
            return Err(format!(
                "its timeout has to be above zero and at most {}s",
                LONGEST_TIMEOUT.as_secs()
            ));
        }
        Ok(Hook { name: name.to_owned(), events, action, timeout })
    }

    /// Is it told events of this name?
    pub(super) fn wants(&self, event: &str) -> bool {
        self.events.contains(&event)
    }
}

fn event(name: &str) -> Result<&'static str, String> {
    let found = EVENTS.into_iter().find(|event| *event == name);
    found.ok_or_else(|| format!("there is no event {name:?}; there are {}", EVENTS.join(" ")))
}

impl HookAction {
    /// A command. Whether its program is there is seen when it is started: to look for it could hang.
    ///
    /// # Errors
    /// No program; a program that is not named by an absolute path; a NUL byte.
    pub fn command(arguments: Vec<OsString>) -> Result<HookAction, String> {
        let Some(program) = arguments.first() else {
            return Err("its command is empty".to_owned());
        };
        if !Path::new(program).is_absolute() {
            return Err(format!(
                "its program {program:?} has to be an absolute path: there is no shell and no PATH"
            ));
        }
        if arguments.iter().any(|argument| argument.as_bytes().contains(&0)) {
            return Err("an argument contains a NUL byte".to_owned());
        }
        Ok(HookAction::Command(arguments))
    }

    /// A request.
    ///
    /// # Errors
    /// An address that is none, or that has a password in it.
    pub fn post(url: &str, credentials: Credentials, ca_file: Option<PathBuf>) -> Result<HookAction, String> {
        let url = url.parse().map_err(|error| format!("its url is wrong: {error}"))?;
        Ok(HookAction::Post { url, credentials, ca_file })
    }

    pub(super) fn access(&self) -> Access {
        match self {
            HookAction::Command(_) => Access::default(),
            HookAction::Post { url: _, credentials, ca_file } => {
                Access { credentials: credentials.clone(), ca_file: ca_file.clone() }
            }
        }
    }
}

/// Addresses of chats are secrets themselves: only where they begin is shown.
impl fmt::Debug for HookAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookAction::Command(arguments) => f.debug_tuple("Command").field(arguments).finish(),
            HookAction::Post { url, credentials, ca_file } => f
                .debug_struct("Post")
                .field("url", &url.origin())
                .field("credentials", credentials)
                .field("ca_file", ca_file)
                .finish(),
        }
    }
}

impl Alertmanager {
    /// An Alertmanager; what is not given has its default.
    ///
    /// # Errors
    /// An address that is none, has a password or a query; a label that Alertmanager would refuse or that is ours; a
    /// time between two refreshes that is too short or too long.
    pub fn new(
        url: &str,
        credentials: Credentials,
        ca_file: Option<PathBuf>,
        labels: BTreeMap<String, String>,
        refresh: Option<Duration>,
    ) -> Result<Alertmanager, String> {
        let url: Address = url.parse().map_err(|error| format!("its url is wrong: {error}"))?;
        if url.has_query() {
            return Err("its url is the base of an Alertmanager and has no query".to_owned());
        }
        if labels.len() > MAX_LABELS {
            return Err(format!("{} labels are more than {MAX_LABELS}", labels.len()));
        }
        for (name, value) in &labels {
            label(name, value)?;
        }
        let refresh = refresh.unwrap_or(DEFAULT_REFRESH);
        let (shortest, longest) = REFRESH_LIMITS;
        if refresh < shortest || refresh > longest {
            let (shortest, longest) = (shortest.as_secs(), longest.as_secs());
            return Err(format!("its refresh has to be from {shortest}s to {longest}s"));
        }
        Ok(Alertmanager { url, credentials, ca_file, labels, refresh })
    }

    pub(super) fn access(&self) -> Access {
        Access { credentials: self.credentials.clone(), ca_file: self.ca_file.clone() }
    }
}

fn label(name: &str, value: &str) -> Result<(), String> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "{name:?} is no name of a label: letters, digits and underscores, no digit first"
        ));
    }
    if OWN_LABELS.contains(&name) {
        return Err(format!("the label {name} is said by the daemon itself"));
    }
    if value.len() > MAX_LABEL_VALUE {
        return Err(format!("the label {name} is longer than {MAX_LABEL_VALUE} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Result<HookAction, String> {
        HookAction::command(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn hooks() {
        let action = command(&["/bin/page", "now"]).unwrap();
        let hook = Hook::new("page", None, action.clone(), None).unwrap();
        assert_eq!((hook.events.as_slice(), hook.timeout), (&DEFAULT_EVENTS[..], DEFAULT_TIMEOUT));
        let some = ["slow".to_owned()];
        assert!(Hook::new("page", Some(&some), action.clone(), None).unwrap().wants("slow"));
        for (name, events, timeout, complaint) in [
            ("", None, None, "1 to 64 letters"),
            ("a b", None, None, "\"a b\""),
            ("alertmanager", None, None, "Alertmanager itself"),
            ("x", Some(vec![]), None, "never run"),
            ("x", Some(vec!["fialed".to_owned()]), None, "no event \"fialed\"; there are mounted "),
            ("x", None, Some(Duration::ZERO), "above zero"),
            ("x", None, Some(Duration::from_secs(3601)), "at most 3600s"),
        ] {
            let error = Hook::new(name, events.as_deref(), action.clone(), timeout).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
        for (words, complaint) in
            [(&[][..], "is empty"), (&["page"], "absolute path"), (&["/bin/page", "a\0b"], "NUL")]
        {
            let error = command(words).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
        let hooks = vec![hook.clone(), hook.clone()];
        assert!(HookSettings::new(hooks, None).unwrap_err().contains("page is used twice"));
        let many = (0..17).map(|n| Hook { name: n.to_string(), ..hook.clone() }).collect();
        assert!(HookSettings::new(many, None).unwrap_err().contains("more than 16"));
        assert!(HookSettings::default().is_empty());
    }

    #[test]
    fn requests_keep_their_addresses_to_themselves() {
        let action =
            HookAction::post("https://chat.example/hooks/T0/SECRET?x=SECRET", Credentials::None, None)
                .unwrap();
        let shown = format!("{action:?}");
        assert!(shown.contains("https://chat.example") && !shown.contains("SECRET"), "{shown}");
        let error = HookAction::post("http://me:pw@h", Credentials::None, None).unwrap_err();
        assert!(error.contains("password") && !error.contains("pw"), "{error}");
    }

    #[test]
    fn alertmanagers() {
        let new = |url: &str, label: &str, value: &str, refresh| {
            let labels = BTreeMap::from([(label.to_owned(), value.to_owned())]);
            Alertmanager::new(url, Credentials::None, None, labels, refresh)
        };
        assert_eq!(new("localhost:9093", "team", "storage", None).unwrap().refresh, DEFAULT_REFRESH);
        assert!(new("localhost:9093", "instance", "me", None).is_ok());
        for (url, label, refresh, complaint) in [
            ("http://a:b@h", "x", None, "password"),
            ("http://h/?x", "x", None, "no query"),
            ("h", "1x", None, "no digit first"),
            ("h", "a-b", None, "is no name of a label"),
            ("h", "mountpoint", None, "by the daemon itself"),
            ("h", "x", Some(Duration::from_millis(10)), "from 1s to 3600s"),
        ] {
            let error = new(url, label, "v", refresh).unwrap_err();
            assert!(error.contains(complaint), "{error}");
        }
        assert!(new("h", "x", &"v".repeat(2000), None).unwrap_err().contains("longer than"));
    }
}
