//! What is told to whom, validated. What is wrong is said so that it fits behind the place where it was written.

use crate::output::alertmanager::ALERTMANAGER;
use crate::output::http_client::Access;
use crate::output::http_client::Address;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
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
/// More hooks than anybody has written; each may have its processes, its queue and its thread for names.
pub const MAX_HOOKS: usize = 16;
/// Names are labels of metrics and words in messages.
const MAX_NAME: usize = 64;
/// Who is told what happens, besides the sinks. By default nobody.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HookSettings {
    /// Commands and requests.
    pub hooks: Vec<Hook>,
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
        /// Credentials and trusted certificates.
        access: Access,
    },
}

impl HookSettings {
    /// All of them together.
    ///
    /// # Errors
    /// Too many; a name that is used twice.
    pub fn new(hooks: Vec<Hook>) -> Result<HookSettings, String> {
        if hooks.len() > MAX_HOOKS {
            return Err(format!("{} hooks are more than {MAX_HOOKS}", hooks.len()));
        }
        for (at, hook) in hooks.iter().enumerate() {
            if hooks[..at].iter().any(|other| other.name == hook.name) {
                return Err(format!("the name {} is used twice", hook.name));
            }
        }
        Ok(HookSettings { hooks })
    }

    /// Is nobody told anything?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
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
    pub fn post(url: &str, access: Access) -> Result<HookAction, String> {
        let url = url.parse().map_err(|error| format!("its url is wrong: {error}"))?;
        Ok(HookAction::Post { url, access })
    }

    pub(super) fn access(&self) -> Access {
        match self {
            HookAction::Command(_) => Access::default(),
            HookAction::Post { url: _, access } => access.clone(),
        }
    }
}

/// Addresses of chats are secrets themselves: only where they begin is shown.
impl fmt::Debug for HookAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookAction::Command(arguments) => f.debug_tuple("Command").field(arguments).finish(),
            HookAction::Post { url, access } => {
                f.debug_struct("Post").field("url", &url.origin()).field("access", access).finish()
            }
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
        assert!(HookSettings::new(hooks).unwrap_err().contains("page is used twice"));
        let many = (0..17).map(|n| Hook { name: n.to_string(), ..hook.clone() }).collect();
        assert!(HookSettings::new(many).unwrap_err().contains("more than 16"));
        assert!(HookSettings::default().is_empty());
    }

    #[test]
    fn requests_keep_their_addresses_to_themselves() {
        let action =
            HookAction::post("https://chat.example/hooks/T0/SECRET?x=SECRET", Access::default()).unwrap();
        let shown = format!("{action:?}");
        assert!(shown.contains("https://chat.example") && !shown.contains("SECRET"), "{shown}");
        let error = HookAction::post("http://me:pw@h", Access::default()).unwrap_err();
        assert!(error.contains("password") && !error.contains("pw"), "{error}");
    }
}
