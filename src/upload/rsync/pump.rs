//! Moves bytes between the remote command, the files and the protocol, and watches the time.

use super::{
    fault::Fault,
    hearing::{self, Hearing},
    list::{self, Entry},
    sender::{Event, Need, Sender},
    wire::RUN_MAX,
};
use crate::upload::{Attendant, Ending, Failure, Outgoing, Pipe, Step, TURN, Turn, one_line};
use std::{
    io::{self, ErrorKind, Read, Seek},
    time::Duration,
};

/// From the start until the greeting is over.
const GREETING: Duration = Duration::from_secs(15);
/// Without a byte in either direction, our signs of life aside.
const IDLE: Duration = Duration::from_secs(10);
/// Without progress, whatever signs of life the server gives. Long enough for what waits in buffers on a slow line.
const PROGRESS: Duration = Duration::from_secs(120);
/// So many bytes written are progress. Less in that time is no upload.
const PROGRESS_BYTES: usize = 16 << 10;
/// After so long without a word from us we give a sign of life; old servers wait no longer than ten seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Text that is not rsync's may go on for so long before it is reported.
const TEXT: Duration = Duration::from_secs(1);
/// For the command to end, once both sides are done.
const END: Duration = Duration::from_secs(10);
/// While the rate limit is waited for.
const HELD_BACK: Duration = Duration::from_millis(100);
/// While the end of the command is.
const SHORT: Duration = Duration::from_millis(20);
/// What is read at a time.
const READ: usize = 64 << 10;

/// Sends files through the remote command of [`command`](super::command): tells the attendant of each file once that it
/// was confirmed, or why not; of those that had not begun when it cut the batch short, nothing. An error if the session
/// did not come to its end; files may have been confirmed all the same. The files must be in the order of their names'
/// bytes.
pub fn send(pipe: &mut dyn Pipe, files: &mut [Outgoing], attendant: &mut dyn Attendant) -> Result<(), Failure> {
    if files.is_empty() {
        return Ok(());
    }
    let is_sorted = files.is_sorted_by(|one, next| one.name().as_bytes() < next.name().as_bytes());
    let fault = match files.iter().try_for_each(|file| list::check_name(file.name())) {
        Ok(()) if is_sorted => None,
        Ok(()) => Some(Fault::List("the files are not in the order of their names".to_owned())),
        Err(fault) => Some(fault),
    };
    let mut pump = Pump::new(pipe, files, attendant);
    if let Some(fault) = fault {
        pump.problem = Some(fault.to_string());
        return pump.conclude(None);
    }
    let ending = pump.run();
    pump.conclude(ending)
}

struct Pump<'a> {
    pipe: &'a mut dyn Pipe,
    files: &'a mut [Outgoing],
    attendant: &'a mut dyn Attendant,
    sender: Sender,
    hearing: Hearing,
    events: Vec<Event>,
    buffer: Vec<u8>,
    /// Whether the attendant was told of each file.
    settled: Vec<bool>,
    /// The first thing that went wrong. From then on nothing is sent.
    problem: Option<String>,
    /// Whether what the server says is understood no more.
    is_lost: bool,
    /// Whether the pipe is of no use any more.
    is_broken: bool,
    /// Why the server takes nothing more; it may say so itself.
    write_error: Option<String>,
    input: bool,
    output: bool,
    error: bool,
    /// Whether files that were not begun are not to be.
    is_cut_short: bool,
    /// Whether nothing is sent because of the rate limit alone.
    is_held_back: bool,
    times: Times,
}

/// When what happened last.
struct Times {
    start: Duration,
    /// A byte, of the server's or of files.
    byte: Duration,
    /// A word of ours.
    word: Duration,
    progress: Duration,
    /// Bytes written since.
    bytes: usize,
    /// When text came first that is not rsync's.
    text: Option<Duration>,
    /// When the command must have ended.
    end_by: Option<Duration>,
}

