//! The sending side of one rsync session, without any input or output of its own.
//!
//! ```text
//!  us                                           the server
//!  version                          ←→          version, compatibility, names of sums
//!  names of sums                    ←→          seed
//!  list                              →
//!                                    ←          a request for each file that it has not, DONE
//!  the file, its sum                 →
//!                                    ←          SUCCESS when it is in place
//!  DONE                             ←→          DONE (files whose sum was wrong are asked for again), DONE, DONE
//! ```
//!
//! A server older than rsync 3.2 names no sums and is named none; they are MD5 then.
//!
//! It is given what the server says, in any portions, and says what to write and what it [needs](Need) of the files. It
//! holds at most a few frames, a few bytes a file and the requests, of which each file has a limit.

use super::{
    fault::Fault,
    frames::{self, Frames, Piece},
    greeting::{self, Greeting},
    list::{Entry, List},
    outbox::Outbox,
    requests::{HAS_BASIS, HAS_NAME, Item, Requests},
    sum::Sum,
    wire::{self, Indexes},
};
use std::collections::VecDeque;

/// As long as so much waits to be written, nothing is needed. It is written in packets of 32 kB, the last of which is only
/// partly full: with less, half of all packets were crumbs.
const ENOUGH: usize = 256 << 10;
/// How often a file may be asked for: once, again if its sum was wrong, and both with attributes only.
const ASKED_MAX: u8 = 4;
/// The head of no sums: everything is sent as it is.
const NO_SUMS: [u8; 16] = [0; 16];

/// What the session needs to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// [`Sender::list`] of this file.
    Entry(usize),
    /// [`Sender::begin`] or [`Sender::withhold`] of this file.
    Begin(usize),
    /// [`Sender::data`] of this file, so many bytes at most.
    Data(usize, usize),
    /// [`Sender::finish`] of this file, if it has ended as it was listed.
    End(usize),
}

/// What the server has let us know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The greeting is over.
    Greeted,
    /// A file is wanted, or a round is done.
    Asked,
    /// The far end has this file.
    Confirmed(usize),
    /// Text for people; whether it is an error.
    Said(bool, Vec<u8>),
}

/// Where a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Listed,
    Asked,
    Sent,
    Withheld,
    Confirmed,
}

#[derive(Clone, Copy, Debug)]
struct File {
    size: u64,
    fate: Fate,
    asked: u8,
}

/// The file that is being sent.
struct Current {
    index: usize,
    left: u64,
    sum: Sum,
}

/// The session.
pub struct Sender {
    greeting: Greeting,
    frames: Frames,
    requests: Requests,
    outbox: Outbox,
    /// How many files there are to list.
    count: usize,
    list: List,
    files: Vec<File>,
    /// What was asked for and is not answered.
    queue: VecDeque<Item>,
    current: Option<Current>,
    indexes: Indexes,
    /// How often the server was done.
    rounds: u8,
    /// How often that was answered.
    answered: u8,
    /// The server gives up, with this code.
    exit: Option<i32>,
}

impl Sender {
    /// Of so many files.
    pub fn new(count: usize) -> Sender {
        let mut outbox = Outbox::default();
        outbox.raw(&greeting::PROTOCOL.to_le_bytes());
        Sender {
            greeting: Greeting::new(),
            frames: Frames::default(),
            requests: Requests::default(),
            outbox,
            count,
            list: List::default(),
            files: Vec::new(),
            queue: VecDeque::new(),
            current: None,
            indexes: Indexes::default(),
            rounds: 0,
            answered: 0,
            exit: None,
        }
    }

    /// What is to be written.
    pub fn outgoing(&self) -> &[u8] {
        self.outbox.waiting()
    }

    /// So many bytes of that were written.
    pub fn wrote(&mut self, len: usize) {
        self.outbox.wrote(len);
    }

    /// Whether the greeting is over.
    pub fn is_greeted(&self) -> bool {
        self.greeting.is_over()
    }

    /// Whether something came that is not rsync's; [`Sender::ended`] then says it.
    pub fn is_text(&self) -> bool {
        self.greeting.is_text()
    }

