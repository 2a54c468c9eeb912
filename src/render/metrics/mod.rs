//! What Prometheus reads: families defined once ([`FAMILIES`]), and the text made from a snapshot ([`Renderer`]).

mod families;
mod inputs;
mod render;

pub use families::{FAMILIES, Family, Kind};
pub use render::{CONTENT_TYPE, MetricSources, Renderer};

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision that the program was built from; the build sets `MSM_REVISION`.
pub const REVISION: &str = match option_env!("MSM_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

#[cfg(test)]
mod tests;
