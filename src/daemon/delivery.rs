//! What the upload child shows: the spool, and how uploads go. A record on its page.

use super::page::{Layout, Slot};
use crate::{spool::sort::Stock, time::Timestamp, upload::Word};

/// Numbers that a text takes: its length, then its bytes.
const TEXT: usize = 1 + TEXT_BYTES / 8;
/// Bytes of a text that are shown: a server's name and port, or the reason of a failure.
const TEXT_BYTES: usize = 640;
/// Numbers of a record.
const WORDS: usize = 3 * 3 + 2 + 3 + 3 + 2 * TEXT;

/// How things stand, of a process that may have ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// What is in `new/`, `waiting/` and `archive/`.
    pub stocks: [Stock; 3],
    /// Bytes that are free where the spool is, if that is known.
    pub free: Option<u64>,
    /// It needs a key, and cannot read one.
    pub lacks_key: bool,
    /// How uploads go.
    pub word: Word,
}

/// A page with so many threads, of which the first shows the record.
pub fn layout(slots: usize) -> Layout {
    Layout { slots, words: WORDS }
}

impl Delivery {
    /// Shows it.
    pub fn publish(&self, slot: &Slot) {
        let Delivery { stocks, free, lacks_key, word } = self;
        let mut words = Vec::with_capacity(WORDS);
        for stock in stocks {
            words.extend([stock.files, stock.bytes, nanos(stock.oldest)]);
        }
        words.extend([free.map_or(0, |free| free.saturating_add(1)), u64::from(*lacks_key)]);
        let (error_time, error) = word.last_error.as_ref().map_or((None, ""), |(time, text)| (Some(*time), text));
        words.extend([word.last_success, error_time, word.next_try].map(nanos));
        words.extend([word.files, word.bytes, u64::from(word.is_alarmed)]);
        push_text(&mut words, word.server.as_deref().unwrap_or_default());
        push_text(&mut words, error);
        slot.publish(words);
    }

    /// What was shown.
    pub fn from_words(words: &[u64]) -> Delivery {
        let mut words = words.iter().copied();
        let mut next = || words.next().unwrap_or_default();
        let stocks = [(); 3].map(|()| Stock { files: next(), bytes: next(), oldest: time(next()) });
        let (free, lacks_key) = (next().checked_sub(1), next() > 0);
        let (last_success, error_time, next_try) = (time(next()), time(next()), time(next()));
        let (files, bytes, is_alarmed) = (next(), next(), next() > 0);
        let server = Some(take_text(&mut next)).filter(|server| !server.is_empty());
        let last_error = error_time.map(|time| (time, take_text(&mut next)));
        let word = Word { server, last_success, last_error, next_try, files, bytes, is_alarmed };
        Delivery { stocks, free, lacks_key, word }
    }
}

fn nanos(time: Option<Timestamp>) -> u64 {
    time.map_or(0, Timestamp::as_nanos)
}

fn time(nanos: u64) -> Option<Timestamp> {
    (nanos > 0).then(|| Timestamp::from_nanos(nanos))
}

fn push_text(words: &mut Vec<u64>, text: &str) {
    let mut bytes = [0; TEXT_BYTES];
    let end = text.floor_char_boundary(TEXT_BYTES);
    bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
    words.push(end as u64);
    words.extend(bytes.chunks_exact(8).map(|chunk| u64::from_ne_bytes(chunk.try_into().unwrap_or_default())));
}

fn take_text(mut next: impl FnMut() -> u64) -> String {
    let len = usize::try_from(next()).unwrap_or_default().min(TEXT_BYTES);
    let mut bytes: Vec<u8> = (1..TEXT).flat_map(|_| next().to_ne_bytes()).collect();
    bytes.truncate(len);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::page::Page;
    use super::*;

    fn shown(delivery: &Delivery) -> Delivery {
        let (page, _) = Page::create(layout(2)).unwrap();
        let slot = page.slot(0).unwrap();
        delivery.publish(&slot);
        assert_eq!(slot.record().len(), WORDS);
        Delivery::from_words(&slot.record())
    }

    #[test]
    fn what_is_shown_is_read() {
        let at = |seconds| Timestamp::new(1_700_000_000 + seconds, 0);
        let word = Word {
            server: Some("collect.example.net port 49222".into()),
            last_success: Some(at(0)),
            last_error: Some((at(1), "cannot connect: no route to host \u{202e}\u{e9}".into())),
            next_try: Some(at(2)),
            files: 3,
            bytes: 1 << 60,
            is_alarmed: true,
        };
        let stock = |files| Stock { files, bytes: files * 4096, oldest: Some(at(files)) };
        let delivery = Delivery { stocks: [1, 2, 3].map(stock), free: Some(0), lacks_key: true, word };
        assert_eq!(shown(&delivery), delivery);
        assert_eq!(shown(&Delivery::default()), Delivery::default());
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_between_characters() {
        let error = "\u{e9}".repeat(TEXT_BYTES);
        let word = Word { last_error: Some((Timestamp::new(1, 0), format!("x{error}"))), ..Word::default() };
        let (_, text) = shown(&Delivery { word, ..Delivery::default() }).word.last_error.unwrap();
        assert_eq!(text.len(), TEXT_BYTES - 1);
        assert!(text.ends_with('\u{e9}'));
    }

    #[test]
    fn nonsense_on_the_page_is_read_without_harm() {
        Delivery::from_words(&[u64::MAX; WORDS]);
        Delivery::from_words(&[u64::MAX; 3]);
    }
}
