//! What is stacked on files of a mount. Paths are compared with the mount table; no path is touched.

use super::{TIMEOUT, mount_point};
use crate::children::files::FileWorker;
use crate::render::Surroundings;
use crate::render::escape::escape;
use platform::evidence::{NamedFile, StackedFiles};
use platform::{Mount, MountTable, mount_containing};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Overlay mounts with a layer on this file system: each once, with its first such layer, as there can be hundreds.
pub(super) fn add_overlays(mount: &Mount, table: &MountTable, found: &mut Surroundings) {
    for overlay in table.iter().filter(|other| other.fstype.as_bytes() == b"overlay") {
        let mut layers = layers(overlay.super_options.as_bytes());
        // The layer may be the mount point itself.
        layers.retain(|layer| is_on(mount, table, &layer.join("layer")));
        let what = match layers.len() {
            0 => continue,
            1 => "layer of an overlay".to_owned(),
            count => format!("{count} layers of an overlay"),
        };
        found.add_stacked(what, &layers[0], [mount_point(overlay)].into_iter());
    }
}

pub(super) fn add_files(mount: &Mount, table: &MountTable, files: StackedFiles, found: &mut Surroundings) {
    for (NamedFile { path, user }, devices) in files.loops {
        let file = to_path(&path);
        if !is_on(mount, table, file) {
            continue;
        }
        for device in devices {
            let is_loop = device.name == user;
            let name = match &device.mapped_name {
                Some(mapped) => format!("device mapper {} ({})", escape(mapped), escape(&device.name)),
                None if is_loop => format!("loop device {}", escape(&device.name)),
                None => format!("block device {}", escape(&device.name)),
            };
            let what = if is_loop { name } else { format!("{name} on loop device {}", escape(&user)) };
            let at = table.iter().filter(|other| other.device_number == device.number).map(mount_point);
            found.add_stacked(what, file, at);
        }
    }
    for NamedFile { path, .. } in files.swaps {
        if is_on(mount, table, to_path(&path)) {
            found.add_stacked("swap file".to_owned(), to_path(&path), std::iter::empty());
        }
    }
    for NamedFile { path, user } in files.exports {
        if is_on(mount, table, &to_path(&path).join("export")) {
            let what = format!("exported by the NFS server to {}", escape(&user));
            found.add_stacked(what, to_path(&path), std::iter::empty());
        }
    }
    for file in files.not_read {
        found.add_not_known(format!("what is stacked on it, as {} cannot be read", escape(&file)));
    }
}

/// What is stacked on files of the mount, one text each. Paths of files are those of our own mount namespace: those of
/// another one cannot be told apart.
pub(in crate::commands) fn stacked_on(
    mount: &Mount,
    table: &MountTable,
    is_foreign_namespace: bool,
) -> Result<Vec<String>, String> {
    let worker = FileWorker::new();
    let files = worker.begin(TIMEOUT).and_then(|mut session| session.stacked_files());
    let files = files.map_err(|error| error.to_string())?;
    if let Some(file) = files.not_read.first() {
        return Err(format!("{} cannot be read", escape(file)));
    }
    if is_foreign_namespace && files != StackedFiles::default() {
        return Err(
            "loop devices, swap files and NFS exports may be on it: their paths say nothing of another \
            mount namespace"
                .to_owned(),
        );
    }
    let mut found = Surroundings::default();
    add_overlays(mount, table, &mut found);
    add_files(mount, table, files, &mut found);
    Ok(found.stacked().collect())
}

/// Whether a file is on this file system, as far as its path tells.
fn is_on(mount: &Mount, table: &MountTable, file: &Path) -> bool {
    let there = mount_containing(table.iter().map(|mount| &**mount), file);
    file.is_absolute() && there.is_some_and(|there| there.device_number == mount.device_number)
}

/// The absolute paths of `lowerdir`, `upperdir` and `workdir`. Layers are separated by `:`; `::` precedes those with data
/// only.
fn layers(options: &[u8]) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    for option in options.split(|&byte| byte == b',') {
        let Some(equals) = option.iter().position(|&byte| byte == b'=') else { continue };
        let (name, value) = (&option[..equals], unescaped(&option[equals + 1..]));
        match name {
            b"lowerdir" => {
                let parts = split_layers(&value);
                layers.extend(parts.into_iter().map(|part| to_path(&part).to_owned()));
            }
            b"lowerdir+" | b"datadir+" | b"upperdir" | b"workdir" => layers.push(to_path(&value).to_owned()),
            _ => {}
        }
    }
    layers.retain(|layer| layer.is_absolute());
    layers
}

