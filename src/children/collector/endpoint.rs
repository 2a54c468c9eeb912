//! Where the server of a network mount is, by the options that the kernel shows.

use platform::Mount;
use platform::evidence::{Family, Service};
use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;

/// The port of NFS where none is named; a client of version 3 asks the server for it, and hears this one.
const NFS_PORT: u16 = 2049;
const SMB_PORT: u16 = 445;

/// A server that can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) service: Service,
    pub(super) address: SocketAddr,
    pub(super) is_udp: bool,
}

/// The server of this mount, if its options tell. What speaks RDMA cannot be asked by a socket.
pub(super) fn of(mount: &Mount) -> Option<Place> {
    let option = |name| mount.super_option(name).and_then(OsStr::to_str);
    let family = Family::from_fstype(mount.fstype.as_bytes());
    let (service, usual, named) = match family {
        Family::Nfs => (Service::Nfs(version(mount)), NFS_PORT, option("addr")),
        Family::Smb => (Service::Smb, SMB_PORT, option("addr").or_else(|| option("ip"))),
        Family::Fuse | Family::Other => return None,
    };
    let proto = option("proto").unwrap_or("tcp");
    if proto.starts_with("rdma") {
        return None;
    }
    // An address of a link has its interface behind a `%`; which one it is, the kernel finds by its routes, or not.
    let ip: IpAddr = named?.split('%').next()?.parse().ok()?;
    let port = option("port").and_then(|port| port.parse().ok()).filter(|&port| port != 0).unwrap_or(usual);
    Some(Place { service, address: SocketAddr::new(ip, port), is_udp: proto.starts_with("udp") })
}

/// The server's name as the mount has it: what the kernel log calls it.
pub(super) fn name(mount: &Mount) -> Option<&[u8]> {
    crate::monitor::server_name(mount)
}

fn version(mount: &Mount) -> u32 {
    let shown = mount.super_option("vers").and_then(OsStr::to_str);
    let major = shown.and_then(|text| text.split('.').next()?.parse().ok());
    major.unwrap_or(if mount.fstype == "nfs4" { 4 } else { 3 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;

    fn place(fstype: &str, options: &str) -> Option<(Service, String, bool)> {
        let mut mount = mount(1, "/m");
        (mount.fstype, mount.super_options) = (fstype.into(), options.into());
        of(&mount).map(|place| (place.service, place.address.to_string(), place.is_udp))
    }

    #[test]
    fn options_tell_where_a_server_is() {
        let expect = |service, address: &str, is_udp| Some((service, address.to_owned(), is_udp));
        let nfs = "rw,vers=4.2,rsize=1048576,proto=tcp,clientaddr=10.0.0.9,addr=10.0.0.5";
        assert_eq!(place("nfs4", nfs), expect(Service::Nfs(4), "10.0.0.5:2049", false));
        let nfs = "rw,vers=3,proto=udp6,mountaddr=10.0.0.6,mountport=1,port=2050,addr=fd00::5";
        assert_eq!(place("nfs", nfs), expect(Service::Nfs(3), "[fd00::5]:2050", true));
        assert_eq!(
            place("nfs", "rw,addr=fe80::1%eth0,port=0"),
            expect(Service::Nfs(3), "[fe80::1]:2049", false)
        );
        assert_eq!(place("cifs", "rw,vers=3.1.1,addr=10.0.0.7"), expect(Service::Smb, "10.0.0.7:445", false));
        for (fstype, options) in [
            ("nfs4", "rw,proto=rdma,addr=10.0.0.5"),
            ("nfs4", "rw"),
            ("nfs4", "rw,addr=server"),
            ("fuse.sshfs", "rw,addr=10.0.0.5"),
            ("ext4", "rw"),
        ] {
            assert_eq!(place(fstype, options), None, "{fstype} {options}");
        }
    }
}
