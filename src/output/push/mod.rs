//! The push gateway as an exporter.

mod gateway;

pub use gateway::{PushSettings, parse_gateway};

use super::exporters::{ExportError, Exporter};
use super::http_client::CachedClient;
use super::lock;
use super::metrics::Renderer;
use crate::render::Snapshot;
use crate::render::metrics::CONTENT_TYPE;
use reqwest::{Method, Url};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The first pause after a failed push: the gateway may be restarting.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause: a gateway that works again gets metrics within a minute.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// Timeout of a push.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Timeout of deleting the group: it is deleted while the daemon stops, which may take at most a second.
const DELETE_TIMEOUT: Duration = Duration::from_millis(350);

pub(super) struct PushExporter {
    settings: PushSettings,
    client: CachedClient,
    renderer: Arc<Renderer>,
}

impl PushExporter {
    pub(super) fn new(settings: &PushSettings, renderer: &Arc<Renderer>) -> PushExporter {
        let client = CachedClient::new(settings.access.clone());
        PushExporter { settings: settings.clone(), client, renderer: Arc::clone(renderer) }
    }

    /// The URL of the group, which depends on the machine's name; that may change.
    fn group(&self) -> Result<Url, String> {
        let instance = hostname::get().map_err(|error| format!("this machine has no name: {error}"))?;
        Ok(gateway::group_url(&self.settings.gateway, &instance))
    }

    async fn send(
        &self,
        method: Method,
        body: Option<(&str, Vec<u8>)>,
        timeout: Duration,
    ) -> Result<(), String> {
        self.client.send(method, self.group()?, body, timeout).await.map_err(|error| error.text)
    }
}

impl Exporter for PushExporter {
    const NAME: &'static str = "push";
    /// Together with the delay of snapshots, a hang reaches the gateway within a second, and frequent changes do not flood
    /// it.
    const MIN_INTERVAL: Duration = Duration::from_millis(500);
    const RETRY_PAUSES: Option<(Duration, Duration)> = Some((FIRST_RETRY, MAX_RETRY));

    async fn export(&mut self, snapshot: &Snapshot) -> Result<(), ExportError> {
        let body = (CONTENT_TYPE, self.renderer.render_for_push(snapshot));
        let result = self.send(Method::PUT, Some(body), PUSH_TIMEOUT).await; // replaces everything in the group
        if let Some(counters) = self.renderer.push_counters() {
            let mut stats = lock(counters);
            match result {
                Ok(()) => stats.last_success = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
                Err(_) => stats.failures += 1,
            }
        }
        let describe = |error| format!("Cannot push metrics to {}: {error}", self.settings.gateway);
        result.map_err(|error| ExportError::Failed(describe(error)))
    }

    async fn close(&mut self) -> Option<String> {
        if !self.settings.delete_on_exit {
            return None;
        }
        let error = self.send(Method::DELETE, None, DELETE_TIMEOUT).await.err()?;
        Some(format!("Cannot delete what was pushed to {}: {error}", self.settings.gateway))
    }

    fn recovery_line(&self) -> String {
        format!("Metrics are pushed to {} again", self.settings.gateway)
    }
}
