//! Checks the Markdown documents against the program and against each other: links, options, command lines, examples,
//! and that the runbook has every event, state and reason. `manual.rs` checks the manual pages, `prometheus/contrib.rs`
//! the metrics.

#![cfg(target_os = "linux")] // the documents name its paths
#![forbid(unsafe_code)]

use mount_status_monitor::cli::{command, parse};
use mount_status_monitor::monitor::Reason;
use mount_status_monitor::output::hooks::EVENTS;
use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Markdown file of the repository.
struct Document {
    path: PathBuf,
    text: String,
}

/// A fenced block of code, and the number of its first line.
struct Block<'a> {
    language: &'a str,
    line: usize,
    text: String,
}

impl Document {
    fn name(&self) -> String {
        self.path.strip_prefix(in_repository("")).expect("it is in the repository").display().to_string()
    }

    fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for (number, line) in self.text.lines().enumerate() {
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (Some(language), None) => {
                    open = Some(Block { language: language.trim(), line: number + 2, text: String::new() });
                }
                (None, Some(block)) => block.text.extend([line, "\n"]),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block of code does not end", self.name());
        blocks
    }

    /// The text outside of blocks of code.
    fn prose(&self) -> String {
        let mut inside = false;
        let lines = self.text.lines().filter(|line| {
            let is_fence = line.trim_start().starts_with("```");
            inside ^= is_fence;
            !is_fence && !inside
        });
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// The targets of the links.
    fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.map(str::to_owned).collect()
    }

    /// The fragments that lead to its headings, as code hosts derive them.
    fn anchors(&self) -> HashSet<String> {
        let prose = self.prose();
        let headings = prose.lines().filter_map(|line| line.strip_prefix('#'));
        let slug = |heading: &str| {
            let kept = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        };
        headings.map(slug).collect()
    }

    /// Code within the prose, between single backquotes.
    fn spans(&self) -> Vec<String> {
        self.prose().split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
    }
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn documents() -> Vec<Document> {
    let mut found = Vec::new();
    let mut folders = vec![in_repository("")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a directory of the repository") {
            let entry = entry.expect("a directory entry");
            let (path, name) = (entry.path(), entry.file_name());
            let is_folder = entry.file_type().expect("its type").is_dir();
            if is_folder && name != "target" && name != ".git" {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).expect("the document is UTF-8");
                found.push(Document { path, text });
            }
        }
    }
    assert!(found.len() > 8, "only {} documents", found.len());
    found
}

