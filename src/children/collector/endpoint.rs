//! The server of a network mount, from the options that the kernel shows.

use platform::Mount;
use platform::evidence::{Family, Service};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt as _;

/// The default port. Clients of NFS 3 query the server's port mapper, which normally returns the same port.
const NFS_PORT: u16 = 2049;
const SMB_PORT: u16 = 445;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) struct ServerEndpoint {
    pub(super) service: Service,
    pub(super) address: SocketAddr,
    pub(super) is_udp: bool,
}

/// The endpoint that the mount's options name. RDMA cannot be reached by a socket.
pub(super) fn endpoint_of(mount: &Mount) -> Option<ServerEndpoint> {
    let option = |name| mount.super_option(name).and_then(OsStr::to_str);
    let (service, default_port, host) = match Family::from_fstype(mount.fstype.as_bytes()) {
        Family::Nfs => (Service::Nfs(nfs_version(mount)), NFS_PORT, option("addr")),
        Family::Smb => (Service::Smb, SMB_PORT, option("addr").or_else(|| option("ip"))),
        Family::Fuse | Family::Other => return None,
    };
    let proto = option("proto").unwrap_or("tcp");
    if proto.starts_with("rdma") {
        return None;
    }
    // The interface behind the `%` of a link-local address is left to the kernel's routes.
    let ip: IpAddr = host?.split('%').next()?.parse().ok()?;
    let port = option("port").and_then(|port| port.parse().ok()).filter(|&port| port != 0);
    let address = SocketAddr::new(ip, port.unwrap_or(default_port));
    Some(ServerEndpoint { service, address, is_udp: proto.starts_with("udp") })
}

fn nfs_version(mount: &Mount) -> u32 {
    let option = mount.super_option("vers").and_then(OsStr::to_str);
    let major = option.and_then(|text| text.split('.').next()?.parse().ok());
    major.unwrap_or(if mount.fstype == "nfs4" { 4 } else { 3 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::testing::mount;

    fn endpoint(fstype: &str, options: &str) -> Option<(Service, String, bool)> {
        let mut mount = mount(1, "/m");
        (mount.fstype, mount.super_options) = (fstype.into(), options.into());
        endpoint_of(&mount).map(|found| (found.service, found.address.to_string(), found.is_udp))
    }

    #[test]
    fn endpoint_is_read_from_the_options() {
        let expect = |service, address: &str, is_udp| Some((service, address.to_owned(), is_udp));
        let nfs = "rw,vers=4.2,rsize=1048576,proto=tcp,clientaddr=10.0.0.9,addr=10.0.0.5";
        assert_eq!(endpoint("nfs4", nfs), expect(Service::Nfs(4), "10.0.0.5:2049", false));
        let nfs = "rw,vers=3,proto=udp6,mountaddr=10.0.0.6,mountport=1,port=2050,addr=fd00::5";
        assert_eq!(endpoint("nfs", nfs), expect(Service::Nfs(3), "[fd00::5]:2050", true));
        assert_eq!(
            endpoint("nfs", "rw,addr=fe80::1%eth0,port=0"),
            expect(Service::Nfs(3), "[fe80::1]:2049", false)
        );
        assert_eq!(
            endpoint("cifs", "rw,vers=3.1.1,addr=10.0.0.7"),
            expect(Service::Smb, "10.0.0.7:445", false)
        );
        for (fstype, options) in [
            ("nfs4", "rw,proto=rdma,addr=10.0.0.5"),
            ("nfs4", "rw"),
            ("nfs4", "rw,addr=server"),
            ("fuse.sshfs", "rw,addr=10.0.0.5"),
            ("ext4", "rw"),
        ] {
            assert_eq!(endpoint(fstype, options), None, "{fstype} {options}");
        }
    }
}
