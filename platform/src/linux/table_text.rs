//! Reads the text of mountinfo.

use super::long_names::{LongLine, MAX_NAME};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Room for one `read(2)` of the text. The kernel returns at most a page, or one longer line.
const READ_ROOM: usize = 64 << 10;

/// A larger buffer is freed after the text was parsed: a burst of mounts, or very long paths, must not cost memory
/// permanently. It is enough for 20,000 usual mounts.
const MAX_KEPT: usize = 4 << 20;

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
    Ok(true)
}

/// Frees the memory of a text that is larger than usual.
pub(super) fn free_large(text: &mut Vec<u8>) {
    if text.capacity() > MAX_KEPT {
        *text = Vec::new();
    }
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
    fn only_the_buffer_of_a_large_text_is_freed() {
        let path = std::env::temp_dir().join(format!("msm-watch-{}", std::process::id()));
        let mut text = Vec::new();
        for (content, is_kept) in [("a line\n".repeat(1 << 20), false), ("small".to_owned(), true)] {
            std::fs::write(&path, &content).unwrap();
            assert!(read_text(&File::open(&path).unwrap(), &mut text, 1 << 20).unwrap());
            assert_eq!(text, content.as_bytes());
            free_large(&mut text);
            assert_eq!(text.capacity() > 0, is_kept);
        }
        std::fs::remove_file(&path).unwrap();
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
