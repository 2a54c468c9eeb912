//! What Prometheus sees: families defined once ([`FAMILIES`]), text made of a snapshot ([`Renderer`]), and the two
//! ways out that need threads of their own: the push gateway and the text file of node_exporter ([`Outlets`]).
//! The third, HTTP, is not here.
//!
//! Nothing here is ever told by the monitor: whoever wants metrics reads the latest snapshot. The threads may wait for
//! storage and networks as long as they like, nobody waits for them.

mod facts;
mod families;
mod news;
mod outlets;
pub mod push;
mod render;
pub mod textfile;

pub use families::{FAMILIES, Family, Kind};
pub use outlets::{MetricsSettings, Outlets, Tell};
pub use render::{CONTENT_TYPE, Extras, Renderer};

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the program was built from: whoever builds it sets `MSM_REVISION`.
pub const REVISION: &str = match option_env!("MSM_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

#[cfg(test)]
mod tests;
