//! Validated settings of `[[hook]]`. Errors lack a location in the file; the caller adds it.

use crate::output::alertmanager::ALERTMANAGER;
use crate::output::http_client::{Access, Address};
use crate::render::escape::escape_os;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The events that a hook can select.
pub const EVENTS: [&str; 22] = [
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
    "unknown",
    "unexpected_options",
    "expected_options",
    "flapping",
    "steady",
    "remedy_planned",
    "remedy_refused",
    "remedy_step",
    "remedied",
    "remedy_failed",
    "run",
];
/// The default selection: problems that an operator must act on, and their end.
const DEFAULT_EVENTS: [&str; 8] =
    ["failed", "recovered", "flapping", "steady", "missing", "found", "remedied", "remedy_failed"];
/// The default timeout of a run.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum timeout: a longer run would delay later events of its mount too much.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// Maximum number of hooks: each may have processes, a queue and a thread for lookups.
pub const MAX_HOOKS: usize = 16;
/// Maximum length of a name: names are metric labels and part of log lines.
const MAX_NAME: usize = 64;

/// A command or a request for each event of some kinds.
#[derive(Clone, PartialEq, Debug)]
pub struct Hook {
    /// The name in rules, log lines and metrics; unique.
    pub name: String,
    /// The names of the selected events.
    pub events: Vec<&'static str>,
    pub action: HookAction,
    /// The timeout of one run.
    pub timeout: Duration,
}

/// What a hook runs.
#[derive(Clone, PartialEq, Debug)]
pub enum HookAction {
    /// A program, by its absolute path, and its arguments. No shell.
    Command(Vec<OsString>),
    /// A POST request with the event.
    Post { url: Address, access: Access },
}

impl Hook {
    /// Validates the settings of a hook and adds the defaults.
    pub fn new(
        name: &str,
        events: Option<&[String]>,
        action: HookAction,
        timeout: Option<Duration>,
    ) -> Result<Hook, String> {
        let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_valid) {
            return Err(format!(
                "a name has 1 to {MAX_NAME} letters, digits, dots, dashes and underscores, not {name:?}"
            ));
        }
        if name == ALERTMANAGER {
            return Err(format!("the name {ALERTMANAGER} is reserved for Alertmanager"));
        }
        let events = match events {
            None => DEFAULT_EVENTS.to_vec(),
            Some([]) => return Err("events is empty, so the hook would never run".to_owned()),
            Some(names) => {
                let event = |name: &String| EVENTS.into_iter().find(|event| event == name);
                let unknown = |name| format!("there is no event {name:?}; there are {}", EVENTS.join(" "));
                names.iter().map(|name| event(name).ok_or_else(|| unknown(name))).collect::<Result<_, _>>()?
            }
        };
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        if timeout.is_zero() || timeout > MAX_TIMEOUT {
            return Err(format!("the timeout must be above zero and at most {}s", MAX_TIMEOUT.as_secs()));
        }
        Ok(Hook { name: name.to_owned(), events, action, timeout })
    }
}

impl HookAction {
    /// Validates a command. Does not check that the program exists, because that could hang.
    pub fn command(arguments: Vec<OsString>) -> Result<HookAction, String> {
        let Some(program) = arguments.first() else {
            return Err("the command is empty".to_owned());
        };
        if !Path::new(program).is_absolute() {
            return Err(format!(
                "the program {program:?} must be an absolute path: there is no shell and no search path"
            ));
        }
        if arguments.iter().any(|argument| argument.as_bytes().contains(&0)) {
            return Err("an argument contains a NUL byte".to_owned());
        }
        Ok(HookAction::Command(arguments))
    }

    /// Checks the URL of a request.
    pub fn post(url: &str, access: Access) -> Result<HookAction, String> {
        let url = url.parse().map_err(|error| format!("invalid url: {error}"))?;
        Ok(HookAction::Post { url, access })
    }

    /// The program, or the server: the rest of a URL may be a secret.
    pub(crate) fn target(&self) -> String {
        match self {
            HookAction::Command(arguments) => {
                arguments.first().map(|it| escape_os(it).into_owned()).unwrap_or_default()
            }
            HookAction::Post { url, .. } => url.origin(),
        }
    }

    pub(super) fn access(&self) -> Access {
        match self {
            HookAction::Command(_) => Access::default(),
            HookAction::Post { access, .. } => access.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Result<HookAction, String> {
        HookAction::command(words.iter().map(OsString::from).collect())
    }

    #[test]
    fn invalid_hooks_are_refused() {
        let action = command(&["/bin/page", "now"]).unwrap();
        let hook = Hook::new("page", None, action.clone(), None).unwrap();
        assert_eq!((hook.events.as_slice(), hook.timeout), (&DEFAULT_EVENTS[..], DEFAULT_TIMEOUT));
        let slow = ["slow".to_owned()];
        assert!(Hook::new("page", Some(&slow), action.clone(), None).unwrap().events == ["slow"]);
        for (name, events, timeout, expected) in [
            ("", None, None, "1 to 64 letters"),
            ("a b", None, None, "\"a b\""),
            ("alertmanager", None, None, "reserved for Alertmanager"),
            ("x", Some(vec![]), None, "never run"),
            ("x", Some(vec!["fialed".to_owned()]), None, "no event \"fialed\"; there are mounted "),
            ("x", None, Some(Duration::ZERO), "above zero"),
            ("x", None, Some(Duration::from_secs(3601)), "at most 3600s"),
        ] {
            let error = Hook::new(name, events.as_deref(), action.clone(), timeout).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for (words, expected) in
            [(&[][..], "is empty"), (&["page"], "absolute path"), (&["/bin/page", "a\0b"], "NUL")]
        {
            let error = command(words).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn path_of_a_url_is_not_shown() {
        let url = "https://chat.example/hooks/T0/SECRET?x=SECRET";
        let shown = format!("{:?}", HookAction::post(url, Access::default()).unwrap());
        assert!(shown.contains("https://chat.example") && !shown.contains("SECRET"), "{shown}");
        let error = HookAction::post("http://me:pw@h", Access::default()).unwrap_err();
        assert!(error.contains("password") && !error.contains("pw"), "{error}");
    }
}
