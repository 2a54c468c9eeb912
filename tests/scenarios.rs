//! Plays the scenarios in `tests/scenarios/*.txt` against the pure monitor with a simulated clock.
//!
//! A line that begins with a time is a step; the indented lines below it are what the monitor does until the next step.
//! `MSM_REWRITE=1 cargo test --test scenarios` writes what it does now.

mod simulation;

use mount_status_monitor::monitor::{Input, ProbeSelection, ProbeSettings, Time};
use platform::evidence::StalledStorage;
use platform::{Errno, Mount, ShortenedNames};
use simulation::{FsBehavior, QUICK, Simulation};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn scenarios_play_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("the scenarios are in the repository")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 12, "scenarios are missing: {files:?}");
    let mut differing = Vec::new();
    for file in files {
        let written = std::fs::read_to_string(&file).expect("a readable scenario");
        let played = play(&written);
        if std::env::var_os("MSM_REWRITE").is_some() {
            std::fs::write(&file, &played).expect("a writable scenario");
        } else if played != written {
            differing.push(format!("{}:\n{}", file.display(), first_difference(&written, &played)));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

fn first_difference(written: &str, played: &str) -> String {
    let line = written.lines().zip(played.lines()).take_while(|(a, b)| a == b).count();
    format!(
        "line {}:\n  written: {}\n  played:  {}",
        line + 1,
        written.lines().nth(line).unwrap_or("(end)"),
        played.lines().nth(line).unwrap_or("(end)")
    )
}

/// Plays the steps of a scenario and returns its text with what the monitor does now.
fn play(text: &str) -> String {
    let mut settings = ProbeSettings::default();
    let mut seed = 0;
    for words in text.lines().filter_map(|line| line.strip_prefix("settings ")) {
        for (name, value) in words.split_whitespace().filter_map(|word| word.split_once('=')) {
            match name {
                "seed" => seed = number(value),
                _ => set(&mut settings, name, value),
            }
        }
    }
    let mut simulation = Simulation::new(settings, seed);
    simulation.with_evidence = text.lines().any(|line| line.starts_with("settings evidence=shown"));
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        let is_step = line.starts_with(|c: char| c.is_ascii_digit());
        if is_step {
            let (time, command) = line.split_once(' ').expect("a time and a command");
            let at = Time::after_start(duration(time));
            assert!(at >= simulation.now, "time runs backwards at: {line}");
            simulation.run_until(at);
            flush(&mut simulation, &mut out);
            writeln!(out, "{line}").expect("writing to a string");
            step(&mut simulation, command);
            let now = simulation.now;
            simulation.run_until(now);
        } else {
            writeln!(out, "{line}").expect("writing to a string");
        }
        flush(&mut simulation, &mut out);
    }
    out
}

fn flush(simulation: &mut Simulation, out: &mut String) {
    for line in simulation.log.drain(..) {
        writeln!(out, "    {line}").expect("writing to a string");
    }
}

/// One step. Changes of the table are announced by `change` (or read at `start`).
fn step(simulation: &mut Simulation, command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["start"] => simulation.feed_table(),
        [stall] if stall.ends_with("-stall") => simulation.feed(stall_of(stall)),
        ["change"] => simulation.announce(),
        ["mount", key, path, fstype, options @ ..] => {
            let key: u64 = number(key);
            let option = |name: &str| options.iter().find_map(|o| o.strip_prefix(name)?.strip_prefix('='));
            let minor = option("sb").map_or(u32::try_from(key).expect("small"), number);
            simulation.mount(key, path, fstype, minor, option("on").map_or(1, number));
        }
        ["binds", from, to, prefix, sb] => {
            for key in number::<u64>(from)..=number(to) {
                simulation.mount(key, &format!("{prefix}{key}"), "fuse.x", number(sb), 1);
            }
        }
        ["umount", key] => {
            simulation.mounts.remove(&number(key));
        }
        ["options", key, options] => {
            simulation.alter(number(key), |mount| mount.options = options.into());
        }
        ["super", key, options] => {
            simulation.alter(number(key), |mount| mount.super_options = options.into());
        }
        ["on", key, parent] => simulation.alter(number(key), |mount| mount.parent = number(parent)),
        ["move", key, path] => simulation.alter(number(key), |mount| {
            (mount.mountpoint, mount.shortened) = (path.into(), ShortenedNames::default());
        }),
        ["path-too-long", key] => simulation.alter(number(key), |mount| mount.shortened.mountpoint = true),
        ["kernel-read-only", sb] => drop(simulation.read_only.insert(number(sb))),
        ["read-cost", cost] => simulation.read_cost = duration(cost),
        ["fs", sb, behavior @ ..] => simulation.set_fs(number(sb), fs_behavior(behavior)),
        ["hint", server, "not-responding"] => simulation.feed(hint(server, false)),
        ["hint", server, "responds"] => simulation.feed(hint(server, true)),
        ["request-evidence", path] => {
            simulation.feed(Input::EvidenceRequested { mountpoints: vec![path.into()] });
        }
        ["request-probe", path] => {
            let is_named = |mount: &&Arc<Mount>| mount.mountpoint.as_path() == Path::new(path);
            let keys = simulation.mounts.values().filter(is_named).map(|mount| mount.key);
            simulation.feed(Input::ProbesRequested(ProbeSelection::These(keys.collect())));
        }
        ["request-probes"] => simulation.feed(Input::ProbesRequested(ProbeSelection::All)),
        ["expect", places @ ..] => {
            let split = |word| str::split_once(word, ':');
            let places = places
                .iter()
                .map(|word| split(word).map_or((*word, None), |(path, fstype)| (path, Some(fstype))));
            simulation.expect(&places.collect::<Vec<_>>());
        }
        ["expect-options", mounts @ ..] => {
            simulation.expect_options(mounts.iter().filter_map(|word| word.split_once(':')));
        }
        ["reload", changes @ ..] => reload(simulation, changes),
        ["stalled", time] => simulation.feed(Input::Stalled(duration(time))),
        ["resumed"] => simulation.feed(Input::Resumed),
        ["end"] => {}
        _ => panic!("unknown step: {command}"),
    }
}

