//! What systemd says of units, and what a control group tells of its unit.

use crate::monitor::remedy::Unit;

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(super) struct UnitState {
    pub(super) name: String,
    /// Or about to be, or not completely stopped.
    pub(super) is_active: bool,
    pub(super) has_job: bool,
    pub(super) main_pid: Option<u32>,
    /// Units with `BindsTo=` this one.
    pub(super) bound_by: Vec<String>,
}

impl UnitState {
    pub(super) fn into_unit(self) -> Unit {
        Unit { name: self.name, is_active: self.is_active }
    }
}

/// The paragraphs of `systemctl show`, in the order of the units that were asked for.
pub(super) fn states(text: &[u8]) -> Vec<UnitState> {
    let text = String::from_utf8_lossy(text);
    text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()).map(state).collect()
}

fn state(paragraph: &str) -> UnitState {
    let mut state = UnitState::default();
    for (name, value) in paragraph.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "Id" => state.name = value.to_owned(),
            "ActiveState" => state.is_active = !matches!(value, "inactive" | "failed"),
            "Job" => state.has_job = !matches!(value, "" | "0"),
            "MainPID" => state.main_pid = value.parse().ok().filter(|&pid| pid != 0),
            "BoundBy" => state.bound_by = value.split_ascii_whitespace().map(str::to_owned).collect(),
            _ => {}
        }
    }
    state
}

/// The service of the system that a process with this `/proc/PID/cgroup` lives in. Those of users and of containers are
/// below a unit of the system.
pub(super) fn service_of(cgroup: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(cgroup).ok()?;
    text.lines().find_map(|line| {
        let (hierarchy, path) = line.split_once(':')?.1.split_once(':')?;
        if !matches!(hierarchy, "" | "name=systemd") {
            return None;
        }
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        let unit = parts.find(|part| !part.ends_with(".slice"))?;
        (unit.ends_with(".service") && !unit.starts_with("user@")).then(|| unit.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_units() {
        let text = b"Id=srv-data.mount\nActiveState=active\nBoundBy=a.service b\\x2dc.service\n\n\
            MainPID=77\nId=a.service\nActiveState=failed\nJob=12\nBoundBy=\n";
        let expected = [
            UnitState {
                name: "srv-data.mount".into(),
                is_active: true,
                bound_by: vec!["a.service".into(), "b\\x2dc.service".into()],
                ..UnitState::default()
            },
            UnitState { name: "a.service".into(), has_job: true, main_pid: Some(77), ..UnitState::default() },
        ];
        assert_eq!(states(text), expected);
        assert_eq!(states(b"ActiveState=deactivating\nMainPID=0\n")[0].main_pid, None);
        assert!(states(b"ActiveState=deactivating\n")[0].is_active);
        assert_eq!(states(b""), []);
    }

    #[test]
    fn service_is_the_unit_of_the_system() {
        for (cgroup, expected) in [
            ("0::/system.slice/data.service\n", Some("data.service")),
            ("0::/system.slice/system-sshfs.slice/sshfs@a.service/sub\n", Some("sshfs@a.service")),
            ("9:pids:/x.service\n1:name=systemd:/system.slice/data.service\n0::/\n", Some("data.service")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/sshfs.service\n", None),
            ("0::/user.slice/user-0.slice/session-3.scope\n", None),
            ("0::/system.slice/docker-1.scope/system.slice/data.service\n", None),
            ("0::/system.slice/srv-data.mount\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(service_of(cgroup.as_bytes()).as_deref(), expected, "{cgroup}");
        }
    }
}
