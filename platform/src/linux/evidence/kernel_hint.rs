//! What a line of the kernel log says about storage.

use crate::evidence::{KernelHint, ServerStatusHint, StalledStorage};

/// What precedes the name of the server: in `call_timeout()` and `call_decode()` of `net/sunrpc/clnt.c` the name of the
/// program, in `cifs_server_dbg()` of `fs/smb/client/cifs_debug.h` the module. Nothing may precede it.
const RPC_PREFIXES: [&[u8]; 2] = [b"nfs: server ", b"lockd: server "];
const SMB_PREFIXES: [&[u8]; 2] = [br"CIFS: VFS: \\", br"CIFS VFS: \\"];
/// `con_fault()` of `net/ceph/messenger.c` and `reopen_session()` of `mon_client.c`, after the server and its address.
const CEPH_CONNECTION: [&[u8]; 4] = [
    b"session lost, hunting for new mon",
    b"socket closed (con state ",
    b"socket error on ",
    b"connect error",
];
/// `fs/ceph/mds_client.c`, after the server.
const CEPH_SESSION: [&[u8]; 6] = [
    b"hung",
    b"caps stale",
    b"caps still stale",
    b"closed our session",
    b"session blocklisted",
    b"reconnect denied",
];
const CEPH_SERVERS: [&[u8]; 3] = [b"mon", b"osd", b"mds"];

pub(super) fn parse(text: &[u8]) -> Option<KernelHint> {
    let stalled = |is_stalled, storage| Some(KernelHint::Stall(storage)).filter(|_| is_stalled);
    about_server(text)
        .map(KernelHint::Server)
        .or_else(|| stalled(is_of_ceph(text), StalledStorage::Ceph))
        .or_else(|| stalled(is_of_lustre(text), StalledStorage::Lustre))
        .or_else(|| stalled(is_of_blocked_task(text), StalledStorage::Any))
}

/// `nfs: server NAME not responding, still trying` (or `timed out`), `nfs: server NAME OK`,
/// `CIFS: VFS: \\NAME has not responded in 180 seconds. Reconnecting...`.
fn about_server(text: &[u8]) -> Option<ServerStatusHint> {
    let after = |prefixes: [&[u8]; 2]| prefixes.into_iter().find_map(|prefix| text.strip_prefix(prefix));
    let (rest, is_rpc) = match after(RPC_PREFIXES) {
        Some(rest) => (rest, true),
        None => (after(SMB_PREFIXES)?, false),
    };
    let (server, state) = split(rest, b' ')?;
    let responds = match state {
        b"OK" if is_rpc => true,
        b"not responding, still trying" | b"not responding, timed out" if is_rpc => false,
        _ if !is_rpc && state.starts_with(b"has not responded in ") => false,
        _ => return None,
    };
    (!server.is_empty()).then(|| ServerStatusHint { server: server.to_vec(), responds })
}

/// `libceph: mon0 (1)192.0.2.1:6789 session lost, hunting for new mon`, `libceph: osd5 down`, `ceph: mds0 caps stale`;
/// since Linux 6.8 `ceph: [FSID CLIENT]: mds0 caps stale`.
fn is_of_ceph(text: &[u8]) -> bool {
    if let Some((server, rest)) = text.strip_prefix(b"libceph: ").and_then(|rest| split(rest, b' ')) {
        let state = split(rest, b' ').map_or(&[][..], |(_address, state)| state);
        return is_ceph_server(server)
            && (rest == b"down" || CEPH_CONNECTION.iter().any(|start| state.starts_with(start)));
    }
    let Some(rest) = text.strip_prefix(b"ceph: ") else { return false };
    let rest = match rest.strip_prefix(b"[") {
        Some(client) => {
            split(client, b']').and_then(|(_, rest)| rest.strip_prefix(b": ")).unwrap_or_default()
        }
        None => rest,
    };
    split(rest, b' ').is_some_and(|(server, state)| is_ceph_server(server) && CEPH_SESSION.contains(&state))
}

fn is_ceph_server(name: &[u8]) -> bool {
    CEPH_SERVERS.iter().any(|kind| name.strip_prefix(*kind).is_some_and(is_number))
}

