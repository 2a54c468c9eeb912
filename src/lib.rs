//! The map of `mount_status_monitor`.
//!
//! ```text
//!  kernel: mountinfo POLLPRI                                prober process: statx + statfs in a thread
//!         | readable                                               | one small reply, or its exit
//!         v                                                        v
//!  platform::MountWatch -> platform::MountTable             probe::Pool
//!         | Input::MountTable                                      | Input::ProbeAnswered{probe, answer}
//!         +---------------->  daemon: monitor.handle(now, input) <-+        (now: read once per turn)
//!                                    |
//!                        monitor::Monitor   (pure)
//!                                    | actions                     | status()
//!           +------------+-----------+-----------+                 v
//!      StartProbe   ConfirmHang   CondemnProbe   Report      tables, JSON, plugin line
//!           probe::Pool                      report sinks, hooks   |
//!                                                    |             |
//!                                                    +-> live::Live <
//!                                                          | the latest snapshot, the last events
//!                                                          v
//!                                                    http: a thread of its own
//! ```
//!
//! **The promise**: storage may hang in ways that nothing can interrupt; the monitor may not. So this process makes
//! no call that can touch a watched file system and waits for no sink; what may hang lives in the prober and in the
//! collector of evidence, children that can be left behind.
//!
//! # Reading order
//! 1. [`monitor`]: what is decided, and when. Pure: time is an argument, decisions are data.
//! 2. [`daemon`]: the one loop, the only reader of the clock, which carries the decisions out and tells the service
//!    manager that it turns.
//! 3. [`probe`]: the prober (the child) and the pool of probers (in the daemon).
//! 4. [`evidence`]: why a mount is dead: the collector (another child) and the desk in the daemon where it is asked for.
//! 5. [`report`]: every sentence that an operator sees, and the sinks.
//! 6. [`live`], [`metrics`] and [`http`]: the latest snapshot, what Prometheus gets of it, and the server of all.
//! 7. [`hooks`] and [`remote`]: commands, requests and Alertmanager, told what happens by a thread of their own.
//! 8. [`config`] and [`cli`]: how an operator says what he wants.
//! 9. `platform` (its own crate): the operating system, the only home of `unsafe`, libc and `cfg(target_os)`.
//!
//! # Layers
//! `platform` knows nothing of the rest. `monitor` uses plain data of `platform` and nothing else of this crate.
//! `probe`, `evidence` and `report` know `monitor`'s data; `remote` knows servers alone, and `hooks` what they are told;
//! `daemon` knows them all and shows itself through `live`, which is all that `http` sees of it; nobody but `main`,
//! `commands` and `cli` knows the command line. `tests/layering.rs` holds the tree against this.

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
