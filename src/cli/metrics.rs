//! The flags of the push gateway and of the text file.

use crate::config::resolve;
use crate::output::exporters::MetricsSettings;
use crate::output::http_client::{Access, Credentials};
use crate::output::push::{Gateway, PushSettings};
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(next_help_heading = "Metrics")]
pub(super) struct MetricsArgs {
    /// Push metrics to this gateway (host:port or a URL) after each run and when a mount dies or recovers; with
    /// --once-only before it exits
    #[arg(long, value_name = "URL")]
    prometheus_push_gateway: Option<Gateway>,
    /// Delete what was pushed when the daemon is stopped
    #[arg(long, requires = "prometheus_push_gateway", conflicts_with = "once_only")]
    push_delete_on_exit: bool,
    /// A file with USER:PASSWORD for the push gateway, read before each push
    #[arg(
        long,
        value_name = "FILE",
        requires = "prometheus_push_gateway",
        conflicts_with = "push_token_file"
    )]
    push_user_file: Option<PathBuf>,
    /// A file with a bearer token for the push gateway, read before each push
    #[arg(long, value_name = "FILE", requires = "prometheus_push_gateway")]
    push_token_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file, and not those of the system, for the push gateway
    #[arg(long, value_name = "FILE", requires = "prometheus_push_gateway")]
    push_ca_file: Option<PathBuf>,
    /// Write metrics to this file for node_exporter's textfile collector (a name that ends in .prom); not on a mount
    /// that is watched because it may hang
    #[arg(long, value_name = "PATH")]
    textfile: Option<PathBuf>,
}

impl MetricsArgs {
    /// Relative paths start from `here`.
    pub(super) fn settings(self, here: &Path) -> MetricsSettings {
        let from_here = |path: PathBuf| here.join(path);
        let credentials = match (self.push_user_file, self.push_token_file) {
            (Some(path), _) => Credentials::User(from_here(path)),
            (None, Some(path)) => Credentials::Token(from_here(path)),
            (None, None) => Credentials::None,
        };
        let push = self.prometheus_push_gateway.map(|gateway| PushSettings {
            gateway,
            delete_on_exit: self.push_delete_on_exit,
            access: Access { credentials, ca_file: self.push_ca_file.map(from_here) },
        });
        let textfile = self.textfile.map(|path: PathBuf| resolve(here, &path));
        MetricsSettings { push, textfile }
    }
}
