//! Validated settings of `[alertmanager]`. Errors lack a location in the file; the caller adds it.

use crate::output::http_client::{Access, Address};
use std::collections::BTreeMap;
use std::time::Duration;

/// The name by which rules route to Alertmanager; hooks cannot have it.
pub const ALERTMANAGER: &str = "alertmanager";
/// The default interval at which a firing alert is sent again; the same as in Prometheus.
const DEFAULT_REFRESH: Duration = Duration::from_secs(60);
/// Shorter refreshes would flood Alertmanager.
const MIN_REFRESH: Duration = Duration::from_secs(1);
/// With longer refreshes the alerts of a daemon that died would stay for hours.
const MAX_REFRESH: Duration = Duration::from_secs(3600);
/// More labels, or longer ones, are a mistake.
const MAX_LABELS: usize = 64;
const MAX_LABEL_VALUE: usize = 1024;
/// Labels that distinguish the alerts of one machine; the daemon sets them.
const RESERVED_LABELS: [&str; 5] = ["alertname", "device", "fstype", "mountpoint", "severity"];

/// An Alertmanager, and what is added to the alerts for it.
#[derive(Clone, PartialEq, Debug)]
pub struct AlertmanagerSettings {
    /// The base URL, such as `http://localhost:9093`.
    pub url: Address,
    pub access: Access,
    /// Labels added to each alert. They may replace `instance` and `job`.
    pub labels: BTreeMap<String, String>,
    /// How often a firing alert is sent again.
    pub refresh: Duration,
}

impl AlertmanagerSettings {
    /// Checks the settings; `refresh` defaults to one minute.
    pub fn new(
        url: &str,
        access: Access,
        labels: BTreeMap<String, String>,
        refresh: Option<Duration>,
    ) -> Result<AlertmanagerSettings, String> {
        let url: Address = url.parse().map_err(|error| format!("invalid url: {error}"))?;
        if url.has_query() {
            return Err("the url is the base of an Alertmanager and cannot have a query".to_owned());
        }
        if labels.len() > MAX_LABELS {
            return Err(format!("{} labels exceed the limit of {MAX_LABELS}", labels.len()));
        }
        for (name, value) in &labels {
            check_label(name, value)?;
        }
        let refresh = refresh.unwrap_or(DEFAULT_REFRESH);
        if !(MIN_REFRESH..=MAX_REFRESH).contains(&refresh) {
            let (min, max) = (MIN_REFRESH.as_secs(), MAX_REFRESH.as_secs());
            return Err(format!("refresh must be from {min}s to {max}s"));
        }
        Ok(AlertmanagerSettings { url, access, labels, refresh })
    }
}

fn check_label(name: &str, value: &str) -> Result<(), String> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!(
            "{name:?} is not a valid label name: use letters, digits and underscores, not starting with a digit"
        ));
    }
    if RESERVED_LABELS.contains(&name) {
        return Err(format!("the label {name} is set by the daemon"));
    }
    if value.len() > MAX_LABEL_VALUE {
        return Err(format!("the label {name} is longer than {MAX_LABEL_VALUE} bytes"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_settings_are_refused() {
        let new = |url: &str, label: &str, value: &str, refresh| {
            let labels = BTreeMap::from([(label.to_owned(), value.to_owned())]);
            AlertmanagerSettings::new(url, Access::default(), labels, refresh)
        };
        assert_eq!(new("localhost:9093", "team", "storage", None).unwrap().refresh, DEFAULT_REFRESH);
        assert!(new("localhost:9093", "instance", "me", None).is_ok());
        for (url, label, refresh, error) in [
            ("http://a:b@h", "x", None, "password"),
            ("http://h/?x", "x", None, "cannot have a query"),
            ("h", "1x", None, "not starting with a digit"),
            ("h", "a-b", None, "not a valid label name"),
            ("h", "mountpoint", None, "set by the daemon"),
            ("h", "x", Some(Duration::from_millis(10)), "from 1s to 3600s"),
        ] {
            let refused = new(url, label, "v", refresh).unwrap_err();
            assert!(refused.contains(error), "{refused}");
        }
        assert!(new("h", "x", &"v".repeat(2000), None).unwrap_err().contains("longer than"));
    }
}
