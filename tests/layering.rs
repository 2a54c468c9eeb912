//! Checks that the source tree keeps the layers described in `src/lib.rs`.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

/// Maximum file length in lines: a longer file has more than one subject.
const MAX_LINES: usize = 500;

/// Tokens that code below these paths must not contain.
struct Rule {
    within: &'static [&'static str],
    except: &'static [&'static str],
    forbidden: &'static [&'static str],
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: &["src/"],
        except: &[],
        forbidden: &["unsafe ", "unsafe{", "cfg(target_os", "cfg!(target_os", "libc::", "nix::", "rustix::"],
        why: "operating system specifics belong to platform/",
    },
    Rule {
        within: &["src/monitor"],
        except: &[],
        forbidden: &[
            "std::fs",
            "std::io",
            "std::net",
            "std::process",
            "std::thread",
            "Instant",
            "SystemTime",
            "println!",
            "print!",
            "eprintln!",
            "log::",
        ],
        why: "decisions depend on nothing but the arguments",
    },
    Rule {
        within: &["src/monitor"],
        except: &[],
        forbidden: &[
            "crate::children",
            "crate::cli",
            "crate::commands",
            "crate::config",
            "crate::daemon",
            "crate::output",
            "crate::render",
        ],
        why: "monitor uses only plain data of platform, and nothing else of this crate",
    },
    Rule {
        within: &["src/children"],
        except: &[],
        forbidden: &[
            "crate::cli",
            "crate::commands",
            "crate::config",
            "crate::daemon",
            "crate::output",
            "crate::render",
        ],
        why: "children use the data of monitor and platform",
    },
    Rule {
        within: &["src/render"],
        except: &[],
        forbidden: &[
            "std::env",
            "std::fs",
            "std::io",
            "std::net",
            "std::thread",
            "println!",
            "print!",
            "eprintln!",
            "crate::cli",
            "crate::commands",
            "crate::config",
            "crate::daemon",
            "crate::output",
            "axum::",
            "hyper",
            "tokio::",
        ],
        why: "render turns plain data into text",
    },
    Rule {
        within: &["src/output"],
        except: &[],
        forbidden: &[
            "crate::children::{",
            "crate::children::prober",
            "crate::children::collector",
            "crate::cli",
            "crate::commands",
            "crate::daemon",
        ],
        why: "outputs see events, snapshots and the configuration, and use children for files only",
    },
    Rule {
        within: &["src/monitor", "src/children", "src/render", "src/daemon", "src/config"],
        except: &[],
        forbidden: &["axum::", "tokio::", "hyper", "reqwest"],
        why: "network protocols belong to output/",
    },
    Rule {
        within: &["src/daemon"],
        except: &[],
        forbidden: &["crate::cli", "crate::commands"],
        why: "the event loop does not know which command runs it",
    },
    Rule {
        within: &["src/daemon"],
        except: &[],
        forbidden: &[
            "output::alertmanager",
            "output::exporters",
            "output::hooks",
            "output::http",
            "output::push",
            "output::syslog",
            "output::textfile",
            "Dispatcher",
            "Reporter",
        ],
        why: "the event loop only queues for the outputs",
    },
    Rule {
        within: &["src/"],
        except: &["src/main.rs", "src/commands", "src/cli"],
        forbidden: &["crate::cli"],
        why: "only main, commands and cli know the command line",
    },
    Rule {
        within: &["src/"],
        except: &["src/cli"],
        forbidden: &["clap::"],
        why: "only cli defines the command line",
    },
    Rule {
        within: &["src/"],
        // Other processes and threads have no event loop to give them the time.
        except: &[
            "src/daemon/",
            "src/config/reloader.rs",
            "src/config/source.rs",
            "src/main.rs",
            "src/commands",
            "src/children/prober/process",
            "src/children/prober/confirmation",
            "src/children/prober/running_time",
            "src/children/prober/worker_pool",
            "src/children/collector/process",
            "src/children/collector/server",
            "src/children/files/",
            "src/children/remedy/",
            "src/children/signs/process",
            "src/children/signs/tracker",
            "src/output/",
            "src/render/samples.rs",
        ],
        forbidden: &["Instant::now", "SystemTime::now"],
        why: "daemon is the only reader of the clock",
    },
    Rule {
        within: &["src/", "platform/", "tests/", "benches/"],
        except: &["tests/layering.rs"],
        forbidden: &["thread::sleep"],
        why: "wait for an event or a deadline instead of sleeping",
    },
    Rule {
        within: &["platform/"],
        except: &[],
        forbidden: &["mount_status_monitor::"],
        why: "platform does not depend on the other modules",
    },
];

