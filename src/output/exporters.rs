//! The ways out of metrics that have threads: started when they are configured, and only then.

use super::push::{self, PushCounters, Pusher};
use super::textfile::{self, TextFile};
use crate::output::SharedState;
use crate::output::Sink;
use crate::output::metrics::{MetricSources, Renderer};
use crate::render::Priority;
use crate::render::Snapshot;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Tells people something about an outlet; called by its thread.
pub type LogFn = Arc<dyn Fn(Priority, &str) + Send + Sync>;

/// Which ways out there are.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MetricsSettings {
    /// A push gateway.
    pub push: Option<push::PushSettings>,
    /// A file for node_exporter: an absolute path.
    pub textfile: Option<PathBuf>,
}

impl MetricsSettings {
    /// Does nobody want anything?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.push.is_none() && self.textfile.is_none()
    }

    /// What is shown besides snapshots, with these sinks.
    #[must_use]
    pub fn extras<'a>(&self, sinks: impl Iterator<Item = &'a Sink>) -> MetricSources {
        let push = self.push.as_ref().map(|_| Arc::new(PushCounters::default()));
        MetricSources { sinks: sinks.cloned().collect(), push, ..MetricSources::default() }
    }
}

/// The running outlets.
#[derive(Debug, Default)]
pub struct Exporters {
    pusher: Option<Pusher>,
    textfile: Option<TextFile>,
}

impl Exporters {
    /// Starts a thread for each outlet that is configured.
    ///
    /// # Errors
    /// Only if the machine has no thread for them: gateways and files that do not answer are told and tried again.
    pub fn start(
        settings: &MetricsSettings,
        renderer: &Arc<Renderer>,
        live: &SharedState,
        tell: &LogFn,
    ) -> io::Result<Exporters> {
        let pusher =
            settings.push.as_ref().map(|push| Pusher::start(push, renderer, live, tell)).transpose()?;
        let file = settings.textfile.as_ref();
        let textfile = file.map(|path| TextFile::start(path, renderer, live, tell)).transpose()?;
        Ok(Exporters { pusher, textfile })
    }

    /// Have all its threads ended?
    #[must_use]
    pub fn are_over(&self) -> bool {
        self.pusher.as_ref().is_none_or(Pusher::is_over)
            && self.textfile.as_ref().is_none_or(TextFile::is_over)
    }

    /// At a clean stop: gives up a push that is under way, takes the group back if that is wanted, and lets a file be
    /// written to its end; all within `patience`.
    pub fn stop(&self, patience: Duration) {
        let end = Instant::now() + patience;
        if let Some(textfile) = &self.textfile {
            textfile.finish();
        }
        if let Some(pusher) = &self.pusher {
            pusher.close(patience);
        }
        if let Some(textfile) = &self.textfile {
            textfile.close(end.saturating_duration_since(Instant::now()));
        }
    }

    /// For one run: sends one snapshot to each outlet that is configured, all together within `patience`.
    pub fn send_once(
        settings: &MetricsSettings,
        renderer: &Arc<Renderer>,
        snapshot: &Arc<Snapshot>,
        patience: Duration,
        tell: &LogFn,
    ) {
        let push = settings.push.as_ref().map(|push| push::send_once(push, renderer, snapshot));
        let file = settings.textfile.as_ref().map(|path| textfile::write_once(path, renderer, snapshot));
        let end = Instant::now() + patience;
        for (what, sent) in push
            .map(|sent| ("push metrics", sent))
            .into_iter()
            .chain(file.map(|sent| ("write metrics", sent)))
        {
            let left = end.saturating_duration_since(Instant::now());
            let done = match sent {
                Ok(sent) => sent.recv_timeout(left).unwrap_or_else(|_| Err("no answer in time".to_owned())),
                Err(error) => Err(format!("cannot start a thread: {error}")),
            };
            if let Err(error) = done {
                tell(Priority::Warning, &format!("Cannot {what}: {error}"));
            }
        }
    }
}
