//! What is said when a command line is wrong: one line, and what may have been meant.

use super::{Cli, Exit, USAGE_ERROR, command};
use crate::render::PROCESS_NAME;
use crate::render::escape::one_line;
use crate::render::nagios;
use clap::Parser as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// The end that this error means, on this command line.
pub(super) fn of(error: &clap::Error, arguments: &[OsString]) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Exit { status: 0, stdout: error.render().to_string(), stderr: String::new() }
        }
        _ => exit(&[format!("{}; see --help", one_line(&problem(error, arguments)))], is_plugin(arguments)),
    }
}

/// The end that these problems mean.
pub(super) fn exit(problems: &[String], plugin: bool) -> Exit {
    if plugin {
        let status = nagios::State::Unknown.exit_status();
        let text = problems.join("; ");
        let problem = text.strip_suffix("; see --help").unwrap_or(&text);
        return Exit { status, stdout: format!("{}\n", nagios::unknown(problem)), stderr: String::new() };
    }
    let lines = problems.iter().map(|problem| format!("{PROCESS_NAME}: {problem}\n"));
    Exit { status: USAGE_ERROR, stdout: String::new(), stderr: lines.collect() }
}

/// Is this the command line of a monitoring plugin, even if it is a wrong one? Its reader looks for one line on
/// standard output and takes 2 for a dead mount.
pub(super) fn is_plugin(arguments: &[OsString]) -> bool {
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    has("check") && has("--nagios")
}

/// What is wrong, in one line: what clap says, unless more is known.
pub(super) fn problem(error: &clap::Error, arguments: &[OsString]) -> String {
    let kind = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::ArgumentConflict => ContextKind::InvalidSubcommand,
        _ => return plain(error),
    };
    let Some(ContextValue::String(wrong)) = error.get(kind) else { return plain(error) };
    let definition = command();
    let first = arguments.get(1).and_then(|word| word.to_str()).unwrap_or_default();
    match definition.find_subcommand(first) {
        Some(sub) if is_option(&definition, wrong) => {
            format!("'{wrong}' is an option of the daemon, not of {}", sub.get_name())
        }
        // A word after options: clap does not look whether there is such a command, but people mean one.
        None if !wrong.starts_with('-') => match Cli::try_parse_from([PROCESS_NAME, wrong]) {
            Err(alone) if alone.kind() == ErrorKind::InvalidSubcommand => plain(&alone),
            _ => plain(error),
        },
        _ => plain(error),
    }
}

/// Has the command this option, written like this?
fn is_option(command: &clap::Command, word: &str) -> bool {
    command.get_arguments().any(|option| {
        let long = option.get_long().is_some_and(|long| word.strip_prefix("--") == Some(long));
        long || option.get_short().is_some_and(|short| word.strip_prefix('-') == Some(&short.to_string()))
    })
}

/// clap's message without its layout: what is wrong and what may have been meant.
pub(super) fn plain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut parts: Vec<String> = Vec::new();
    for paragraph in text.split("\n\n") {
        let paragraph = paragraph.trim();
        if paragraph.starts_with("Usage:") || paragraph.starts_with("For more information") {
            continue;
        }
        let words: Vec<&str> = paragraph.lines().map(str::trim).filter(is_telling).collect();
        parts.extend((!words.is_empty()).then(|| words.join(" ")));
    }
    let joined = parts.join("; ");
    let mut problem = joined.strip_prefix("error: ").unwrap_or(&joined).replace("; tip: ", "; ");
    if problem.starts_with("the subcommand ") {
        problem.push_str("; write the options after the command");
    }
    problem
}

/// Not that a mistyped option could be the name of a mount point.
fn is_telling(line: &&str) -> bool {
    !line.is_empty() && !line.starts_with("tip: to pass ")
}
