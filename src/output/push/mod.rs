//! The push gateway as an exporter.

mod gateway;

pub use gateway::{PushSettings, parse_gateway};

use super::exporters::{ExportError, Exporter};
use super::http_client::CachedClient;
use super::lock;
use super::metrics::Renderer;
use crate::render::Snapshot;
use crate::render::metrics::CONTENT_TYPE;
use futures_util::future::join;
use reqwest::{Method, Url};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The first pause after a failed push: the gateway may be restarting.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause: a gateway that works again gets metrics within a minute.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// Timeout of a push.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// What a drill pushes.
const DRILL_SERIES: &str = "\
# HELP mountstatus_drill A test of the push gateway.
# TYPE mountstatus_drill gauge
mountstatus_drill 1
";
/// Timeout of deleting the group: it is deleted while the daemon stops, which may take at most a second.
const DELETE_TIMEOUT: Duration = Duration::from_millis(350);

pub(super) struct PushExporter {
    settings: PushSettings,
    client: CachedClient,
    renderer: Arc<Renderer>,
    /// The group of a drill may still be in the gateway.
    has_drill_group: bool,
}

impl PushExporter {
    pub(super) fn new(settings: &PushSettings, renderer: &Arc<Renderer>) -> PushExporter {
        let client = CachedClient::new(settings.access.clone());
        let renderer = Arc::clone(renderer);
        PushExporter { settings: settings.clone(), client, renderer, has_drill_group: false }
    }

    /// The URL of the group, which depends on the machine's name; that may change.
    fn group(&self) -> Result<Url, String> {
        let instance = hostname::get().map_err(|error| format!("this machine has no name: {error}"))?;
        Ok(gateway::group_url(&self.settings.gateway, &instance))
    }

    async fn send(
        &self,
        method: Method,
        group: Result<Url, String>,
        body: Option<(&str, Vec<u8>)>,
        timeout: Duration,
    ) -> Result<(), String> {
        self.client.send(method, group?, body, timeout).await.map_err(|error| error.text)
    }

    /// Pushes one series to a group of its own, and deletes it, even if the push seems to have failed.
    async fn push_drill(&mut self, timeout: Duration) -> Result<(), String> {
        self.has_drill_group = true;
        let body = Some((CONTENT_TYPE, DRILL_SERIES.as_bytes().to_vec()));
        let group = || self.group().map(gateway::drill_url);
        let pushed = self.send(Method::PUT, group(), body, timeout / 2).await;
        let deleted = self.send(Method::DELETE, group(), None, timeout / 2).await;
        self.has_drill_group = pushed.is_err() || deleted.is_err(); // the gateway may execute a request later
        pushed?;
        deleted.map_err(|error| format!("pushed, but not deleted yet: {error}"))
    }

    /// Deletes what a drill has left.
    async fn delete_drill_group(&self, timeout: Duration) -> Result<(), String> {
        if !self.has_drill_group {
            return Ok(());
        }
        self.send(Method::DELETE, self.group().map(gateway::drill_url), None, timeout).await
    }
}

impl Exporter for PushExporter {
    const NAME: &'static str = "push";
    const OUTPUT: &'static str = "push_gateway";
    /// Together with the delay of snapshots, a hang reaches the gateway within a second, and frequent changes do not flood
    /// it.
    const MIN_INTERVAL: Duration = Duration::from_millis(500);
    const RETRY_PAUSES: Option<(Duration, Duration)> = Some((FIRST_RETRY, MAX_RETRY));

    async fn export(&mut self, snapshot: &Snapshot) -> Result<(), ExportError> {
        let body = (CONTENT_TYPE, self.renderer.render_for_push(snapshot));
        let result = self.send(Method::PUT, self.group(), Some(body), PUSH_TIMEOUT).await; // replaces everything in the group
        if let Some(counters) = self.renderer.push_counters() {
            let mut stats = lock(counters);
            match result {
                Ok(()) => stats.last_success = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
                Err(_) => stats.failures += 1,
            }
        }
        if result.is_ok() {
            self.has_drill_group = self.delete_drill_group(PUSH_TIMEOUT).await.is_err();
        }
        let describe = |error| format!("Cannot push metrics to {}: {error}", self.settings.gateway);
        result.map_err(|error| ExportError::Failed(describe(error)))
    }

    async fn close(&mut self) -> Option<String> {
        let delete = async {
            match self.settings.delete_on_exit {
                true => self.send(Method::DELETE, self.group(), None, DELETE_TIMEOUT).await,
                false => Ok(()),
            }
        };
        let (deleted, of_drill) = join(delete, self.delete_drill_group(DELETE_TIMEOUT)).await;
        let error = deleted.and(of_drill).err()?;
        Some(format!("Cannot delete what was pushed to {}: {error}", self.settings.gateway))
    }

    async fn drill(&mut self, _: &Snapshot, timeout: Duration) -> Result<(), ExportError> {
        self.push_drill(timeout.min(PUSH_TIMEOUT)).await.map_err(ExportError::Failed)
    }

    fn target(&self) -> String {
        self.settings.gateway.origin()
    }

    fn recovery_line(&self) -> String {
        format!("Metrics are pushed to {} again", self.settings.gateway)
    }
}
