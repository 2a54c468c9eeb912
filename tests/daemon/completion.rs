//! Completion of mount points in real shells while a mount is dead.

use crate::common::{
    Lab, Process, count_threads_stuck_in_fuse, ms, pause, program, run_isolated, slack, utf8, wait_until,
};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

/// A mount point is completed within this time.
const LIMIT: Duration = ms(300);
const START_LIMIT: Duration = ms(20_000);
/// Ends the words that a completed line consists of.
const END: &str = "end of words";

/// Each begins with another letter, which is all that is typed of it.
const NAMES: &[&[u8]] = &[
    b"a space",
    b"b'quote",
    b"c\"double",
    b"d:colon:host",
    b"e\nline",
    b"f\ttab",
    b"g$HOME`id`!x!!",
    b"h\\back\\\\",
    b"i\xe9latin1",
    "jünï日本".as_bytes(),
    b"k=v",
    b"l*?[x]{a,b}~#&;|<>()^%@l",
    "m\u{202e}reversed".as_bytes(),
    b"n\r\x1b[31mred",
    b"o-plain",
    b"p'\n\"$(id)",
];

struct Shell {
    child: Child,
    input: ChildStdin,
    transcript: PathBuf,
    /// Where the words of a line are written that is executed.
    words: PathBuf,
    name: &'static str,
}

