//! A program of this machine as the far end, or as the way there.

use super::{Ending, Pipe};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Child, ExitStatus},
    thread,
    time::Duration,
};

/// Who can tell how a program ended, and ends it when dropped.
pub trait Holder {
    /// How it ended; [`io::ErrorKind::WouldBlock`] while it has not.
    fn ending(&mut self) -> io::Result<Ending>;
}

/// The standard streams of a program.
pub struct Process<'h> {
    input: Option<File>,
    output: Option<File>,
    error: Option<File>,
    holder: Box<dyn Holder + 'h>,
}

impl<'h> Process<'h> {
    /// A child whose standard streams are pipes. It is killed when this is dropped.
    pub fn new(mut child: Child) -> io::Result<Process<'h>> {
        let ends = ends(&mut child);
        let holder = Box::new(Killed(child));
        Ok(Process::over(ends?, holder))
    }

    /// Over the three streams of a program that another process holds; see [`ends`].
    pub(super) fn over([input, output, error]: [OwnedFd; 3], holder: Box<dyn Holder + 'h>) -> Process<'h> {
        Process { input: Some(input.into()), output: Some(output.into()), error: Some(error.into()), holder }
    }
}

/// Our ends of a child's standard streams, which must be pipes, made not to wait.
pub(super) fn ends(child: &mut Child) -> io::Result<[OwnedFd; 3]> {
    let (Some(input), Some(output), Some(error)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(io::Error::other("its standard streams are no pipes"));
    };
    let ends = [input.into(), output.into(), error.into()];
    ends.iter().try_for_each(do_not_wait)?;
    Ok(ends)
}

fn do_not_wait(end: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
    fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

impl Pipe for Process<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(&mut self.output, buffer)
    }

    fn read_error(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read(&mut self.error, buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.input {
            Some(input) => input.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn close_input(&mut self) -> io::Result<()> {
        self.input = None;
        Ok(())
    }

    fn ending(&mut self) -> io::Result<Ending> {
        self.holder.ending()
    }

    fn wait(&mut self, to_write: bool, limit: Duration) -> io::Result<()> {
        let input = self.input.as_ref().filter(|_| to_write).map(|input| (input.as_fd(), PollFlags::POLLOUT));
        let outputs =
            [&self.output, &self.error].into_iter().flatten().map(|output| (output.as_fd(), PollFlags::POLLIN));
        let mut polled: Vec<_> = outputs.chain(input).map(|(end, flags)| PollFd::new(end, flags)).collect();
        if polled.is_empty() {
            // It has only to end.
            thread::sleep(limit);
            return Ok(());
        }
        match poll(&mut polled, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads; after the end it is closed, so that nobody waits for it.
fn read(from: &mut Option<File>, buffer: &mut [u8]) -> io::Result<usize> {
    let Some(file) = from else { return Ok(0) };
    let len = file.read(buffer)?;
    if len == 0 && !buffer.is_empty() {
        *from = None;
    }
    Ok(len)
}

/// A child that does not outlive this.
pub(super) struct Killed(pub(super) Child);

impl Killed {
    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<Ending>> {
        Ok(self.0.try_wait()?.map(ending))
    }
}

impl Holder for Killed {
    fn ending(&mut self) -> io::Result<Ending> {
        self.ended()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has ended is not killed, only reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a program ended.
fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Code(code),
        (None, Some(signal)) => Ending::Signal(match Signal::try_from(signal) {
            Ok(signal) => signal.as_str().trim_start_matches("SIG").to_owned(),
            Err(_) => signal.to_string(),
        }),
        (None, None) => Ending::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn shell(script: &str) -> Process<'static> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Process::new(command.spawn().unwrap()).unwrap()
    }

    /// Everything it says, until it has ended.
    fn listen(process: &mut Process<'_>) -> (Vec<u8>, Vec<u8>, Ending) {
        let (mut said, mut buffer) = ([Vec::new(), Vec::new()], [0; 1000]);
        let mut open = [true, true];
        while open.contains(&true) {
            process.wait(false, Duration::from_secs(5)).unwrap();
            for stream in 0..2 {
                let read = if stream == 0 { process.read(&mut buffer) } else { process.read_error(&mut buffer) };
                match read {
                    Ok(len) => {
                        said[stream].extend(&buffer[..len]);
                        open[stream] = len > 0;
                    }
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        }
        loop {
            match process.ending() {
                Ok(ending) => {
                    let [output, error] = said;
                    return (output, error, ending);
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    #[test]
    fn both_outputs_and_the_ending_arrive() {
        let mut process = shell("cat; echo no >&2; exit 3");
        assert_eq!(process.write(b"hello").unwrap(), 5);
        process.close_input().unwrap();
        let (output, error, ending) = listen(&mut process);
        assert_eq!((&output[..], &error[..], ending), (&b"hello"[..], &b"no\n"[..], Ending::Code(3)));
        assert!(process.write(b"x").is_err());
    }

    #[test]
    fn a_signal_is_named() {
        assert_eq!(listen(&mut shell("kill -TERM $$")).2, Ending::Signal("TERM".to_owned()));
    }

    #[test]
    fn a_pipe_that_is_full_does_not_hold_us_up() {
        let mut process = shell("exec sleep 60");
        let written = loop {
            if let Err(error) = process.write(&[0; 65_536]) {
                break error.kind();
            }
        };
        assert_eq!(written, io::ErrorKind::WouldBlock);
        process.wait(true, Duration::from_millis(10)).unwrap();
    }
}