impl<'a> Pump<'a> {
    fn new(pipe: &'a mut dyn Pipe, files: &'a mut [Outgoing], attendant: &'a mut dyn Attendant) -> Pump<'a> {
        let now = attendant.now();
        Pump {
            sender: Sender::new(files.len()),
            hearing: Hearing::default(),
            events: Vec::new(),
            buffer: vec![0; READ],
            settled: vec![false; files.len()],
            problem: None,
            is_lost: false,
            is_broken: false,
            write_error: None,
            input: true,
            output: true,
            error: true,
            is_cut_short: false,
            is_held_back: false,
            times: Times { start: now, byte: now, word: now, progress: now, bytes: 0, text: None, end_by: None },
            pipe,
            files,
            attendant,
        }
    }

    /// Until the command has ended, or is not waited for any more.
    fn run(&mut self) -> Option<Ending> {
        loop {
            match self.attendant.turn() {
                Turn::GoOn => self.is_cut_short = false,
                Turn::CutShort => self.is_cut_short = true,
                Turn::Leave => {
                    self.problem.get_or_insert_with(|| "the sensor is to stop".to_owned());
                    return None;
                }
            }
            let heard = self.hear_output() | self.hear_error();
            let spoke = self.speak();
            if !self.output && !self.error {
                return self.end();
            }
            if self.is_broken || self.is_overdue() {
                return None;
            }
            if !heard && !spoke {
                self.wait(if self.is_held_back { HELD_BACK } else { TURN });
            }
        }
    }

    fn wait(&mut self, limit: Duration) {
        let to_write = self.input && !self.sender.outgoing().is_empty();
        if let Err(error) = self.pipe.wait(to_write, limit)
            && error.kind() != ErrorKind::Interrupted
        {
            self.break_off("cannot wait for the server", &error);
        }
    }

    /// The pipe is of no use any more.
    fn break_off(&mut self, what: &str, error: &io::Error) {
        self.problem.get_or_insert_with(|| format!("{what}: {error}"));
        self.is_broken = true;
    }

    /// Reads standard output; whether there was any.
    fn hear_output(&mut self) -> bool {
        if !self.output {
            return false;
        }
        let len = match self.pipe.read(&mut self.buffer) {
            Ok(0) => {
                self.output = false;
                // What holds the other stream open now is not rsync.
                self.end_soon();
                if let Some(fault) = self.sender.ended() {
                    self.fault(&fault);
                }
                return true;
            }
            Ok(len) => len.min(self.buffer.len()),
            Err(error) if is_for_later(&error) => return false,
            Err(error) => {
                self.break_off("cannot read what the server says", &error);
                return false;
            }
        };
        self.times.byte = self.attendant.now();
        if self.is_lost {
            return true;
        }
        let received = self.sender.receive(&self.buffer[..len], &mut self.events);
        let mut events = std::mem::take(&mut self.events);
        events.drain(..).for_each(|event| self.event(event));
        self.events = events;
        if let Err(fault) = received {
            self.fault(&fault);
        }
        true
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Greeted | Event::Asked => self.progress(),
            Event::Confirmed(index) => {
                self.progress();
                if !std::mem::replace(&mut self.settled[index], true) {
                    self.attendant.confirmed(index);
                }
            }
            Event::Said(is_error, text) => {
                let lines = self.hearing.message(is_error, &text, self.files);
                lines.iter().for_each(|line| self.attendant.heard(line));
            }
        }
    }

    fn progress(&mut self) {
        (self.times.progress, self.times.bytes) = (self.times.byte, 0);
    }

    fn fault(&mut self, fault: &Fault) {
        self.is_lost = true;
        self.problem.get_or_insert_with(|| one_line(&fault.to_string()));
    }

    /// Reads standard error; whether there was any.
    fn hear_error(&mut self) -> bool {
        if !self.error {
            return false;
        }
        let lines = match self.pipe.read_error(&mut self.buffer) {
            Ok(0) => {
                self.error = false;
                self.hearing.end_of_error(self.files).into_iter().collect()
            }
            Ok(len) => {
                self.times.byte = self.attendant.now();
                self.hearing.standard_error(&self.buffer[..len.min(READ)], self.files)
            }
            Err(error) if is_for_later(&error) => return false,
            Err(error) => {
                self.break_off("cannot read the server's errors", &error);
                return false;
            }
        };
        lines.iter().for_each(|line| self.attendant.heard(line));
        true
    }

    /// Writes what there is to write; whether any was.
    fn speak(&mut self) -> bool {
        self.is_held_back = false;
        if !self.input {
            return false;
        }
        if self.problem.is_none() {
            self.fill();
        }
        // It may have become one just now; then what waits is not for the server any more.
        if self.problem.is_some() {
            return self.close();
        }
        if self.sender.outgoing().is_empty() {
            if self.sender.is_finished() || self.sender.exit().is_some() {
                return self.close();
            }
            if self.attendant.now().saturating_sub(self.times.word) >= KEEP_ALIVE {
                self.sender.keep_alive();
                return self.write(true);
            }
        }
        self.write(false)
    }

