//! Reads the text of mountinfo.

use super::long_names::{LongLine, MAX_NAME};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Room for one `read(2)` of the text. The kernel returns at most a page, or one longer line.
const READ_ROOM: usize = 64 << 10;

/// A buffer this many times larger than the text is shrunk: a burst of mounts must not cost memory permanently.
const MAX_BUFFER_FACTOR: usize = 4;

/// Reads the file from its start into `text`, whose memory is reused. Names that are too long are shortened as they are
/// read. False if long lines have more than `max_long` bytes together: then the rest was not read.
pub(super) fn read_text(file: &File, text: &mut Vec<u8>, max_long: u64) -> io::Result<bool> {
    let mut piece = vec![0; READ_ROOM];
    let (mut offset, mut long_line, mut long) = (0, None, 0);
    text.clear();
    loop {
        match file.read_at(&mut piece, offset) {
            Ok(0) => break,
            Ok(count) => {
                offset += count as u64;
                long += append(&piece[..count], &mut long_line, text);
                if long > max_long {
                    return Ok(false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if let Some(line) = long_line {
        line.write(text);
    }
    if text.capacity() / MAX_BUFFER_FACTOR > text.len() + READ_ROOM {
        text.shrink_to(text.len() + READ_ROOM);
    }
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

    #[test]
    fn buffer_shrinks_after_a_large_text() {
        let path = std::env::temp_dir().join(format!("msm-watch-{}", std::process::id()));
        std::fs::write(&path, b"a line\n".repeat(1 << 19)).unwrap();
        let file = File::open(&path).unwrap();
        let mut text = Vec::new();
        assert!(read_text(&file, &mut text, 1 << 20).unwrap());
        assert_eq!(text.len(), 7 << 19);
        std::fs::write(&path, "small").unwrap();
        assert!(read_text(&file, &mut text, 1 << 20).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(text == b"small" && text.capacity() <= 2 * READ_ROOM);
    }

    #[test]
    fn reading_ends_after_too_many_bytes_of_long_lines() {
        let path = std::env::temp_dir().join(format!("msm-text-{}", std::process::id()));
        let long = [&b"1 1 0:1 / /"[..], &b"d/".repeat(100_000), b" rw - tmpfs none rw\n"].concat();
        std::fs::write(&path, [b"short\n".repeat(100), long.repeat(5)].concat()).unwrap();
        let file = File::open(&path).unwrap();
        let mut text = Vec::new();
        assert!(read_text(&file, &mut text, 5 * long.len() as u64).unwrap());
        assert!(text.len() < 10_000, "long names are shortened");
        assert!(!read_text(&file, &mut text, 4 * long.len() as u64).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