/// `ptlrpc_set_import_discon()` and `ptlrpc_import_recovery_state_machine()` of Lustre's `ptlrpc/import.c`:
/// `Lustre: DEVICE: Connection to TARGET (at NID) was lost; in progress operations …`, as an error
/// `LustreError: 166-1: DEVICE: …`, and `LustreError: 167-0: DEVICE: This client was evicted by TARGET; …`.
fn is_of_lustre(text: &[u8]) -> bool {
    let rest = text.strip_prefix(b"Lustre: ").or_else(|| text.strip_prefix(b"LustreError: "));
    let Some((first, rest)) = rest.and_then(|rest| split(rest, b' ')) else { return false };
    // The first word is a code or the device.
    let after_code = split(rest, b' ');
    is_lustre_loss(first, rest) || after_code.is_some_and(|(device, state)| is_lustre_loss(device, state))
}

fn is_lustre_loss(device: &[u8], state: &[u8]) -> bool {
    let is_lost = || contains(state, b") was lost; in progress operations using this service will ");
    device.len() > 1
        && device.ends_with(b":")
        && (state.starts_with(b"This client was evicted by ")
            || (state.starts_with(b"Connection to ") && is_lost()))
}

/// `check_hung_task()` of `kernel/hung_task.c`: `INFO: task NAME:PID blocked for more than 122 seconds.`, since 7.x also
/// `blocked in I/O wait for`. The name may contain anything.
fn is_of_blocked_task(text: &[u8]) -> bool {
    let time = || {
        let rest = text.strip_prefix(b"INFO: task ")?.strip_suffix(b" seconds.")?;
        let rest = rest.strip_suffix(last_number(rest)?)?.strip_suffix(b" for more than ")?;
        let rest = rest.strip_suffix(b" in I/O wait").unwrap_or(rest).strip_suffix(b" blocked")?;
        rest.strip_suffix(last_number(rest)?)?.strip_suffix(b":")
    };
    time().is_some()
}

