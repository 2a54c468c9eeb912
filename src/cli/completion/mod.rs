//! Shell completion. Completing a mount point must not touch it: the shell asks this program, which reads the mount
//! table, instead of the file system. The scripts of clap complete the rest.

mod bash;
mod bash_word;

pub use bash::{BashAnswer, BashWord};

use super::definition::{MOUNT_POINT_HINT, visible_command};
use crate::render::PROCESS_NAME;
use clap_complete::Shell;

/// The hidden command that the scripts start.
pub(super) const COMMAND: &str = "mount-points";

/// Which mount points a shell needs, and how.
#[derive(Debug)]
pub enum CompletionRequest {
    /// Those that complete a word, quoted.
    Bash(BashWord),
    /// All, without those that fish takes for a name and its description.
    Fish,
    /// All; `compadd` selects and quotes them. Within quotes, it does not write bytes that are not UTF-8 rightly.
    Zsh { is_quoted: bool },
}

/// What clap's scripts do for an argument with the hint that it is a directory.
const ZSH_DIRECTORIES: &str = ":_files -/";
const FISH_DIRECTORIES: &str = "(__fish_complete_directories)";

/// The program says what the word is, then one candidate a line, quoted as the word is. Without `-o default` bash
/// does not complete files by itself. To find a command, bash calls `stat` for the working directory, which may hang.
const BASH: &str = r#"
_mount_status_monitor_word() {
    local kind= candidate
    COMPREPLY=()
    {
        IFS= read -r kind
        while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done
    } < <([[ $1 == */* ]] || builtin cd /; "$1" mount-points bash "$2" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    case $kind in
    mount-points) ;;
    files) compopt -o default ;;
    *) _mount_status_monitor "$@" ;;
    esac
}
complete -F _mount_status_monitor_word mount_status_monitor
"#;

const ZSH: &str = r#"
_mount_status_monitor_mount_points() {
    local -a mounts=("${(@0)"$(mount_status_monitor mount-points zsh "$compstate[quote]" 2>/dev/null)"}")
    mounts=("${(@)mounts:#}")
    compadd "$@" -a -- mounts
}
"#;

/// What fish substitutes by the candidates. Only `split0` as the last command keeps names with line ends together.
const FISH_MOUNT_POINTS: &str = "(mount_status_monitor mount-points fish 2>/dev/null | string split0)";

/// The completions for a shell.
pub(super) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible_command(), PROCESS_NAME, &mut script);
    let script = String::from_utf8_lossy(&script);
    match shell {
        Shell::Bash => script.into_owned() + BASH,
        Shell::Zsh => {
            let script = script.replace(ZSH_DIRECTORIES, ":_mount_status_monitor_mount_points");
            // Before the last lines, which call the function that completes.
            let end = script.rfind("\nif [").unwrap_or(script.len());
            format!("{}{ZSH}{}", &script[..end], &script[end..])
        }
        Shell::Fish => {
            let mut script = script.replace(FISH_DIRECTORIES, FISH_MOUNT_POINTS);
            // No files, except for options that name one. The condition of clap's script for options of the daemon does
            // not hold while the value of one is missing.
            script += &format!(
                "complete -c {PROCESS_NAME} -f\ncomplete -c {PROCESS_NAME} -n \"contains -- --check-config (commandline -opc)\" \
                 -l explain -r -f -a \"{FISH_MOUNT_POINTS}\"\n"
            );
            for command in visible_command().get_subcommands() {
                if command.get_positionals().any(|argument| argument.get_value_hint() == MOUNT_POINT_HINT) {
                    script += &format!(
                        "complete -c {PROCESS_NAME} -n \"__fish_{PROCESS_NAME}_using_subcommand {}\" -a \"{FISH_MOUNT_POINTS}\"\n",
                        command.get_name()
                    );
                }
            }
            script
        }
        _ => script.into_owned(),
    }
}
