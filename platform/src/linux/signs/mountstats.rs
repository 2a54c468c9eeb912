//! The transports of the NFS client in `/proc/self/mountstats`, for kernels before 5.14. Retransmissions and time-outs
//! are counted when a task ends, so they stand still in a hang; sent and received requests are counted at once. Their
//! difference does not return to 0 after a loss, so only what it does between two samples counts.

use crate::evidence::Traffic;
use crate::linux::evidence::transport;
use crate::linux::procfs::read_up_to;
use crate::signs::{Sign, Waiting};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The file has about 10 KiB for each NFS mount; the rest of a longer one is not read.
const MAX_FILE: u64 = 8 << 20;

#[derive(Debug)]
pub(super) struct MountstatsReader {
    file: PathBuf,
    servers: BTreeMap<Vec<u8>, Counters>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Counters {
    sent: u64,
    received: u64,
    /// More was sent than received since the last answer, or with it.
    has_pending: bool,
}

impl MountstatsReader {
    pub(super) fn new(file: PathBuf) -> MountstatsReader {
        MountstatsReader { file, servers: BTreeMap::new() }
    }

    /// The servers for which requests may wait. Empty if the file cannot be read.
    pub(super) fn sample(&mut self) -> Vec<Waiting> {
        let text = read_up_to(&self.file, MAX_FILE).unwrap_or_default();
        self.compare(&text)
    }

    fn compare(&mut self, text: &[u8]) -> Vec<Waiting> {
        let mut servers = parse(text);
        for (address, counters) in &mut servers {
            let Some(before) = self.servers.get(address) else { continue };
            let sent = counters.sent.saturating_sub(before.sent);
            let received = counters.received.saturating_sub(before.received);
            // A sum that falls is that of other mounts.
            let is_comparable = counters.sent >= before.sent && counters.received >= before.received;
            counters.has_pending =
                is_comparable && (sent > received || (before.has_pending && received == 0));
        }
        self.servers = servers;
        let pending = self.servers.iter().filter(|(_, counters)| counters.has_pending);
        let of = |(address, counters): (&Vec<u8>, &Counters)| Waiting {
            sign: Sign::Server(address.clone()),
            connection: 0,
            answers: counters.received,
        };
        pending.map(of).collect()
    }
}

/// The sums of the transports to each address. Mounts of one server share transports, so equal lines count once.
fn parse(text: &[u8]) -> BTreeMap<Vec<u8>, Counters> {
    let (mut servers, mut seen) = (BTreeMap::<Vec<u8>, Counters>::new(), BTreeSet::new());
    let mut address: Option<&[u8]> = None;
    for line in text.split(|&byte| byte == b'\n') {
        if line.starts_with(b"device ") {
            address = None;
        } else if let Some(options) = line.trim_ascii_start().strip_prefix(b"opts:") {
            address =
                options.trim_ascii().split(|&b| b == b',').find_map(|option| option.strip_prefix(b"addr="));
        } else if let Some(address) = address
            && let Some(Traffic { sent, received, .. }) = std::str::from_utf8(line).ok().and_then(transport)
            && seen.insert((address, line))
        {
            let sum = servers.entry(address.to_vec()).or_default();
            sum.sent += sent;
            sum.received += received;
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(transports: &[(&str, u64, u64)]) -> String {
        let mount = |(address, sent, received): &(&str, u64, u64)| {
            format!(
                "device {address}:/x mounted on /mnt with fstype nfs4 statvers=1.1\n\
                 \topts:\trw,vers=4.2,proto=tcp,clientaddr=10.9.0.1,local_lock=none,addr={address}\n\tage:\t5\n\
                 \txprt:\ttcp 700 1 1 0 5 {sent} {received} 0 9 0 2 0 0\n\tper-op statistics\n\t        NULL: 1 1\n"
            )
        };
        "device proc mounted on /proc with fstype proc\n".to_owned()
            + &transports.iter().map(mount).collect::<String>()
    }

    /// Whether the only server is waited for after each of these samples.
    fn samples(samples: &[(u64, u64)]) -> Vec<bool> {
        let mut reader = MountstatsReader::new(PathBuf::new());
        let mut sample =
            |&(sent, received)| !reader.compare(text(&[("10.9.0.2", sent, received)]).as_bytes()).is_empty();
        samples.iter().map(&mut sample).collect()
    }

    #[test]
    fn request_without_answer_waits_until_one_arrives() {
        // The first hangs between answers of the same interval, as in a loop of reads.
        assert_eq!(
            samples(&[(10, 10), (20, 19), (20, 19), (20, 19), (25, 24), (25, 25)]),
            [false, true, true, true, false, false]
        );
        assert_eq!(samples(&[(10, 10), (10, 10), (11, 10), (11, 10)]), [false, false, true, true]);
    }

    #[test]
    fn difference_that_remains_after_a_loss_is_no_sign() {
        assert_eq!(samples(&[(13, 10), (13, 10), (14, 11), (14, 11), (5, 5)]), [false; 5]);
    }

    #[test]
    fn mounts_that_share_a_transport_count_once() {
        let shared = text(&[("10.9.0.2", 7, 6), ("10.9.0.2", 7, 6), ("fd00::5", 3, 3)]);
        let servers = parse(shared.as_bytes());
        let of = |sent, received| Counters { sent, received, has_pending: false };
        assert_eq!(
            servers,
            BTreeMap::from([(b"10.9.0.2".to_vec(), of(7, 6)), (b"fd00::5".to_vec(), of(3, 3))])
        );
    }
}
