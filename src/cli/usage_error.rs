//! Errors of the command line: one line for each mistake, which says what to do.

use super::{Exit, USAGE_ERROR, command};
use crate::config::options;
use crate::render::PROCESS_NAME;
use crate::render::escape::one_line;
use crate::render::nagios;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// Names less similar than this are not suggested.
const MIN_SIMILARITY: f64 = 0.7;

pub(super) fn exit_for(error: &clap::Error, arguments: &[OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::success(error.render().to_string()),
        _ => exit(&[one_line(&message(error, arguments)).into_owned()], arguments),
    }
}

/// The output for mistakes on the command line or in the configuration. A monitoring plugin prints one line on standard
/// output, with the exit status UNKNOWN; usage errors of other commands have the status of a dead mount for it.
pub(super) fn exit(problems: &[String], arguments: &[OsString]) -> Exit {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has("check") && has("--nagios") {
        let problem = problems.join("; ");
        let problem = problem.strip_suffix("; see --help").unwrap_or(&problem);
        let stdout = format!("{}\n", nagios::unknown(problem));
        return Exit { status: nagios::State::Unknown.exit_status(), stdout, stderr: String::new() };
    }
    let lines = problems.iter().map(|problem| format!("{PROCESS_NAME}: {problem}\n"));
    Exit { status: USAGE_ERROR, stdout: String::new(), stderr: lines.collect() }
}

fn message(error: &clap::Error, arguments: &[OsString]) -> String {
    let context = |kind| context(error, kind);
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let name =
        if argument.starts_with('-') { &argument } else { argument.trim_matches(['<', '>', '[', ']', '.']) };
    let first = arguments.get(1).and_then(|word| word.to_str());
    match error.kind() {
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            unknown_option(&argument, context(ContextKind::SuggestedArg), first)
        }
        ErrorKind::UnknownArgument if !first.is_some_and(is_command) => unknown_command(&argument),
        ErrorKind::UnknownArgument => format!("unexpected argument '{argument}'; see --help"),
        ErrorKind::InvalidSubcommand => {
            unknown_command(&context(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::InvalidValue => match context(ContextKind::InvalidValue).filter(|value| !value.is_empty())
        {
            None => format!("{name} needs a value"),
            Some(value) => {
                let valid = context(ContextKind::ValidValue).unwrap_or_default();
                format!("invalid value '{value}' for {name}: use one of {valid}")
            }
        },
        ErrorKind::ValueValidation => {
            let problem = std::error::Error::source(error).map_or_else(String::new, ToString::to_string);
            format!("{}: {problem}", argument.split(' ').next().unwrap_or_default())
        }
        ErrorKind::TooManyValues => format!("{argument} takes no value"),
        ErrorKind::ArgumentConflict => {
            let prior = context(ContextKind::PriorArg).unwrap_or_default();
            match context(ContextKind::InvalidSubcommand) {
                // For clap any word after options may be a command.
                Some(word) if !is_command(&word) => unknown_command(&word),
                Some(command) => {
                    format!("write the options after the command: '{prior}' is before '{command}'")
                }
                None if prior == argument => format!("{argument} cannot be used twice"),
                None => format!("{argument} cannot be used with {prior}"),
            }
        }
        ErrorKind::MissingRequiredArgument => format!("{name} is missing; see --help"),
        kind => format!("{kind}; see --help"),
    }
}

fn unknown_option(option: &str, similar: Option<String>, command: Option<&str>) -> String {
    let is_of_daemon = options().any(|known| {
        option == format!("--{}", known.flag())
            || known.short.is_some_and(|short| option == format!("-{short}"))
    });
    match (command, similar) {
        (Some(command), _) if is_of_daemon => {
            format!("{option} is an option of the daemon, not of {command}")
        }
        (_, Some(similar)) => format!("unknown option {option}; did you mean {similar}?"),
        (_, None) => format!("unknown option {option}; see --help"),
    }
}

fn unknown_command(word: &str) -> String {
    let command = command();
    let names =
        command.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
    let similar = names
        .map(|name| (strsim::jaro_winkler(name, word), name))
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    match similar {
        Some((_, name)) => format!("unknown command '{word}'; did you mean '{name}'?"),
        None => format!("unknown command '{word}'; see --help"),
    }
}

fn is_command(word: &str) -> bool {
    command().find_subcommand(word).is_some()
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => Some(texts.join(", ")),
        _ => None,
    }
}