    /// Writes what waits; whether any was. Signs of life do not show that the server takes something.
    fn write(&mut self, is_sign_of_life: bool) -> bool {
        let mut wrote = false;
        while !self.sender.outgoing().is_empty() {
            match self.pipe.write(self.sender.outgoing()) {
                Ok(0) => break,
                Ok(len) => {
                    self.sender.wrote(len);
                    wrote = true;
                    self.wrote(len, is_sign_of_life);
                }
                Err(error) if is_for_later(&error) => break,
                Err(error) => {
                    self.write_error = Some(format!("the server takes nothing more: {error}"));
                    self.input = false;
                    self.end_soon();
                    return true;
                }
            }
        }
        wrote
    }

    fn wrote(&mut self, len: usize, is_sign_of_life: bool) {
        let now = self.attendant.now();
        self.times.word = now;
        if is_sign_of_life {
            return;
        }
        self.times.byte = now;
        self.times.bytes += len;
        if self.times.bytes >= PROGRESS_BYTES {
            (self.times.progress, self.times.bytes) = (now, 0);
        }
    }

    /// Ends the command's input; whether that is done.
    fn close(&mut self) -> bool {
        self.end_soon();
        match self.pipe.close_input() {
            Err(error) if is_for_later(&error) => false,
            // One that failed is closed as well.
            _ => {
                self.input = false;
                true
            }
        }
    }

    fn end_soon(&mut self) {
        let by = self.attendant.now() + END;
        self.times.end_by.get_or_insert(by);
    }

    /// Gives the session what it needs of the files.
    fn fill(&mut self) {
        while self.problem.is_none() {
            let Some(need) = self.sender.need() else { return };
            let is_done = match need {
                Need::Entry(index) => self.list(index),
                Need::Begin(index) => self.begin(index),
                Need::Data(index, len) => self.data(index, len),
                Need::End(index) => self.finish(index),
            };
            if !is_done {
                self.is_held_back = self.sender.outgoing().is_empty();
                return;
            }
        }
    }

    fn list(&mut self, index: usize) -> bool {
        let file = &self.files[index];
        let entry = Entry { name: file.name(), size: file.size(), modified: file.modified(), mode: file.mode() };
        if let Err(fault) = self.sender.list(&entry) {
            self.fault(&fault);
        }
        true
    }

    /// Begins a file, or does not send it; false if the rate limit allows neither.
    fn begin(&mut self, index: usize) -> bool {
        if self.is_cut_short {
            self.sender.withhold();
            self.settled[index] = true;
            return true;
        }
        let file = &mut self.files[index];
        let why_not = match () {
            () if !file.is_unchanged() => Some("changed since it was listed".to_owned()),
            () if file.path().symlink_metadata().is_err() => Some("not there any more".to_owned()),
            () => None,
        };
        let allowed = self.attendant.allowance();
        if why_not.is_none() && file.size() > 0 && allowed == 0 {
            return false;
        }
        let first = match why_not {
            Some(reason) => Err(reason),
            None => file.file().rewind().map_err(|error| format!("cannot be read: {error}")),
        };
        match first.and_then(|()| self.read(index, RUN_MAX.min(allowed))) {
            Ok(len) => {
                self.sender.begin();
                self.sent(len);
            }
            Err(reason) => {
                self.sender.withhold();
                self.fail(index, reason);
            }
        }
        true
    }

    /// Sends more of a file; false if the rate limit does not allow it.
    fn data(&mut self, index: usize, len: usize) -> bool {
        let allowed = self.attendant.allowance();
        if allowed == 0 {
            return false;
        }
        match self.read(index, len.min(allowed)) {
            Ok(len) => self.sent(len),
            Err(reason) => self.abandon(index, &reason),
        }
        true
    }

    /// What was read into the buffer goes out.
    fn sent(&mut self, len: usize) {
        self.sender.data(&self.buffer[..len]);
        self.attendant.sent(len);
    }

    /// Reads at most so many bytes of a file into the buffer; none only of an empty one.
    fn read(&mut self, index: usize, len: usize) -> Result<usize, String> {
        let file = &mut self.files[index];
        let size = usize::try_from(file.size()).unwrap_or(usize::MAX);
        if size == 0 {
            return Ok(0);
        }
        let len = len.min(size).min(READ);
        loop {
            match file.file().read(&mut self.buffer[..len]) {
                Ok(0) => return Err("shorter than it was".to_owned()),
                Ok(len) => return Ok(len),
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(format!("cannot be read: {error}")),
            }
        }
    }

