//! The document that the supervisor shows the views child: text on a page.

use super::page::{Layout, Page, Slot};
use std::{io, os::fd::OwnedFd};

/// Bytes of a document: what one with 300 interfaces has. It is written and read as a whole, once a second.
const BYTES: usize = 128 << 10;
const LAYOUT: Layout = Layout { slots: 1, words: 1 + BYTES / 8 };

/// Where the supervisor writes.
pub struct Board {
    slot: Slot,
    descriptor: OwnedFd,
}

impl Board {
    /// An empty one.
    pub fn new() -> io::Result<Board> {
        let (page, descriptor) = Page::create(LAYOUT)?;
        let slot = page.slot(0).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(Board { slot, descriptor })
    }

    /// For a child.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        self.descriptor.try_clone()
    }

    /// Shows a document; one that is too long is none.
    pub fn show(&self, text: &str) {
        if text.len() > BYTES {
            return;
        }
        let word = |chunk: &[u8]| {
            let mut bytes = [0; 8];
            bytes.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            u64::from_ne_bytes(bytes)
        };
        self.slot.publish(std::iter::once(text.len() as u64).chain(text.as_bytes().chunks(8).map(word)));
    }
}

/// Where the child reads.
pub struct Reader(Slot);

impl Reader {
    /// Of the supervisor's board.
    pub fn new(descriptor: OwnedFd) -> io::Result<Reader> {
        let page = Page::from_fd(descriptor, LAYOUT)?;
        Ok(Reader(page.slot(0).ok_or(io::ErrorKind::InvalidInput)?))
    }

    /// How many documents there have been.
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    /// The last one.
    pub fn text(&self) -> String {
        let words = self.0.record();
        let (len, words) = words.split_first().map_or((0, &[][..]), |(len, words)| (*len, words));
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.truncate(usize::try_from(len).unwrap_or_default());
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_and_what_is_too_long_changes_nothing() {
        let board = Board::new().unwrap();
        let reader = Reader::new(board.descriptor().unwrap()).unwrap();
        assert_eq!((reader.text().as_str(), reader.version()), ("", 0));
        for text in ["{\"a\": 1}", "", "\u{e9}12345678"] {
            board.show(text);
            assert_eq!(reader.text(), text);
        }
        let longest = "x".repeat(BYTES);
        board.show(&longest);
        board.show(&format!("{longest}x"));
        assert_eq!((reader.text().len(), reader.version()), (BYTES, 4));
    }
}