/// Decodes `\ooo`, as which the kernel writes blanks, commas and backslashes.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        match text {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                decoded.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
                text = rest;
            }
            _ => {
                decoded.push(first);
                text = rest;
            }
        }
    }
    decoded
}

/// A `:` within a name has a backslash before it.
fn split_layers(value: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = value.iter();
    while let Some(&byte) = bytes.next() {
        let last = parts.last_mut().expect("there is one at least");
        match byte {
            b'\\' => last.extend(bytes.next()),
            b':' => parts.push(Vec::new()),
            _ => last.push(byte),
        }
    }
    parts
}

fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::mount;
    use platform::DeviceNumber;
    use platform::evidence::BlockDevice;
    use std::sync::Arc;

    fn on(number: u32, mount: Arc<Mount>) -> Arc<Mount> {
        let device_number = DeviceNumber { major: 0, minor: number };
        Arc::new(Mount { device_number, ..Mount::clone(&mount) })
    }

    #[test]
    fn layers_are_decoded() {
        let text = br"rw,relatime,lowerdir=/a\134:b:/c\040d::/data:relative,lowerdir+=/e:f,upperdir=/u\054p,index=off";
        let paths: Vec<PathBuf> =
            ["/a:b", "/c d", "/data", "/e:f", "/u,p"].into_iter().map(PathBuf::from).collect();
        assert_eq!(layers(text), paths);
        assert_eq!(layers(b"rw,lowerdir"), Vec::<PathBuf>::new());
    }

    #[test]
    fn only_what_is_on_the_mount_is_stacked_on_it() {
        let mut overlay = Mount::clone(&mount(4, "/merged", "overlay"));
        overlay.super_options =
            OsStr::new("rw,lowerdir=/srv/nas/lower:/usr:/srv/nas/lower2,upperdir=/srv/nas/local/up").into();
        let table = MountTable::new(vec![
            on(1, mount(1, "/", "ext4")),
            on(2, mount(2, "/srv/nas", "nfs4")),
            on(3, mount(3, "/srv/nas/local", "ext4")),
            on(4, Arc::new(overlay)),
            on(5, mount(5, "/crypt", "xfs")),
        ]);
        let file = |path: &str, user: &str| NamedFile { path: path.into(), user: user.into() };
        let device = |name: &str, minor, mapped: Option<&str>| BlockDevice {
            name: name.into(),
            mapped_name: mapped.map(Into::into),
            number: DeviceNumber { major: 0, minor },
        };
        let files = StackedFiles {
            loops: vec![
                (
                    file("/srv/nas/image", "loop0"),
                    vec![device("loop0", 70, None), device("dm-1", 5, Some("c"))],
                ),
                (file("/srv/nas/local/image", "loop1"), vec![device("loop1", 71, None)]),
                (file("/srv/nas2", "loop2"), vec![device("loop2", 72, None)]),
            ],
            swaps: vec![file("/srv/nas/swap", ""), file("/swap", "")],
            exports: vec![file("/srv/nas", "10.0.0.0/8"), file("/srv", "*")],
            not_read: vec!["/proc/swaps".into()],
        };
        let mut found = Surroundings::default();
        let nas = table.iter().nth(1).unwrap();
        add_overlays(nas, &table, &mut found);
        add_files(nas, &table, files, &mut found);
        let expected = "
Also affected
  * 2 layers of an overlay: /srv/nas/lower, mounted at /merged
  * loop device loop0: /srv/nas/image
  * device mapper c (dm-1) on loop device loop0: /srv/nas/image, mounted at /crypt
  * swap file: /srv/nas/swap
  * exported by the NFS server to 10.0.0.0/8: /srv/nas
  * not known: what is stacked on it, as /proc/swaps cannot be read
";
        assert_eq!(found.in_text(""), expected);
    }
}