#[test]
fn source_tree_keeps_the_layers() {
    let files = sources();
    assert!(files.iter().any(|(name, _)| name == "src/lib.rs"), "this is not the tree: {files:?}");
    let offences: Vec<String> = files.iter().flat_map(|(name, text)| offences(name, text)).collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn daemon_crate_forbids_unsafe_code() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("it is there");
    assert!(text.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn map_in_lib_names_existing_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = fs::read_to_string(root.join("src/lib.rs")).expect("it is there");
    let names = map.split('`').filter(|name| name.contains('/') && !name.contains(char::is_whitespace));
    let missing: Vec<&str> = names.filter(|name| !root.join(name).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn forbidden_tokens_and_long_files_are_reported() {
    for (name, line) in [
        ("src/children/prober/pool/mod.rs", "    let now = Instant::now();"),
        ("src/render/messages.rs", "    let t = SystemTime::now();"),
        ("src/monitor/mod.rs", "use std::time::Instant;"),
        ("src/monitor/mod.rs", "use crate::render::Message;"),
        ("src/monitor/mod.rs", "        std::fs::read(path)"),
        ("src/render/mod.rs", "use crate::daemon::Loop;"),
        ("src/output/mod.rs", "use crate::daemon::Loop;"),
        ("src/daemon/mod.rs", "    unsafe { close(fd) }"),
        ("src/daemon/mod.rs", "use crate::output::hooks::Hooks;"),
        ("src/daemon/mod.rs", "#[cfg(target_os = \"linux\")]"),
        ("src/config/mod.rs", "use crate::cli::Arguments;"),
        ("platform/src/lib.rs", "use mount_status_monitor::monitor;"),
        ("benches/a.rs", "std::thread::sleep(span);"),
    ] {
        assert_eq!(offences(name, &format!("//! Fine.\n\n{line}\n")).len(), 1, "{name}: {line}");
    }
    assert_eq!(offences("src/a.rs", &"\n".repeat(MAX_LINES + 1)).len(), 1);
}

#[test]
fn permitted_code_is_not_reported() {
    for (name, line) in [
        ("src/daemon/mod.rs", "    let now = Instant::now();"),
        ("src/children/prober/process.rs", "    let start = Instant::now();"),
        ("src/monitor/mod.rs", "// Neither Instant nor std::fs in the monitor"),
        ("src/monitor/mod.rs", "use crate::monitor::Time;"),
        ("src/lib.rs", "#![forbid(unsafe_code)]"),
        ("src/render/escape.rs", "use std::os::unix::ffi::OsStrExt;"),
        ("platform/src/linux/probe.rs", "    unsafe { libc::statfs(path, &mut buffer) }"),
    ] {
        assert_eq!(offences(name, line), Vec::<String>::new());
    }
}

fn offences(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let too_long = (lines > MAX_LINES).then(|| format!("{name}: {lines} lines are more than {MAX_LINES}"));
    let in_code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let broken = in_code.flat_map(|(n, line)| {
        let of_rule = move |rule: &'static Rule| {
            let token = rule.forbidden.iter().find(|token| names(line, token))?;
            rule.holds_for(name).then(|| format!("{name}:{}: `{token}`: {}", n + 1, rule.why))
        };
        RULES.iter().filter_map(of_rule)
    });
    too_long.into_iter().chain(broken).collect()
}

/// Whether the token occurs other than as the end of a longer name.
fn names(line: &str, token: &str) -> bool {
    let in_name = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(token).any(|(at, _)| !line[..at].ends_with(in_name))
}

impl Rule {
    fn holds_for(&self, name: &str) -> bool {
        let under = |places: &[&str]| places.iter().any(|place| name.starts_with(place));
        under(self.within) && !under(self.except)
    }
}

/// Path and text of every source file.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut left: Vec<_> =
        ["src", "platform", "tests", "benches"].iter().map(|name| root.join(name)).collect();
    while let Some(directory) = left.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.map(|entry| entry.expect("it was listed")) {
            let path = entry.path();
            if entry.file_type().expect("it was listed").is_dir() {
                if entry.file_name() != "target" {
                    left.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name =
                    path.strip_prefix(root).expect("it is under the root").to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path).expect("a source file is text")));
            }
        }
    }
    found
}
