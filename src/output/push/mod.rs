//! The push gateway as an exporter.

mod gateway;

pub use gateway::{Gateway, PushSettings};

use super::exporters::{ExportError, Exporter};
use super::http_client::CachedClient;
use super::metrics::Renderer;
use crate::render::Snapshot;
use crate::render::metrics::{CONTENT_TYPE, PushStats};
use reqwest::{Method, Url};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// The first pause after a failed push: the gateway may be restarting.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause: a gateway that returns is found within a minute.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// A push that is not done by then is given up.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// The group is deleted while the daemon stops, which may take a second in all.
const DELETE_TIMEOUT: Duration = Duration::from_millis(350);

/// The statistics of one gateway, shared by its exporter and the renderer of metrics.
#[derive(Debug, Default)]
pub(super) struct PushCounters(Mutex<PushStats>);

impl PushCounters {
    pub(super) fn stats(&self) -> PushStats {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, PushStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        Ok(self.settings.gateway.group(&instance))
    }

    /// Replaces everything in the group.
    async fn push(&self, snapshot: &Snapshot) -> Result<(), String> {
        let body = (CONTENT_TYPE, self.renderer.render_for_push(snapshot));
        let sent = self.client.send(Method::PUT, self.group()?, Some(body), PUSH_TIMEOUT).await;
        sent.map_err(|error| error.text)
    }

    async fn delete(&self) -> Result<(), String> {
        let sent = self.client.send(Method::DELETE, self.group()?, None, DELETE_TIMEOUT).await;
        sent.map_err(|error| error.text)
    }
}

impl Exporter for PushExporter {
    const NAME: &'static str = "push";
    /// With the delay of snapshots, a hang is in the gateway within a second; mounts that change do not flood it.
    const MIN_INTERVAL: Duration = Duration::from_millis(500);
    const RETRY_PAUSES: Option<(Duration, Duration)> = Some((FIRST_RETRY, MAX_RETRY));

    async fn export(&mut self, snapshot: &Snapshot) -> Result<(), ExportError> {
        let result = self.push(snapshot).await;
        if let Some(counters) = self.renderer.push_counters() {
            let mut stats = counters.lock();
            match result {
                Ok(()) => stats.last_success = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
                Err(_) => stats.failures += 1,
            }
        }
        result.map_err(ExportError::Failed)
    }

    async fn close(&mut self) -> Option<String> {
        if !self.settings.delete_on_exit {
            return None;
        }
        let error = self.delete().await.err()?;
        Some(format!("Cannot delete what was pushed to {}: {error}", self.settings.gateway))
    }

    fn failure_line(&self, error: &ExportError) -> String {
        let (ExportError::Failed(error) | ExportError::Refused(error)) = error;
        format!("Cannot push metrics to {}: {error}", self.settings.gateway)
    }

    fn recovery_line(&self) -> String {
        format!("Metrics are pushed to {} again", self.settings.gateway)
    }
}
