//! The `[Mount]` section of a unit of systemd, for a mount at another place than its own.

use std::collections::BTreeMap;

/// What the unit mounts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct UnitSettings {
    pub(super) what: String,
    pub(super) fstype: Option<String>,
    pub(super) options: Option<String>,
}

impl UnitSettings {
    /// From the output of `systemctl cat`: the files of the unit, of which the last setting counts. `None` if it does not
    /// say what is mounted, or in words that only systemd can resolve.
    pub(super) fn parse(text: &str) -> Option<UnitSettings> {
        let mut in_section = false;
        let mut found: BTreeMap<&str, &str> = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                in_section = line == "[Mount]";
            } else if in_section
                && !line.starts_with(['#', ';'])
                && let Some((key, value)) = line.split_once('=')
            {
                found.insert(key.trim_end(), value.trim_start());
            }
        }
        let value = |key| match found.get(key) {
            None | Some(&"") => Some(None),
            Some(value) if value.ends_with('\\') => None, // it goes on in the next line
            Some(value) => resolve(value).map(Some),
        };
        Some(UnitSettings { what: value("What")??, fstype: value("Type")?, options: value("Options")? })
    }
}

/// `%%` is a percent sign; the other specifiers are not known here.
fn resolve(value: &str) -> Option<String> {
    let resolved = value.replace("%%", "\0");
    (!resolved.contains('%')).then(|| resolved.replace('\0', "%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_setting_of_the_mount_section_counts() {
        let text = "# /etc/systemd/system/data.mount\n[Unit]\nWhat=no\n\n[Mount]\nWhat=nas:/data\n#Type=ext4\n\
                    Where=/data\nType = nfs4\nOptions=ro\n\n# /etc/systemd/system/data.mount.d/a.conf\n[Mount]\n\
                    Options=rw,a=5%%\n[Install]\nWhat=no\n";
        let settings = UnitSettings::parse(text).unwrap();
        assert_eq!((settings.what.as_str(), settings.fstype.as_deref()), ("nas:/data", Some("nfs4")));
        assert_eq!(settings.options.as_deref(), Some("rw,a=5%"));
    }

    #[test]
    fn unit_that_only_systemd_understands_is_refused() {
        for text in
            ["", "[Unit]\nWhat=a\n", "[Mount]\nWhat=\n", "[Mount]\nWhat=nas:/%i\n", "[Mount]\nWhat=a\\\n b\n"]
        {
            assert_eq!(UnitSettings::parse(text), None, "{text:?}");
        }
        let settings = UnitSettings::parse("[Mount]\nWhat=a\nType=nfs\nType=\n").unwrap();
        assert_eq!(settings, UnitSettings { what: "a".into(), fstype: None, options: None });
    }
}