fn last_number(text: &[u8]) -> Option<&[u8]> {
    let start = text.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    (start < text.len()).then(|| &text[start..])
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// What is before and after the first of these bytes.
fn split(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == separator)?;
    Some((&text[..end], &text[end + 1..]))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Option<KernelHint> {
        parse(line.as_bytes())
    }

    #[test]
    fn lines_about_servers_become_hints() {
        for (line, expected) in [
            ("nfs: server 10.0.0.5 not responding, still trying", Some(("10.0.0.5", false))),
            ("nfs: server fs-1.example not responding, timed out", Some(("fs-1.example", false))),
            ("nfs: server fd00::5 OK", Some(("fd00::5", true))),
            ("CIFS: VFS: \\\\nas has not responded in 180 seconds. Reconnecting...", Some(("nas", false))),
            ("CIFS: VFS: has not responded in 180 seconds", None),
            ("nfs: server  OK", None),
            ("nfs: server a", None),
            ("lockd: server nas OK", Some(("nas", true))),
            (
                "CIFS VFS: \\\\192.0.2.7 has not responded in 180 seconds. Reconnecting...",
                Some(("192.0.2.7", false)),
            ),
            ("CIFS: VFS: \\\\ has not responded in 180 seconds", None),
            ("usb: server room is OK", None),
            (": server nas not responding, still trying", None),
            ("x nfs: server nas not responding, still trying", None),
            ("nfs: server nas not responding, still trying, or not", None),
            ("traps: nfs: server nas OK", None),
            ("x CIFS: VFS: \\\\nas has not responded in 180 seconds", None),
            ("CIFS: VFS: \\\\nas OK", None),
            ("", None),
        ] {
            let expected = expected.map(|(name, responds): (&str, bool)| {
                KernelHint::Server(ServerStatusHint { server: name.into(), responds })
            });
            assert_eq!(of(line), expected, "{line}");
        }
    }

    /// Lines of `ceph-devel`, of Ceph's and other public documentation, and the formats of Linux 6.1, 6.12 and 7.3.
    #[test]
    fn lines_about_ceph_and_lustre_and_blocked_tasks_become_hints() {
        for (storage, lines) in [
            (
                StalledStorage::Ceph,
                &[
                    "libceph: mon2 (1)10.72.36.245:40083 session lost, hunting for new mon",
                    "libceph: mon0 10.99.176.46:6789 socket closed (con state CONNECTING)",
                    "libceph: osd2 (1)51.168.30.2:6805 socket closed (con state V1_BANNER)",
                    "libceph: mds0 (1)10.41.2.11:6801 socket error on write",
                    "libceph: osd0 (2)[fd00::5]:6801 socket error on read",
                    "libceph: mon1 (2)192.0.2.7:3300 connect error",
                    "libceph: osd56 down",
                    "ceph: mds0 caps stale",
                    "ceph: mds12 caps still stale",
                    "ceph: mds0 hung",
                    "ceph: mds0 closed our session",
                    "ceph: mds0 reconnect denied",
                    "ceph: [d52783e6-efc2-4dce-ad01-aa3272fa5f66 14155]: mds0 caps stale",
                    "ceph: [d52783e6-efc2-4dce-ad01-aa3272fa5f66 14155]: mds0 session blocklisted",
                ][..],
            ),
            (
                StalledStorage::Lustre,
                &[
                    "Lustre: DIAS-OST0001-osc-ffff9d6153c91000: Connection to DIAS-OST0001 (at 192.168.14.178@tcp) \
                     was lost; in progress operations using this service will wait for recovery to complete",
                    "LustreError: 166-1: MGC10.130.93.11@o2ib: Connection to MGS (at 10.130.93.10@o2ib) was lost; in \
                     progress operations using this service will fail",
                    "LustreError: MGC10.130.93.11@o2ib: Connection to MGS (at 10.130.93.10@o2ib) was lost; in \
                     progress operations using this service will fail",
                    "LustreError: 167-0: a-MDT0000-mdc-ffff880105: This client was evicted by a-MDT0000; in progress \
                     operations using this service will fail.",
                ],
            ),
            (
                StalledStorage::Any,
                &[
                    "INFO: task kworker/18:1:32111 blocked for more than 122 seconds.",
                    "INFO: task cp:4 blocked in I/O wait for more than 241 seconds.",
                    "INFO: task a: b blocked:77 blocked for more than 120 seconds.",
                ],
            ),
        ] {
            for line in lines {
                assert_eq!(of(line), Some(KernelHint::Stall(storage)), "{line}");
            }
        }
    }

    #[test]
    fn other_and_forged_lines_are_no_hints() {
        let long = |start: &str, end: &str| format!("{start}{}{end}", "9 ".repeat(4000));
        let lost = "Connection to b (at 192.0.2.1@tcp) was lost; in progress operations using this service will fail";
        for line in [
            "",
            "libceph: mon0 (1)192.168.56.20:6789 session established",
            "libceph: mds0 (2)192.0.2.7:6800 session reset",
            "libceph: client4213 fsid 90bdb539-9d95-402e-8f23-b0e26cba8b1b",
            "libceph: osd down",
            "libceph: osdc handle_map corrupt msg",
            "libceph: osd5 up",
            "libceph: osd5 ",
            "x libceph: osd5 down",
            "ceph: mds0 caps renewed",
            "ceph: mds0 caps stale, or not",
            "ceph: mdsx hung",
            "ceph: [x: mds0 hung",
            "ceph: [x] mds0 hung",
            "ceph: [x]",
            "Lustre: a-OST0001-osc-ff: Connection restored to  (at 172.28.1.43@tcp)",
            &format!("Lustre: {lost}"),
            &format!("Lustre: : {lost}"),
            &format!("traps: Lustre: a: {lost}"),
            "LustreError: 166-1: a: Connection to b",
            "LustreError: 11-0: a-OST0002-osc-x: operation ost_read to node 192.0.2.1@tcp failed: rc = -19",
            "INFO: task a:1 is blocked on a mutex likely owned by task b:2.",
            "INFO: task a:1 blocked for more than  seconds.",
            "INFO: task a:1 blocked for more than 120 seconds. x",
            "INFO: task a: blocked for more than 120 seconds.",
            "INFO: task 1 blocked for more than 120 seconds.",
            "INFO: task 120 seconds.",
            "INFO: task  seconds.",
            "x INFO: task a:1 blocked for more than 120 seconds.",
            "INFO: rcu_sched self-detected stall on CPU",
            &long("libceph: mon", " session lost, hunting for new mon"),
            &long("INFO: task ", "seconds."),
            &long("Lustre: a: Connection to ", ""),
            &long("ceph: [", ""),
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }
}