fn reload(simulation: &mut Simulation, changes: &[&str]) {
    let mut settings = simulation.settings;
    let (mut without, mut runs) = (None, None);
    for (name, value) in changes.iter().filter_map(|word| word.split_once('=')) {
        match name {
            "runs" => runs = Some(duration(value)),
            "without" => without = Some(value.to_owned()),
            _ => set(&mut settings, name, value),
        }
    }
    simulation.reconfigure(runs.unwrap_or(settings.poll_interval), settings, without);
}

fn fs_behavior(words: &[&str]) -> FsBehavior {
    match words {
        ["ok"] => FsBehavior::Responds(QUICK),
        ["takes", time] => FsBehavior::Responds(duration(time)),
        ["hangs"] => FsBehavior::Hangs,
        ["unkillable"] => FsBehavior::Unkillable,
        ["path-refused"] => FsBehavior::PathRefused,
        ["wrong-mount"] => FsBehavior::WrongMount,
        ["kills-prober"] => FsBehavior::KillsProber,
        ["errno", name] => FsBehavior::Fails(errno(name), QUICK),
        ["errno", name, "after", time] => FsBehavior::Fails(errno(name), duration(time)),
        _ => panic!("unknown behavior of a file system: {words:?}"),
    }
}

fn hint(server: &str, responds: bool) -> Input {
    Input::ServerStatusHint { server: server.into(), responds }
}

fn stall_of(word: &str) -> Input {
    match word {
        "server-stall" => Input::ServerNotResponding,
        "ceph-stall" => Input::StorageStall(StalledStorage::Ceph),
        "lustre-stall" => Input::StorageStall(StalledStorage::Lustre),
        "any-stall" => Input::StorageStall(StalledStorage::Any),
        _ => panic!("unknown stall: {word}"),
    }
}

fn set(settings: &mut ProbeSettings, name: &str, value: &str) {
    match name {
        "interval" => settings.poll_interval = duration(value),
        "timeout" => settings.timeout = duration(value),
        "slow" => settings.slow_after = duration(value),
        "flap_changes" => settings.flap.changes = number(value),
        "flap_window" => settings.flap.window = duration(value),
        "evidence" => {} // shown by the simulation
        _ => panic!("unknown setting {name}"),
    }
}

fn errno(name: &str) -> Errno {
    [
        Errno::EIO,
        Errno::ESTALE,
        Errno::ENOTCONN,
        Errno::EACCES,
        Errno::EPERM,
        Errno::ESHUTDOWN,
        Errno::EHOSTDOWN,
        Errno::EINTR,
        Errno::RESTART,
        Errno::ENOSYS,
    ]
    .into_iter()
    .find(|errno| errno.name() == name)
    .unwrap_or_else(|| panic!("unknown errno {name}"))
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn duration(word: &str) -> Duration {
    let (value, unit) = word.split_at(word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len()));
    let value: f64 = number(value);
    match unit {
        "ms" => Duration::from_secs_f64(value / 1000.0),
        "s" => Duration::from_secs_f64(value),
        "m" => Duration::from_secs_f64(value * 60.0),
        "h" => Duration::from_secs_f64(value * 3600.0),
        _ => panic!("not a duration: {word}"),
    }
}
