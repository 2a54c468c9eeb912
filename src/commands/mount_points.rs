//! `mount-points`: the mount points for completions, from the mount table alone. It touches no mount, reads no
//! configuration and asks no daemon.

use super::{mount_namespace, print_bytes};
use crate::cli::{BashAnswer, CompletionRequest};
use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;

pub fn mount_points(request: &CompletionRequest) -> anyhow::Result<u8> {
    let table = mount_namespace::table(None)?;
    let paths: BTreeSet<&[u8]> = table.iter().map(|mount| mount.mountpoint.as_os_str().as_bytes()).collect();
    let with_ends = |paths: &mut dyn Iterator<Item = &[u8]>| -> Vec<u8> {
        paths.flat_map(|path| [path, b"\0"]).collect::<Vec<_>>().concat()
    };
    let output = match request {
        CompletionRequest::Bash(word) => match word.complete(paths.into_iter()) {
            BashAnswer::MountPoints(candidates) => {
                format!("mount-points\n{}", candidates.concat()).into_bytes()
            }
            BashAnswer::Files => b"files\n".to_vec(),
            BashAnswer::Other => b"other\n".to_vec(),
        },
        CompletionRequest::Fish => with_ends(&mut paths.into_iter().filter(|path| !path.contains(&b'\t'))),
        CompletionRequest::Zsh { is_quoted } => {
            with_ends(&mut paths.into_iter().filter(|path| !is_quoted || std::str::from_utf8(path).is_ok()))
        }
    };
    print_bytes(&output)?;
    Ok(0)
}