    /// Makes a file valid at the far end, if all of it was sent and it is still the same.
    fn finish(&mut self, index: usize) -> bool {
        let file = &mut self.files[index];
        match file.file().read(&mut [0]) {
            Ok(0) if file.is_unchanged() => self.sender.finish(),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => self.abandon(index, &format!("cannot be read: {error}")),
            Ok(_) => self.abandon(index, "changed while it was sent"),
        }
        true
    }

    /// Nothing more can be sent behind half a file.
    fn abandon(&mut self, index: usize, reason: &str) {
        self.problem = Some(one_line(&format!("{}: {reason}", self.files[index].name())));
        self.fail(index, reason.to_owned());
    }

    fn fail(&mut self, index: usize, reason: String) {
        if !std::mem::replace(&mut self.settled[index], true) {
            self.attendant.failed(index, one_line(&reason));
        }
    }

    /// Whether the server has had its time.
    fn is_overdue(&mut self) -> bool {
        let (now, times) = (self.attendant.now(), &mut self.times);
        if self.is_held_back {
            (times.byte, times.progress) = (now, now);
        }
        if self.sender.is_text() && !self.is_lost && now.saturating_sub(*times.text.get_or_insert(now)) >= TEXT {
            if let Some(fault) = self.sender.ended() {
                self.fault(&fault);
            }
            return false;
        }
        let seconds = |limit: Duration| limit.as_secs();
        let problem = match self.times {
            Times { end_by: Some(by), .. } if now >= by => "the remote command does not end".to_owned(),
            Times { end_by: Some(_), .. } => return false,
            Times { start, .. } if !self.sender.is_greeted() => match now.saturating_sub(start) >= GREETING {
                true => format!("no greeting of an rsync within {} s", seconds(GREETING)),
                false => return false,
            },
            Times { byte, .. } if now.saturating_sub(byte) >= IDLE => {
                format!("nothing from or to the server for {} s", seconds(IDLE))
            }
            Times { progress, .. } if now.saturating_sub(progress) >= PROGRESS => {
                format!("no progress for {} s", seconds(PROGRESS))
            }
            _ => return false,
        };
        self.problem.get_or_insert(problem);
        true
    }

    /// How the command ended, both of whose outputs have.
    fn end(&mut self) -> Option<Ending> {
        self.end_soon();
        loop {
            if self.input && !self.close() {
                self.wait(SHORT);
            }
            match self.pipe.ending() {
                Ok(ending) => return Some(ending),
                Err(error) if is_for_later(&error) => self.wait(SHORT),
                Err(error) => self.break_off("cannot learn how the remote command ended", &error),
            }
            if self.is_broken || self.is_overdue() || self.attendant.turn() == Turn::Leave {
                return None;
            }
        }
    }

    /// Says of every file what became of it, and of the session.
    fn conclude(mut self, ending: Option<Ending>) -> Result<(), Failure> {
        let is_complete = self.sender.is_finished() && self.problem.is_none();
        let said = |ending: &Ending| match (ending, self.sender.exit()) {
            (Ending::Unknown, Some(code)) => self.hearing.of_session(&Ending::Code(code)),
            _ => self.hearing.of_session(ending),
        };
        let how = ending.clone().unwrap_or(Ending::Unknown);
        let reason = self.problem.clone().or_else(|| said(&how)).or_else(|| self.write_error.clone());
        let reason = reason.unwrap_or_else(|| "the remote command ended before it was done".to_owned());
        for index in 0..self.files.len() {
            if !self.settled[index] {
                let reason = match self.hearing.said_of(index) {
                    Some(said) => said.to_owned(),
                    None if is_complete => self.hearing.of_file(index, &how),
                    None => reason.clone(),
                };
                self.fail(index, reason);
            }
        }
        if is_complete {
            if let Some(line) = hearing::in_words(&how) {
                self.attendant.heard(&line);
            }
            return Ok(());
        }
        let step = if self.sender.is_greeted() { Step::Transfer } else { Step::Command };
        Err(Failure { keeps_connection: ending.is_some(), ..Failure::new(step, reason) })
    }
}

/// Whether an error only says that nothing can be done now.
fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