/// A shell whose `mount_status_monitor` writes its arguments to a file, with the completions of this program.
fn start(lab: &Lab, name: &'static str, directory: &Path) -> Option<Shell> {
    for needed in [name, "script"] {
        if Command::new("which")
            .arg(needed)
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| !status.success())
        {
            lab.skip(&format!("{needed} is not installed"));
            return None;
        }
    }
    let words = lab.scratch_path(&format!("{name}.words"));
    let completions =
        Command::new(program()).args(["completions", name]).output().expect("the program starts");
    let completions = String::from_utf8(completions.stdout).expect("text");
    let (start, stop) =
        ("if [ \"$1\" = mount-points ]; then command mount_status_monitor \"$@\"; else", "fi");
    let record = format!("printf '%s\\0' \"$@\" '{END}' >\"$MSM_WORDS\"");
    let posix = format!("mount_status_monitor() {{ {start} {record}; {stop}; }}\n");
    let (file, setup, command) = match name {
        "bash" => ("rc", posix + &completions, "bash --noprofile --rcfile rc -i"),
        "zsh" => {
            (".zshrc", format!("autoload -U compinit; compinit -u -D\n{posix}{completions}"), "zsh -d -i")
        }
        _ => (
            "config",
            "function mount_status_monitor\nif test \"$argv[1]\" = mount-points\ncommand mount_status_monitor \
             $argv\nelse\n"
                .to_owned()
                + &record.replace("\"$@\"", "$argv")
                + "\nend\nend\n"
                + &completions,
            "fish --no-config --init-command 'source config' -i",
        ),
    };
    let home = lab.scratch_path(name);
    fs::create_dir(&home).expect("create a directory");
    fs::write(home.join(file), setup).expect("write a file");
    let in_home = |text: &str| text.replace("--rcfile rc", &format!("--rcfile {}/rc", utf8(&home)));
    let command = in_home(command).replace("source config", &format!("source {}/config", utf8(&home)));
    let transcript = home.join("transcript");
    let path =
        format!("{}:{}", utf8(program().parent().expect("a folder")), std::env::var("PATH").expect("PATH"));
    let mut child = Command::new("script")
        .args(["-q", "-e", "-c", &format!("exec {command}"), "/dev/null"])
        .current_dir(directory)
        .env_clear()
        .envs([("PATH", path.as_str()), ("TERM", "xterm"), ("LC_ALL", "C.UTF-8"), ("SHELL", "/bin/sh")])
        .envs([("HOME", &home), ("ZDOTDIR", &home), ("XDG_CONFIG_HOME", &home), ("XDG_DATA_HOME", &home)])
        .envs([("XDG_RUNTIME_DIR", &home), ("MSM_WORDS", &words)])
        .stdin(Stdio::piped())
        .stdout(File::create(&transcript).expect("create a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("script starts");
    let input = child.stdin.take().expect("it is piped");
    let mut shell = Shell { child, input, transcript, words, name };
    let ready = shell.run(b"mount_status_monitor ready", START_LIMIT);
    assert_eq!(ready, [b"ready"], "{}", shell.transcript());
    Some(shell)
}

impl Shell {
    /// Types a line, and returns the arguments that it is executed with.
    fn run(&mut self, keys: &[u8], limit: Duration) -> Vec<Vec<u8>> {
        let _ = fs::remove_file(&self.words);
        let start = Instant::now();
        self.input.write_all(&[keys, b"\r"].concat()).expect("the shell reads");
        loop {
            let written = fs::read(&self.words).unwrap_or_default();
            if let Some(words) = written.strip_suffix(format!("{END}\0").as_bytes()) {
                let words = words.strip_suffix(b"\0").unwrap_or_default();
                return words.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
            }
            let keys = String::from_utf8_lossy(keys);
            assert!(
                start.elapsed() < limit + slack(),
                "{}: {keys:?} is not executed within {limit:?}\n{}",
                self.name,
                self.transcript()
            );
            pause(ms(5));
        }
    }

    /// Types keys, and waits while the shell completes.
    fn type_keys(&mut self, keys: &[u8]) {
        self.input.write_all(keys).expect("the shell reads");
        pause(LIMIT);
    }

    fn transcript(&self) -> String {
        let text = fs::read(&self.transcript).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).escape_debug().to_string()
    }

    fn assert_not_stuck(&self) {
        let processes = Process(self.child.id()).descendants();
        assert!(!processes.is_empty());
        let stuck = if self.name == "fish" {
            // A thread of fish looks up every path on the line, to colour it.
            let channels =
                processes.iter().filter_map(|it| fs::read_to_string(format!("/proc/{}/wchan", it.0)).ok());
            channels.filter(|channel| channel.contains("request_wait_answer")).count()
        } else {
            count_threads_stuck_in_fuse(&processes)
        };
        assert_eq!(stuck, 0, "{}: {}", self.name, self.transcript());
        // A process is in this state while it starts another one, too.
        wait_until(LIMIT, "no process is in the state D", || {
            processes.iter().all(|process| process.state() != Some('D'))
        });
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn complete_everything(lab: &mut Lab, name: &'static str, quotes: &[&str]) {
    let dead = lab.mount_fuse("x dead");
    let mounts: Vec<PathBuf> = NAMES.iter().map(|name| lab.mount_point(OsStr::from_bytes(name))).collect();
    for mount in &mounts {
        lab.mount_tmpfs(mount);
    }
    // fish itself does not work in a directory that does not respond.
    let directory = if name == "fish" { lab.scratch_path("") } else { dead.clone() };
    let Some(mut shell) = start(lab, name, &directory) else { return };
    lab.set_fault("mute", &dead);
    let folder = lab.mount_point("").into_os_string().into_encoded_bytes();
    for (quote, command) in quotes.iter().flat_map(|quote| [(quote, "check"), (quote, "diagnose")]) {
        for mount in &mounts {
            let whole = mount.as_os_str().as_bytes();
            // Not offered: fish would take what follows a tab for a description, and zsh writes such bytes wrongly.
            let is_left_out = match name {
                "fish" => whole.contains(&b'\t'),
                "zsh" => !quote.is_empty() && std::str::from_utf8(whole).is_err(),
                _ => false,
            };
            if is_left_out {
                continue;
            }
            let typed = &whole[..=folder.len()];
            let line = [format!("mount_status_monitor {command} {quote}").as_bytes(), typed, b"\t"].concat();
            let words = shell.run(&line, LIMIT);
            assert_eq!(words, [command.as_bytes(), whole], "{name} {quote}{mount:?}\n{}", shell.transcript());
        }
    }
    assert_eq!(shell.run(b"mount_status_monitor diagn\t", LIMIT), [b"diagnose"]);
    complete_dead(&mut shell, &folder, dead.as_os_str().as_bytes(), quotes);
}

fn complete_dead(shell: &mut Shell, folder: &[u8], dead: &[u8], quotes: &[&str]) {
    let explain = "--check-config --explain ";
    for words in quotes.iter().map(|quote| format!("check {quote}")).chain([explain.to_owned()]) {
        let line = [b"mount_status_monitor ", words.as_bytes(), folder, b"x\t"].concat();
        shell.type_keys(&line);
        shell.assert_not_stuck();
        assert_eq!(shell.run(b"", LIMIT).last().expect("words"), dead, "{words}\n{}", shell.transcript());
    }
    // Nothing is known about what is inside the mount, and it is not looked up. Then all are listed.
    let inside = [b"mount_status_monitor check '", dead, b"/f\t\t"].concat();
    for keys in [inside, [b"mount_status_monitor check ", folder, b"\t\t"].concat()] {
        shell.type_keys(&keys);
        shell.assert_not_stuck();
        shell.type_keys(b"\x03");
        assert_eq!(shell.run(b"mount_status_monitor ready", LIMIT), [b"ready"]);
    }
}

#[test]
fn bash_completes_mount_points_without_touching_them() {
    run_isolated(|lab| complete_everything(lab, "bash", &["", "'", "\"", "$'"]));
}

#[test]
fn zsh_completes_mount_points_without_touching_them() {
    run_isolated(|lab| complete_everything(lab, "zsh", &["", "'", "\""]));
}

#[test]
fn fish_completes_mount_points_without_touching_them() {
    run_isolated(|lab| complete_everything(lab, "fish", &["", "'", "\""]));
}
