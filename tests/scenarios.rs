//! Timelines in text, played against the pure monitor with a clock that jumps: `tests/scenarios/*.txt`.
//!
//! A line that begins with a time is something that happens; the indented lines below it are what the monitor then
//! does, up to the next. `MSM_REWRITE=1 cargo test --test scenarios` writes what it does now.

mod world;

use mount_status_monitor::monitor::{Input, ProbeSettings, Time};
use platform::Errno;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use world::{Fs, QUICK, World};

#[test]
fn every_scenario_plays_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the scenarios are in the repository")
        .map(|entry| entry.expect("a readable folder").path())
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

/// Plays the happenings of a scenario and returns its text with the actions as they are now.
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
    let mut world = World::seeded(settings, seed);
    world.with_evidence = text.lines().any(|line| line.starts_with("settings evidence=shown"));
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.starts_with(' ')) {
        let is_happening = line.starts_with(|c: char| c.is_ascii_digit());
        if is_happening {
            let (time, command) = line.split_once(' ').expect("a time and a command");
            let at = Time::after_start(duration(time));
            assert!(at >= world.now, "time runs backwards at: {line}");
            world.run_until(at);
            flush(&mut world, &mut out);
            writeln!(out, "{line}").expect("writing to a string");
            happen(&mut world, command);
            let here = world.now;
            world.run_until(here);
        } else {
            writeln!(out, "{line}").expect("writing to a string");
        }
        flush(&mut world, &mut out);
    }
    out
}

fn flush(world: &mut World, out: &mut String) {
    for line in world.log.drain(..) {
        writeln!(out, "    {line}").expect("writing to a string");
    }
}

/// One happening. Tables are changed first and announced by `change` (or read at `start`).
fn happen(world: &mut World, command: &str) {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["start"] => world.feed_table(),
        ["kernel-waits"] => world.feed(Input::ServerNotResponding),
        ["change"] => world.announce(),
        ["mount", key, path, fstype, options @ ..] => {
            let key: u64 = number(key);
            let option = |name: &str| options.iter().find_map(|o| o.strip_prefix(name)?.strip_prefix('='));
            let minor = option("sb").map_or(u32::try_from(key).expect("small"), number);
            world.mount(key, path, fstype, minor, option("on").map_or(1, number));
        }
        ["binds", from, to, prefix, sb] => {
            for key in number::<u64>(from)..=number(to) {
                world.mount(key, &format!("{prefix}{key}"), "fuse.x", number(sb), 1);
            }
        }
        ["umount", key] => {
            world.mounts.remove(&number(key));
        }
        ["options", key, options] => {
            world.alter(number(key), |mount| mount.options = OsString::from(options));
        }
        ["super", key, options] => {
            world.alter(number(key), |mount| mount.super_options = OsString::from(options));
        }
        ["move", key, path] => world.alter(number(key), |mount| mount.mountpoint = path.into()),
        ["kernel-read-only", sb] => world.set_read_only(number(sb)),
        ["reading-costs", cost] => world.set_read_cost(duration(cost)),
        ["fs", sb, "ok"] => world.set_fs(number(sb), Fs::Answers(QUICK)),
        ["fs", sb, "takes", time] => world.set_fs(number(sb), Fs::Answers(duration(time))),
        ["fs", sb, "hangs"] => world.set_fs(number(sb), Fs::Hangs),
        ["fs", sb, "unkillable"] => world.set_fs(number(sb), Fs::Unkillable),
        ["fs", sb, "elsewhere"] => world.set_fs(number(sb), Fs::WrongMount),
        ["fs", sb, "kills-the-prober"] => world.set_fs(number(sb), Fs::KillsTheProber),
        ["fs", sb, "errno", name] => world.set_fs(number(sb), Fs::Fails(errno(name), QUICK)),
        ["fs", sb, "errno", name, "after", time] => {
            world.set_fs(number(sb), Fs::Fails(errno(name), duration(time)));
        }
        ["sign", server, "silent"] => world.feed(sign(server, false)),
        ["sign", server, "responds"] => world.feed(sign(server, true)),
        ["wish", path] => world.feed(Input::EvidenceRequested { mountpoints: vec![path.into()] }),
        ["expect", places @ ..] => {
            let split = |word| str::split_once(word, ':');
            let places = places
                .iter()
                .map(|word| split(word).map_or((*word, None), |(path, fstype)| (path, Some(fstype))));
            world.expect(&places.collect::<Vec<_>>());
        }
        ["reload", changes @ ..] => {
            let mut settings = world.settings;
            let mut without = None;
            for (name, value) in changes.iter().filter_map(|word| word.split_once('=')) {
                match name {
                    "without" => without = Some(value.to_owned()),
                    _ => set(&mut settings, name, value),
                }
            }
            world.reconfigure(settings, without);
        }
        ["stalled", time] => world.feed(Input::Stalled(duration(time))),
        ["end"] => {}
        _ => panic!("unknown happening: {command}"),
    }
}

fn sign(server: &str, responds: bool) -> Input {
    Input::ServerStatusHint { server: server.into(), responds }
}

fn set(settings: &mut ProbeSettings, name: &str, value: &str) {
    match name {
        "interval" => settings.poll_interval = duration(value),
        "timeout" => settings.timeout = duration(value),
        "slow" => settings.slow_after = duration(value),
        "evidence" => {} // of the world
        _ => panic!("unknown setting {name}"),
    }
}

fn errno(name: &str) -> Errno {
    [
        Errno::EIO,
        Errno::ESTALE,
        Errno::ENOTCONN,
        Errno::EACCES,
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