    /// Whether both sides have said goodbye.
    pub fn is_finished(&self) -> bool {
        self.answered >= 3 && self.rounds == self.rounds_max()
    }

    /// The code with which the server gave up in the middle.
    pub fn exit(&self) -> Option<i32> {
        self.exit
    }

    /// How often the server is done, the goodbye included.
    fn rounds_max(&self) -> u8 {
        if self.greeting.protocol() > greeting::OLDEST { 5 } else { 4 }
    }

    /// Takes what the server wrote; what it lets us know is appended to `events`, also when it is at fault in the end.
    pub fn receive(&mut self, mut bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        if !self.is_greeted() {
            self.greeting.take(&mut bytes, &mut self.outbox)?;
            if self.is_greeted() {
                self.list = List::new(self.greeting.has_varints());
                events.push(Event::Greeted);
            }
        }
        while let Some(piece) = self.frames.next(&mut bytes)? {
            match piece {
                Piece::Data(stream) => self.stream(stream, events)?,
                Piece::Success(index) => {
                    let index = self.confirm(index)?;
                    events.extend(index.map(Event::Confirmed));
                }
                Piece::Text(is_error, text) => events.push(Event::Said(is_error, text)),
                Piece::ErrorExit(code) => self.give_up(code),
                Piece::Nothing => (),
            }
        }
        Ok(())
    }

    /// The server's output has ended: what is wrong with that, if it was not rsync's.
    pub fn ended(&self) -> Option<Fault> {
        self.greeting.ended()
    }

    /// What the session needs now. Nothing while there is enough to write, or the server has to go on.
    pub fn need(&self) -> Option<Need> {
        if !self.is_greeted() || self.exit.is_some() || self.outgoing().len() >= ENOUGH {
            return None;
        }
        if self.files.len() < self.count {
            return Some(Need::Entry(self.files.len()));
        }
        match (&self.current, self.queue.front()) {
            (Some(Current { index, left: 0, .. }), _) => Some(Need::End(*index)),
            (Some(Current { index, left, .. }), _) => {
                Some(Need::Data(*index, usize::try_from(*left).unwrap_or(wire::RUN_MAX).min(wire::RUN_MAX)))
            }
            (None, Some(Item::Transfer(index, _))) => usize::try_from(*index).ok().map(Need::Begin),
            (None, _) => None,
        }
    }

    /// Lists the next file.
    pub fn list(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        self.list.put(entry, &mut bytes)?;
        self.files.push(File { size: entry.size, fate: Fate::Listed, asked: 0 });
        if self.files.len() == self.count {
            bytes.extend(self.list.end());
        }
        self.outbox.stream(&bytes);
        Ok(())
    }

    /// Begins with the file that is needed.
    pub fn begin(&mut self) {
        let Some((index, at, flags)) = self.take_wanted() else { return };
        self.attributes(index, flags);
        self.outbox.stream(&NO_SUMS);
        self.current = Some(Current { index: at, left: self.files[at].size, sum: Sum::new(self.greeting.sums()) });
    }

    /// Does not send the file that is needed.
    pub fn withhold(&mut self) {
        let Some((index, at, _)) = self.take_wanted() else { return };
        self.files[at].fate = Fate::Withheld;
        self.outbox.message(frames::NO_SEND, &index.to_le_bytes());
        self.answer();
    }

    /// The index of a file, and flags of what is to be done with it, less those of what does not follow.
    fn attributes(&mut self, index: i32, flags: u16) {
        let mut bytes = Vec::new();
        self.indexes.put(index, &mut bytes);
        bytes.extend((flags & !(HAS_BASIS | HAS_NAME)).to_le_bytes());
        self.outbox.stream(&bytes);
    }

    /// Index, place and flags of the file that is to be begun.
    fn take_wanted(&mut self) -> Option<(i32, usize, u16)> {
        match (&self.current, self.queue.front()) {
            (None, Some(&Item::Transfer(index, flags))) => {
                self.queue.pop_front();
                Some((index, usize::try_from(index).ok()?, flags))
            }
            _ => None,
        }
    }

