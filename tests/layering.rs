//! Holds the tree against the layers that the map in `src/lib.rs` describes.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

/// A file that is longer than this is two files.
const MAX_LINES: usize = 600;

/// Text that may not be in the code of these places.
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
        why: "the operating system is at home in platform/",
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
        why: "what is decided depends on nothing but the arguments",
    },
    Rule {
        within: &["src/monitor"],
        except: &[],
        forbidden: &["crate::probe", "crate::render", "crate::daemon", "crate::config", "crate::cli"],
        why: "monitor uses plain data of platform and nothing else of this crate",
    },
    Rule {
        within: &["src/probe", "src/evidence", "src/report"],
        except: &[],
        forbidden: &["crate::daemon", "crate::commands", "crate::config", "crate::cli"],
        why: "probe, evidence and report know monitor's data alone",
    },
    Rule {
        within: &["src/http"],
        except: &[],
        forbidden: &["crate::daemon", "crate::commands", "crate::config", "crate::cli", "crate::probe"],
        why: "those who serve see the latest snapshot and the last events, and nothing else",
    },
    Rule {
        within: &["src/monitor", "src/probe", "src/report", "src/daemon", "src/live"],
        except: &[],
        forbidden: &["crate::http", "axum::", "tokio::", "hyper"],
        why: "nobody below knows who is served",
    },
    Rule {
        within: &["src/"],
        except: &["src/main.rs", "src/commands", "src/cli"],
        forbidden: &["crate::cli", "clap::"],
        why: "nobody but main, its commands and cli knows the command line",
    },
    Rule {
        within: &["src/"],
        // A prober is another process, and a sink or an outlet of metrics is a thread that outlasts what blocks: nobody could tell them the
        // time. Commands and the reporter stamp what did not come from the loop.
        except: &[
            "src/daemon/",
            "src/config/keeper.rs", // a thread that waits for files to rest
            "src/main.rs",
            "src/commands",
            "src/probe/prober",
            "src/probe/crew",
            "src/evidence/collector",
            "src/evidence/server",
            "src/report/sink",
            "src/report/mod.rs",
            "src/metrics/outlets",
            "src/metrics/push",
            "src/metrics/textfile",
            "src/remote/client",
            "src/hooks/",
            // Time limits of connections, which are none of the monitor's business.
            "src/http/health.rs",
            "src/http/stall.rs",
        ],
        forbidden: &["Instant::now", "SystemTime::now"],
        why: "daemon is the only reader of the clock",
    },
    Rule {
        within: &["src/", "platform/", "tests/", "benches/"],
        except: &["tests/layering.rs"],
        forbidden: &["thread::sleep"],
        why: "nothing here waits by sleeping",
    },
    Rule {
        within: &["src/metrics", "src/live"],
        except: &[],
        forbidden: &["crate::daemon", "crate::probe", "crate::commands", "crate::config", "crate::cli"],
        why: "metrics are made of snapshots alone",
    },
    Rule {
        within: &["src/monitor", "src/probe", "src/report", "src/daemon"],
        except: &[],
        forbidden: &["crate::render::metrics::self", "prometheus::"],
        why: "nobody who works knows that he is measured",
    },
    Rule {
        within: &["src/remote"],
        except: &[],
        forbidden: &[
            "crate::monitor",
            "crate::daemon",
            "crate::render::metrics::self",
            "crate::hooks",
            "crate::http",
        ],
        why: "remote knows servers, and not what they are told",
    },
    Rule {
        within: &["src/hooks"],
        except: &[],
        forbidden: &[
            "crate::daemon",
            "crate::probe",
            "crate::render::metrics::self",
            "crate::http",
            "crate",
            "crate::commands",
            "crate::config",
            "crate::cli",
        ],
        why: "hooks are told messages, and know nothing of who watches",
    },
    Rule {
        within: &["src/monitor", "src/probe", "src/report", "src/daemon", "src/live"],
        except: &[],
        forbidden: &["crate::hooks", "crate::http_client"],
        why: "nobody who works knows who is told",
    },
    Rule {
        within: &["platform/"],
        except: &[],
        forbidden: &["mount_status_monitor::"],
        why: "platform knows nothing of the rest",
    },
];

#[test]
fn the_layers_hold() {
    let files = sources();
    assert!(files.iter().any(|(name, _)| name == "src/lib.rs"), "this is not the tree: {files:?}");
    let offences: Vec<String> = files.iter().flat_map(|(name, text)| offences(name, text)).collect();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_daemon_forbids_unsafe_code() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("it is there");
    assert!(text.contains("#![forbid(unsafe_code)]"));
}

#[test]
fn an_offence_is_seen() {
    for (name, line) in [
        ("src/probe/pool.rs", "    let now = Instant::now();"),
        ("src/report/syslog.rs", "    let t = SystemTime::now();"),
        ("src/monitor/mod.rs", "use std::time::Instant;"),
        ("src/monitor/mod.rs", "use crate::render::Message;"),
        ("src/monitor/mod.rs", "        std::fs::read(path)"),
        ("src/report/mod.rs", "use crate::daemon::Loop;"),
        ("src/daemon/mod.rs", "    unsafe { close(fd) }"),
        ("src/daemon/mod.rs", "#[cfg(target_os = \"linux\")]"),
        ("src/config.rs", "use crate::cli::Arguments;"),
        ("platform/src/lib.rs", "use mount_status_monitor::monitor;"),
        ("benches/a.rs", "std::thread::sleep(span);"),
    ] {
        assert_eq!(offences(name, &format!("//! Fine.\n\n{line}\n")).len(), 1, "{name}: {line}");
    }
    assert_eq!(offences("src/a.rs", &"\n".repeat(MAX_LINES + 1)).len(), 1);
}

#[test]
fn what_is_allowed_is_no_offence() {
    for (name, line) in [
        ("src/daemon/mod.rs", "    let now = Instant::now();"),
        ("src/probe/prober.rs", "    let start = Instant::now();"),
        ("src/monitor/mod.rs", "// Instant is not for us, and std::fs neither"),
        ("src/monitor/mod.rs", "use crate::monitor::Time;"),
        ("src/lib.rs", "#![forbid(unsafe_code)]"),
        ("src/report/escape.rs", "use std::os::unix::ffi::OsStrExt;"),
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

/// Is the token there, and not as the end of a longer name?
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

/// Every source file of the tree, by its path in it.
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
