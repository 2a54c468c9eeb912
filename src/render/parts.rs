//! Long texts are made in parts while they are sent. Who waits for a slow reader holds a snapshot and one part.

/// About the size of a part: large enough for few system calls, small enough for hundreds of slow readers. The TLS library
/// takes 64 KiB at once, so a part is one write; and a part with its TLS records is less than the 128 KiB above which the
/// heap returns its memory each time.
pub const PART_SIZE: usize = 48 * 1024;

/// A text that is made in parts.
pub trait Parts: Send {
    /// Appends to `text` until it has at least `size` bytes. False if that was the end.
    fn write(&mut self, text: &mut Vec<u8>, size: usize) -> bool;

    /// The whole text.
    fn whole(mut self) -> Vec<u8>
    where
        Self: Sized,
    {
        let mut text = Vec::new();
        self.write(&mut text, usize::MAX);
        text
    }
}

/// A text that is made at once, because it is short.
pub struct Whole(pub Vec<u8>);

impl Parts for Whole {
    fn write(&mut self, text: &mut Vec<u8>, _: usize) -> bool {
        text.append(&mut self.0);
        false
    }
}
