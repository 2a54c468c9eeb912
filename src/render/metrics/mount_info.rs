//! The labels of `mountstatus_mount_info`: what alerts and dashboards join to the series of a mount.

use super::encode::push_more_label;
use crate::monitor::{MountStatus, host_end, server_name};
use crate::render::escape::escape;
use platform::{FsKind, Mount};
use std::os::unix::ffi::OsStrExt as _;

/// Not `severity`: alerts have that label.
pub(super) const LABELS: &[&str] =
    &["device", "fstype", "mount_severity", "mountpoint", "pod_uid", "server", "volume"];

pub(super) fn push_labels(status: &MountStatus, text: &mut Vec<u8>) {
    let mount = &*status.mount;
    push_more_label("mount_severity", status.settings.severity.as_str(), text);
    if let Some((pod, volume)) = pod_volume(mount.mountpoint.as_os_str().as_bytes()) {
        push_more_label("pod_uid", &escape(pod), text);
        push_more_label("volume", &escape(volume), text);
    }
    if let Some(server) = server(mount) {
        push_more_label("server", &escape(server), text);
    }
}

/// The server of a kernel's network file system, or of a FUSE mount of root: the device of any other FUSE mount is what
/// its user says.
pub(crate) fn server(mount: &Mount) -> Option<&[u8]> {
    let device = mount.device.as_bytes();
    match (mount.kind(), mount.fstype.as_bytes()) {
        (FsKind::Fuse, _) if !mount.user().is_foreign() => {
            let host = &device[..host_end(device)?];
            host.rsplit(|&byte| byte == b'@').next()
        }
        (FsKind::Fuse, _) => None,
        (_, b"ceph") => {
            let options = mount.super_options.as_bytes().split(|&byte| byte == b',');
            let mut monitors = options.filter_map(|option| option.strip_prefix(b"mon_addr="));
            monitors.next()?.split(|&byte| byte == b'/').next()
        }
        // `MGSNID[:MGSNID]:/FILESYSTEM`
        (_, b"lustre") => device[..host_end(device)?].split(|&byte| byte == b':').next(),
        _ => server_name(mount),
    }
    .filter(|name| !name.is_empty())
}

/// The pod and the volume of a path of the kubelet: `…/kubelet/pods/UID/volumes/PLUGIN/VOLUME[/mount]` or
/// `…/kubelet/pods/UID/volume-subpaths/VOLUME/CONTAINER/NUMBER`.
fn pod_volume(path: &[u8]) -> Option<(&[u8], &[u8])> {
    const PODS: &[u8] = b"/kubelet/pods/";
    let is_start = |&at: &usize| path[at] == b'/' && path[at..].starts_with(PODS);
    let start = (0..path.len()).find(is_start)? + PODS.len();
    let mut parts = path[start..].split(|&byte| byte == b'/');
    let pod = parts.next()?;
    let volume = match parts.next()? {
        b"volumes" => parts.nth(1)?,
        b"volume-subpaths" => parts.next()?,
        _ => return None,
    };
    (!pod.is_empty() && !volume.is_empty()).then_some((pod, volume))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;

    fn server_of(fstype: &str, device: &str, options: &str) -> Option<String> {
        let mut mount = mount(1, "/m");
        (mount.fstype, mount.device) = (fstype.into(), device.into());
        mount.super_options = options.into();
        server(&mount).map(|name| String::from_utf8(name.to_vec()).unwrap())
    }

    #[test]
    fn servers_of_mounts() {
        for (fstype, device, options, name) in [
            ("nfs4", "nas1:/export", "rw", Some("nas1")),
            ("cifs", "//files/share", "rw", Some("files")),
            (
                "ceph",
                "admin@0-0.data=/",
                "rw,mon_addr=10.0.0.1:6789/10.0.0.2:6789,acl",
                Some("10.0.0.1:6789"),
            ),
            ("ceph", "admin@0-0.data=/", "rw", None),
            ("lustre", "10.0.0.1@tcp:10.0.0.2@tcp:/scratch", "rw", Some("10.0.0.1@tcp")),
            ("fuse.sshfs", "backup@host:/dir", "rw,user_id=0,group_id=0", Some("host")),
            ("fuse.sshfs", "nas1:/dir", "rw,user_id=1000,group_id=1000", None),
            ("fuse", "files", "rw,user_id=0,group_id=0", None),
            ("ext4", "/dev/sda1", "rw", None),
        ] {
            assert_eq!(server_of(fstype, device, options).as_deref(), name, "{fstype} {device}");
        }
    }

    #[test]
    fn volumes_of_pods() {
        let uid = "0d9c1fb2-54b2-4d5e-9a3f-1f6f2b0b7a11";
        for (path, volume) in [
            (format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~nfs/data"), Some("data")),
            (format!("/var/lib/k0s/kubelet/pods/{uid}/volumes/kubernetes.io~csi/pvc-1/mount"), Some("pvc-1")),
            (format!("/var/lib/kubelet/pods/{uid}/volume-subpaths/data/app/0"), Some("data")),
            (format!("/var/lib/kubelet/pods/{uid}/etc-hosts"), None),
            (format!("/var/lib/kubelet/pods/{uid}/volumes/x"), None),
            ("/srv/pods/a/volumes/b/c".to_owned(), None),
        ] {
            let expected = volume.map(|volume| (uid.as_bytes(), volume.as_bytes()));
            assert_eq!(pod_volume(path.as_bytes()), expected, "{path}");
        }
    }
}
