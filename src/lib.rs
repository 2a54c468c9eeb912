//! `mount_status_monitor` probes mounts and reports those that are dead. This is the map of its sources.
//!
//! ```text
//!  kernel: fanotify, mountinfo, EVFILT_FS                 prober (child): statx + statfs in a thread
//!         |                                                      |
//!  daemon::TableReader (throttled)                        children::prober::Pool
//!         | TableUpdate                                          | ProbeResponded, ProbeStuck, …
//!         +----------->  daemon: monitor.handle(now, input)  <---+   <--- Arc<Config> from config::ConfigReloader
//!                                    |
//!                        monitor::Monitor (pure)
//!                                    | effects: StartProbe, ConfirmHang, AbandonProbe, CollectEvidence, Report(event)
//!         children::*  <-------------+------------>  output::Outputs: one queue of events, snapshots and
//!                                                    configurations, on a thread of its own; render, then
//!                                                    stderr, syslog, HTTP, push, text file, hooks, Alertmanager
//! ```
//!
//! **The promise**: storage may hang in ways that nothing can interrupt; the monitor may not. So this process makes no
//! call that touches a watched file system or a path that an operator named, and the event loop waits for no output.
//! Calls that may hang are made in child processes (prober, collector, files), which can be abandoned. The program
//! itself is in memory, not on storage.
//!
//! Data flows one way: inputs, decisions, effects, outputs. Time is an argument and decisions are data. The
//! configuration is an input like any other. Metrics and alerts are derived from snapshots of the state.
//!
//! # Reading order
//! 1. [`monitor`]: what is decided, and when.
//! 2. [`daemon`]: the event loop, the only reader of the clock. It feeds the monitor and executes its effects.
//! 3. [`children`]: the prober, the collector of evidence, the reader of early signs, the work on files, the steps of
//!    remedies and the launcher of all, and their handles.
//! 4. [`render`]: events and status as text: log lines, tables, JSON, Nagios, metrics, diagnosis.
//! 5. [`output`]: where the text goes. Each output has a bounded queue and a thread.
//! 6. [`config`] and [`cli`]: files and flags become one validated `Config`.
//! 7. [`commands`]: the implementation of each command.
//! 8. `platform` (its own crate): the operating system.
//!
//! # Layers
//! `platform` does not depend on the other modules, and only it contains `unsafe`, libc and `cfg(target_os)`. `monitor`
//! uses plain data of `platform`; `children` and `render` use data of `monitor`; `output` uses `render` and `config`;
//! `daemon` uses all of these; only `main`, `commands` and `cli` know the command line. `tests/layering.rs` checks
//! this.
//!
//! # Where to change
//!
//! | what | where |
//! |---|---|
//! | the reason for an errno | `src/monitor/health/mod.rs` |
//! | whether an errno means dead | `src/monitor/health/classify.rs` |
//! | when a mount is probed | `src/monitor/scheduler/` |
//! | how a mount is probed | `platform/src/linux/probe.rs`, `platform/src/probing.rs` |
//! | the words of a log line | `src/render/messages.rs`; about the daemon itself: `src/render/notices.rs` |
//! | a metric | `src/render/metrics/families.rs` |
//! | a field of JSON | `src/render/json/`, `contrib/openapi.json` |
//! | the table of `check` | `src/render/table.rs`; cells and order, also of the page: `src/render/rows.rs` |
//! | TLS and passwords of the listener | `src/config/web_config.rs`, `src/output/http/access/` |
//! | the status page | `src/render/page/`; the server: `src/output/http/` |
//! | a flag or config key | `src/config/options.rs` |
//! | a setting of rules | `src/config/rules.rs`, `src/config/rule_reader.rs` |
//! | what is done about a dead mount, and what forbids it | `src/monitor/remedy/`; its words: `src/render/remedy_plan/` |
//! | what happens to files that an operator names | `src/children/files/` |
//! | how a step of a remedy is made and judged | `src/children/remedy/`; its system calls: `platform/src/linux/remedy/` |
//! | what is kept for the next start | `src/monitor/saved.rs`, `src/output/saved_state/`; its use: `src/monitor/restoring.rs` |
//! | an output | a folder in `src/output/`, started in `src/output/dispatcher.rs` |
//! | a drill and its results | `src/output/drill.rs`, `src/render/drill.rs` |
//! | a command | a file in `src/commands/`, its arguments in `src/cli/definition.rs` |
//! | a back-end of the mount table | `platform/src/linux/watch.rs`, `platform/src/bsd/watch.rs` |
//! | what a change of the mount table means | `src/monitor/table.rs`, `src/monitor/registry/` |
//! | how the program stays in memory, how children start | `platform/src/linux/residency.rs`, `platform/src/linux/launcher.rs` |
//! | how often the mount table is read | `src/daemon/table_reader.rs` |
//! | what is a sign of a hang between two runs | `platform/src/linux/signs/`, `src/children/signs/tracker.rs` |
//! | the evidence about a dead mount | `platform/src/linux/evidence/`; its words: `src/render/evidence.rs` |

#![forbid(unsafe_code)]

mod backoff;
pub mod children;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod monitor;
pub mod output;
pub mod render;
