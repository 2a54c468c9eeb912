//! Reads the text of mountinfo in pieces, because all together can be hundreds of megabytes.

use super::long_names::{LongLine, MAX_NAME};
use super::mountinfo::{Line, lines};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Room for one `read(2)` of the text. The kernel returns at most a page, or one longer line.
const READ_ROOM: usize = 64 << 10;

/// Calls `on_line` for each line of the file. Names that are too long are shortened. False if long lines have more than
/// `max_long` bytes together: then the rest was not read.
///
/// # Errors
/// Those of `read(2)`; `InvalidData` quoting an invalid line.
pub(super) fn read_lines(file: &File, max_long: u64, mut on_line: impl FnMut(&Line<'_>)) -> io::Result<bool> {
    let mut piece = vec![0; READ_ROOM];
    let mut text = Vec::new();
    let (mut offset, mut long_line, mut long) = (0, None, 0);
    loop {
        match file.read_at(&mut piece, offset) {
            Ok(0) => break,
            Ok(count) => {
                offset += count as u64;
                long += append(&piece[..count], &mut long_line, &mut text);
                if long > max_long {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        // A file of a test may end a piece in the middle of a line.
        if long_line.is_none() && text.ends_with(b"\n") {
            lines(&text).try_for_each(|line| line.map(|line| on_line(&line)))?;
            text.clear();
        }
    }
    if let Some(line) = long_line {
        line.write(&mut text);
    }
    lines(&text).try_for_each(|line| line.map(|line| on_line(&line)))?;
    Ok(true)
}

/// Appends what one call returned: whole lines, usually of a page together, or a piece of a long line. Returns the
/// number of bytes of long lines.
fn append(piece: &[u8], long_line: &mut Option<LongLine>, text: &mut Vec<u8>) -> u64 {
    if long_line.is_none() && piece.len() <= MAX_NAME && piece.ends_with(b"\n") {
        text.extend_from_slice(piece);
        return 0;
    }
    let mut long_bytes = 0;
    for part in piece.split_inclusive(|&b| b == b'\n') {
        let line = part.strip_suffix(b"\n");
        if long_line.is_none() && line.is_some_and(|line| line.len() <= MAX_NAME) {
            text.extend_from_slice(part);
            continue;
        }
        long_bytes += part.len() as u64;
        let long = long_line.get_or_insert_with(LongLine::new);
        long.push(line.unwrap_or(part));
        if line.is_some() {
            long.write(text);
            text.push(b'\n');
            *long_line = None;
        }
    }
    long_bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MountKey;

    #[test]
    fn reading_ends_after_too_many_bytes_of_long_lines() {
        let path = std::env::temp_dir().join(format!("msm-text-{}", std::process::id()));
        let row = |path: &[u8]| [b"1 1 0:1 / /", path, b" rw - tmpfs none rw\n"].concat();
        let long = row(&b"d/".repeat(100_000));
        std::fs::write(&path, [row(b"short").repeat(100), long.repeat(5)].concat()).unwrap();
        let file = File::open(&path).unwrap();
        let mut read = Vec::new();
        let on_line = |line: &Line<'_>| read.push(line.to_mount(MountKey(1)));
        assert!(read_lines(&file, 5 * long.len() as u64, on_line).unwrap());
        assert_eq!(read.len(), 105);
        assert!(
            read.iter().all(|mount| mount.mountpoint.as_os_str().len() < 1000),
            "long names are shortened"
        );
        assert!(!read_lines(&file, 4 * long.len() as u64, |_| {}).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