fn document(name: &str) -> Document {
    documents().into_iter().find(|document| document.name() == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn readme_has_at_most_900_words() {
    let words = document("README.md").text.split_whitespace().count();
    assert!(words <= 900, "{words} words");
}

#[test]
fn relative_links_resolve() {
    let all = documents();
    let mut broken = Vec::new();
    for document in &all {
        for link in document.links().iter().filter(|link| !link.contains("://")) {
            let (path, fragment) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.path.clone(),
                path => document.path.parent().expect("a folder").join(path),
            };
            let Ok(target) = target.canonicalize() else {
                broken.push(format!("{}: {link}: no such file", document.name()));
                continue;
            };
            let has_anchor = || {
                let target = all.iter().find(|it| it.path.canonicalize().is_ok_and(|it| it == target));
                target.is_some_and(|it| it.anchors().contains(fragment))
            };
            if !fragment.is_empty() && !has_anchor() {
                broken.push(format!("{}: {link}: no such heading", document.name()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn runbook_has_every_event_state_and_reason() {
    let runbook = document("docs/operations.md");
    let spans: HashSet<_> = runbook.spans().into_iter().collect();
    let anchors = runbook.anchors();
    for name in EVENTS {
        assert!(spans.contains(name), "the event {name} is not in the runbook");
    }
    for name in states() {
        assert!(spans.contains(&name), "the state {name} is not in the runbook");
    }
    for reason in Reason::ALL {
        assert!(anchors.contains(reason.as_str()), "the reason {} has no section", reason.as_str());
    }
}

/// The states in the description of the API, which is checked against the program's responses.
fn states() -> Vec<String> {
    let text = std::fs::read_to_string(in_repository("contrib/openapi.json")).expect("it exists");
    let api: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    let parameters = api["paths"]["/api/v1/mounts"]["get"]["parameters"].as_array().expect("a list");
    let state = parameters.iter().find(|it| it["name"] == "state").expect("the parameter `state`");
    let names = state["schema"]["items"]["enum"].as_array().expect("a list");
    names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
}

const PROGRAM: &str = "mount_status_monitor ";

/// Command lines in blocks of code, and in the prose if they have an option or a known command. (The 2.x program printed
/// lines that begin with its name.)
fn command_lines(document: &Document) -> Vec<String> {
    let is_command = |span: &String| {
        let second = span.split_whitespace().nth(1).unwrap_or_default();
        second.starts_with('-') || command().get_subcommands().any(|sub| sub.get_name() == second)
    };
    let mut lines: Vec<String> = document.spans().into_iter().filter(is_command).collect();
    // Blocks of code that are indented.
    let prose = document.prose();
    let indented = prose.lines().filter_map(|line| line.strip_prefix("    "));
    lines.extend(indented.filter(|line| line.starts_with(PROGRAM)).map(str::to_owned));
    for block in document.blocks().iter().filter(|block| matches!(block.language, "console" | "sh")) {
        let joined = block.text.replace("\\\n", " ");
        let prompt = if block.language == "console" { "# " } else { "" };
        lines.extend(joined.lines().filter_map(|line| line.strip_prefix(prompt)).map(str::to_owned));
    }
    // As in unit files.
    let blocks = document.blocks();
    let by_path = blocks.iter().flat_map(|block| block.text.lines()).filter_map(|line| {
        let (_, arguments) = line.split_once("=/usr/bin/mount_status_monitor ")?;
        Some(format!("{PROGRAM}{arguments}"))
    });
    lines.extend(by_path);
    lines.retain(|line| line.starts_with(PROGRAM) && !line.contains('…'));
    lines
}

#[test]
fn command_lines_parse() {
    let mut count = 0;
    for document in documents() {
        for line in command_lines(&document) {
            // Without comments, redirections and other commands. None of the arguments contains these characters.
            let own = line.split(['#', '>', '|', ';', '&', '<']).next().unwrap_or_default();
            let words = own.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
            if let Err(error) = command().try_get_matches_from(words) {
                let is_help = matches!(
                    error.kind(),
                    clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
                );
                assert!(is_help, "{}: {line}: {error}", document.name());
            }
            count += 1;
        }
    }
    assert!(count > 20, "only {count} command lines");
}

/// Options of other programs.
const FOREIGN_OPTIONS: &[&str] = &["features", "poll"];

#[test]
fn options_in_backquotes_exist() {
    let mut definition = command();
    definition.build();
    let is_known = |word: &str| {
        let has = |command: &clap::Command| command.get_arguments().any(|arg| arg.get_long() == Some(word));
        has(&definition) || definition.get_subcommands().any(has)
    };
    for document in documents().iter().filter(|it| !it.name().starts_with("tests/")) {
        for span in document.spans() {
            let Some(name) = span.strip_prefix("--") else { continue };
            let name = name.split([' ', '=', '[']).next().unwrap_or_default();
            let is_foreign = FOREIGN_OPTIONS.contains(&name) || name.contains('.');
            assert!(is_known(name) || is_foreign, "{}: --{name} does not exist", document.name());
        }
    }
}

#[test]
fn examples_of_the_configuration_load() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.toml");
    for document in documents() {
        for block in document.blocks().iter().filter(|block| block.language == "toml") {
            std::fs::write(&path, &block.text).expect("a file");
            let words = [OsString::from("mount_status_monitor"), "--config".into(), path.clone().into()];
            if let Err(exit) = parse(words) {
                panic!("{}:{}: {}", document.name(), block.line, exit.stderr);
            }
        }
    }
}

#[test]
fn examples_in_other_languages_parse() {
    for document in documents() {
        for block in document.blocks() {
            let result = match block.language {
                "json" => serde_json::from_str::<serde_json::Value>(&block.text)
                    .map(drop)
                    .map_err(|e| e.to_string()),
                "yaml" => {
                    yaml_rust2::YamlLoader::load_from_str(&block.text).map(drop).map_err(|e| e.to_string())
                }
                "sh" => shell_syntax(&block.text),
                // Without a language: output, figures. `promql` is checked with promtool.
                "" | "console" | "toml" | "text" | "promql" => Ok(()),
                other => Err(format!("unknown language {other}")),
            };
            if let Err(error) = result {
                panic!("{}:{}: {error}", document.name(), block.line);
            }
        }
    }
}

fn shell_syntax(script: &str) -> Result<(), String> {
    let output = Command::new("bash").args(["-n", "-c", script]).output().map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
