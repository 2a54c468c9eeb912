//! Prometheus metrics: every family is defined once in [`FAMILIES`]; [`MetricsText`] makes the text from a snapshot and
//! [`MetricInputs`].

mod encode;
mod families;
mod inputs;
mod mount_info;
mod number;

pub use encode::{CONTENT_TYPE, MetricsText, render};
pub use families::{FAMILIES, Family, Kind};
pub use inputs::{AlertmanagerStats, HookStats, MetricInputs, PushStats};
pub(crate) use mount_info::server;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source revision; the build sets `MSM_REVISION`.
pub const REVISION: &str = match option_env!("MSM_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

#[cfg(test)]
mod tests;