    /// Sends bytes of the current file: no more than are needed.
    pub fn data(&mut self, bytes: &[u8]) {
        let Some(current) = &mut self.current else { return };
        debug_assert!(bytes.len() as u64 <= current.left && bytes.len() <= wire::RUN_MAX);
        current.left -= bytes.len() as u64;
        current.sum.update(bytes);
        if !bytes.is_empty() {
            self.outbox.stream(&(bytes.len() as u32).to_le_bytes());
            self.outbox.stream(bytes);
        }
    }

    /// Ends the current file, which makes it valid at the far end.
    pub fn finish(&mut self) {
        let Some(current) = self.current.take() else { return };
        self.outbox.stream(&0_u32.to_le_bytes());
        self.outbox.stream(&current.sum.finish());
        self.files[current.index].fate = Fate::Sent;
        self.answer();
    }

    /// Shows a server that waits that we are here. Nothing while something waits to be written.
    pub fn keep_alive(&mut self) {
        if self.is_greeted() && self.outgoing().is_empty() {
            self.outbox.message(0, &[]);
        }
    }

    /// Takes more of the server's stream.
    fn stream(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Fault> {
        self.requests.push(bytes);
        while let Some(item) = self.requests.next()? {
            self.ask(item)?;
            events.push(Event::Asked);
        }
        Ok(())
    }

    /// The server wants something.
    fn ask(&mut self, item: Item) -> Result<(), Fault> {
        if self.rounds >= self.rounds_max() {
            return Err(Fault::AfterGoodbye);
        }
        if self.files.len() < self.count {
            return Err(Fault::OutOfTurn);
        }
        match item {
            Item::Done => self.rounds += 1,
            // The first round is for files, the second for those whose sum was wrong.
            Item::Transfer(..) | Item::Echo(..) if self.rounds >= 2 => return Err(Fault::OutOfTurn),
            Item::Transfer(index, _) | Item::Echo(index, _) => {
                let at = self.file(index).ok_or(Fault::Index(Some(index)))?;
                let file = &mut self.files[at];
                if file.asked >= ASKED_MAX || matches!(file.fate, Fate::Asked | Fate::Confirmed) {
                    return Err(Fault::AskedTooOften(at));
                }
                file.asked += 1;
                if matches!(item, Item::Transfer(..)) {
                    file.fate = Fate::Asked;
                }
            }
        }
        self.queue.push_back(item);
        self.answer();
        Ok(())
    }

    /// Answers what needs no file, up to what does.
    fn answer(&mut self) {
        while self.current.is_none() {
            match self.queue.front() {
                Some(Item::Done) => {
                    self.answered += 1;
                    // To the last there is no answer.
                    if self.answered < self.rounds_max() {
                        self.outbox.stream(&[wire::DONE]);
                    }
                }
                Some(&Item::Echo(index, flags)) => self.attributes(index, flags),
                Some(Item::Transfer(..)) | None => return,
            }
            self.queue.pop_front();
        }
    }

    /// A file is in place, unless it cannot be: what was asked for and not sent is not.
    fn confirm(&mut self, index: i32) -> Result<Option<usize>, Fault> {
        let at = self.file(index).ok_or(Fault::ConfirmedUnlisted(index))?;
        let is_listed = self.files.len() == self.count;
        let file = &mut self.files[at];
        match file.fate {
            Fate::Listed | Fate::Sent if is_listed => {
                file.fate = Fate::Confirmed;
                Ok(Some(at))
            }
            Fate::Confirmed => Ok(None),
            Fate::Listed | Fate::Sent | Fate::Asked | Fate::Withheld => Err(Fault::Confirmed(at)),
        }
    }

    fn file(&self, index: i32) -> Option<usize> {
        usize::try_from(index).ok().filter(|at| *at < self.files.len())
    }

    fn give_up(&mut self, code: Option<i32>) {
        if self.exit.is_none() && code.is_some() {
            self.exit = code;
            // It waits for us to agree. Protocol 30 has no such message.
            if self.greeting.protocol() > greeting::OLDEST {
                self.outbox.message(frames::ERROR_EXIT, &[]);
            }
        }
    }
}
