//! Files to a server by SFTP, into any directory where OpenSSH's `internal-sftp` lets us write.
//!
//! A file has its name only when all of it is there: it is written under a hidden name beside it, synced, measured and
//! renamed. SFTP renames onto nothing that exists. What has the name already is either this file, of which the
//! confirmation was lost, or is removed first; so there may be a moment with nothing of that name, and never one with
//! half a file.

mod remote;

pub(super) use remote::Subsystem;

use super::{Attendant, Failure, Outgoing, Step, Turn, ssh::Connection};
use crate::escape::Escaped;
use remote::{Remote, Status};
use std::{
    io::{self, Read, Seek, Write},
    time::Duration,
};

/// The server may have so much of a file before it has said anything of it. 64 MiB at once over loopback: 120 MB/s with
/// 32 KiB, 231 MB/s with this, 144 MB/s with 4 MiB.
const AHEAD: usize = 256 << 10;

/// Between two looks at how many bytes may be sent.
const PAUSE: Duration = Duration::from_millis(50);

/// What all hidden names end in.
const SUFFIX: &str = ".sie-part";

/// A hidden file so old (s) is nobody's any more.
const LEFT_BEHIND: u64 = 24 * 60 * 60;

/// So many names are looked at for those, and so many of them are removed.
const SWEEP_NAMES: usize = 100_000;
const SWEEP_REMOVES: usize = 1000;

/// So long, too: files may wait.
const SWEEP_TIME: Duration = Duration::from_secs(10);

/// Sends files to `remote_dir`, whose last component is made if it is missing. Each file is confirmed or has failed
/// afterwards, but for those that had not begun when the attendant cut the batch short.
pub fn send(
    connection: &mut Connection,
    remote_dir: &str,
    files: &mut [Outgoing],
    attendant: &mut dyn Attendant,
) -> Result<(), Failure> {
    let mut begun = 0;
    let result = send_all(connection, remote_dir, files, &mut begun, attendant);
    if let Err(failure) = &result {
        (begun..files.len()).for_each(|index| attendant.failed(index, failure.reason.clone()));
    }
    result
}

/// Whether files could be sent, as far as can be seen without sending any.
pub fn probe(connection: &mut Connection, remote_dir: &str, attendant: &mut dyn Attendant) -> Result<String, Failure> {
    let mut remote = Remote::open(connection, attendant)?;
    let directory = remote_dir.strip_suffix('/').filter(|directory| !directory.is_empty()).unwrap_or(remote_dir);
    let mut look = |at: &str| remote.ask("a look at the directory", |sftp| sftp.stat(at.as_ref()));
    let found = look(directory)?;
    let above = above(directory);
    // Only the last one is made.
    let is_above = match (&found, above) {
        (Err(status), Some(above)) if status.is_no_such_file() => look(above)?.map(|found| found.is_dir()),
        _ => Ok(true),
    };
    remote.keep();
    let shown = Escaped(directory);
    let nowhere = |why: &dyn std::fmt::Display| {
        let above = Escaped(above.unwrap_or_default());
        Failure::new(Step::Command, format!("cannot make {shown} at the server: {above}: {why}"))
    };
    match is_above {
        Ok(true) => {}
        Ok(false) => return Err(nowhere(&"no directory")),
        Err(status) => return Err(nowhere(&status)),
    }
    match found {
        Ok(found) if found.is_dir() => Ok(format!("sftp, {shown}")),
        Ok(_) => Err(Failure::new(Step::Command, format!("{shown} at the server is no directory"))),
        Err(status) if status.is_no_such_file() => Ok(format!("sftp, {shown} will be made with the first file")),
        Err(status) => Err(Failure::new(Step::Command, format!("{shown} at the server: {status}"))),
    }
}

/// The directory above one, if its path names any.
fn above(directory: &str) -> Option<&str> {
    let (above, _) = directory.trim_end_matches('/').rsplit_once('/')?;
    Some(if above.is_empty() { "/" } else { above })
}

/// Leaves in `done` how many files have been told of.
fn send_all(
    connection: &mut Connection,
    remote_dir: &str,
    files: &mut [Outgoing],
    done: &mut usize,
    attendant: &mut dyn Attendant,
) -> Result<(), Failure> {
    let mut remote = Remote::open(connection, attendant)?;
    let directory = remote_dir.strip_suffix('/').filter(|directory| !directory.is_empty()).unwrap_or(remote_dir);
    let mut server_time = None;
    let mut result = Ok(());
    for (index, file) in files.iter_mut().enumerate() {
        match remote.attendant.turn() {
            Turn::GoOn => {}
            Turn::CutShort => break,
            Turn::Leave => return Err(remote.leave()),
        }
        match send_one(&mut remote, directory, file) {
            Ok(modified) => {
                server_time = server_time.max(modified);
                remote.attendant.confirmed(index);
            }
            Err(Trouble::File(reason)) => remote.attendant.failed(index, reason),
            Err(Trouble::Directory(reason)) => {
                result = Err(Failure::new(Step::Transfer, reason).keeping_connection());
                break;
            }
            Err(Trouble::Lost(failure)) => return Err(failure),
        }
        *done = index + 1;
    }
    if let Some(server_time) = server_time
        && !remote.is_swept()
    {
        sweep(&mut remote, directory, server_time)?;
    }
    remote.keep();
    result
}

/// Why a file was not sent.
enum Trouble {
    /// Something is wrong with it alone.
    File(String),
    /// No other file can be sent either.
    Directory(String),
    /// The connection is of no use any more.
    Lost(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Lost(failure)
    }
}

/// When it was written, by the server's clock.
fn send_one(remote: &mut Remote, directory: &str, file: &mut Outgoing) -> Result<Option<u64>, Trouble> {
    let target = join(directory, file.name());
    let temporary = join(directory, &hidden_name(file.name())?);
    let mut written = create(remote, directory, &temporary, &target, file.mode())?;
    let result = match fill(remote, &target, &mut written, file) {
        Err(Trouble::Lost(failure)) => return Err(Trouble::Lost(failure)),
        result => result,
    };
    let closed = remote.ask("the end of a file", |_| written.close())?;
    let result = result.and_then(|modified| match closed {
        Ok(()) => publish(remote, &temporary, &target, file).map(|()| modified),
        Err(status) => Err(Trouble::File(format!("cannot write {}: {status}", Escaped(&target)))),
    });
    if let Err(Trouble::File(_) | Trouble::Directory(_)) = &result {
        // If that is refused, a later connection removes it.
        let _ = remote.ask("a removal", |sftp| sftp.unlink(temporary.as_ref()))?;
    }
    result
}

/// Creates the hidden file. Messages have the name that it will get, here and below: the other is found nowhere afterwards,
/// and would make of each try another failure.
fn create(
    remote: &mut Remote,
    directory: &str,
    temporary: &str,
    target: &str,
    mode: u32,
) -> Result<ssh2::File, Trouble> {
    let cannot = |status: Status| format!("cannot create {}: {status}", Escaped(target));
    let mode = mode & 0o777 | 0o600;
    match remote.create(temporary, mode)? {
        Ok(written) => return Ok(written),
        Err(status) if status.is_no_such_file() => {}
        Err(status) if status.is_denied() => return Err(Trouble::Directory(cannot(status))),
        Err(status) => return Err(Trouble::File(cannot(status))),
    }
    let made = remote.ask("a new directory", |sftp| sftp.mkdir(directory.as_ref(), 0o777))?;
    remote.create(temporary, mode)?.map_err(|status| {
        Trouble::Directory(match made {
            Err(status) => format!("cannot make the directory {}: {status}", Escaped(directory)),
            Ok(()) => cannot(status),
        })
    })
}

/// Writes, syncs and measures.
fn fill(
    remote: &mut Remote,
    target: &str,
    written: &mut ssh2::File,
    file: &mut Outgoing,
) -> Result<Option<u64>, Trouble> {
    let cannot = |what: &str, status: &dyn std::fmt::Display| format!("cannot {what} {}: {status}", Escaped(target));
    copy(remote, target, written, file)?;
    remote.sync(written)?.map_err(|status| Trouble::File(cannot("sync", &status)))?;
    let there = remote.ask("the size of a file", |_| written.stat())?;
    let there = there.map_err(|status| Trouble::File(cannot("measure", &status)))?;
    if there.size != Some(file.size()) {
        let size = there.size.map_or("no size".to_owned(), |size| format!("{size} bytes"));
        return Err(Trouble::File(cannot("write", &format!("of {} bytes it has {size}", file.size()))));
    }
    if !file.is_unchanged() {
        return Err(changed());
    }
    Ok(there.mtime)
}

fn copy(remote: &mut Remote, target: &str, written: &mut ssh2::File, file: &mut Outgoing) -> Result<(), Trouble> {
    let unread = |error: io::Error| Trouble::File(format!("cannot read it: {error}"));
    file.file().rewind().map_err(unread)?;
    // Read and not yet confirmed; libssh2 is to be given all of that again each time, and skips what it has sent.
    let mut ahead = Vec::with_capacity(AHEAD);
    let mut left = file.size();
    while left > 0 || !ahead.is_empty() {
        let room = (AHEAD - ahead.len()).min(usize::try_from(left).unwrap_or(usize::MAX));
        let may = if room == 0 { 0 } else { room.min(remote.attendant.allowance()) };
        if may > 0 {
            let read = file.file().take(may as u64).read_to_end(&mut ahead).map_err(unread)?;
            if read == 0 {
                return Err(changed());
            }
            left -= read as u64;
            remote.attendant.sent(read);
        }
        if ahead.is_empty() {
            remote.pause(PAUSE)?;
            continue;
        }
        match remote.transfer("the receipt of data", || accepted(written.write(&ahead)))? {
            Ok(length) => drop(ahead.drain(..length.min(ahead.len()))),
            Err(error) => {
                let reason = format!("cannot write {}: {error}", Escaped(target));
                let space = remote.ask("the free space", |_| written.statvfs())?;
                return Err(match space {
                    Ok(space) if space.f_bavail.saturating_mul(space.f_frsize) < AHEAD as u64 => {
                        Trouble::Directory(format!("{reason}: no space left there"))
                    }
                    _ => Trouble::File(reason),
                });
            }
        }
    }
    Ok(())
}

/// libssh2 says 0 where nothing is confirmed yet.
fn accepted(result: io::Result<usize>) -> io::Result<usize> {
    result.and_then(|length| if length == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(length) })
}

/// Gives it its name.
fn publish(remote: &mut Remote, temporary: &str, target: &str, file: &mut Outgoing) -> Result<(), Trouble> {
    let cannot = |what: &str, status: Status| Trouble::File(format!("cannot {what} {}: {status}", Escaped(target)));
    let refused = match remote.rename(temporary, target)? {
        Ok(()) => return Ok(()),
        Err(status) => status,
    };
    let there = match remote.ask("a look at a file", |sftp| sftp.lstat(target.as_ref()))? {
        Ok(there) => there,
        // Nothing has that name; it was refused for another reason.
        Err(_) => return Err(cannot("rename to", refused)),
    };
    if !there.is_file() {
        return Err(Trouble::File(format!("{} is there and no file", Escaped(target))));
    }
    if there.size == Some(file.size()) && is_equal(remote, target, file)? {
        let _ = remote.ask("a removal", |sftp| sftp.unlink(temporary.as_ref()))?;
        return Ok(());
    }
    let removed = remote.ask("a removal", |sftp| sftp.unlink(target.as_ref()))?;
    removed.map_err(|status| cannot("replace", status))?;
    remote.rename(temporary, target)?.map_err(|status| cannot("rename to", status))
}

/// Whether the server's file has the contents of ours, which is of the same size.
fn is_equal(remote: &mut Remote, target: &str, file: &mut Outgoing) -> Result<bool, Trouble> {
    let unread = |error: io::Error| Trouble::File(format!("cannot read it: {error}"));
    let Ok(mut there) = remote.ask("an open file", |sftp| sftp.open(target))? else { return Ok(false) };
    file.file().rewind().map_err(unread)?;
    let (mut theirs, mut ours) = (vec![0; 32 << 10], Vec::new());
    let equal = loop {
        let Ok(length) = remote.transfer("the contents of a file", || there.read(&mut theirs))? else { break false };
        remote.asked(length);
        ours.clear();
        // At their end, ours is to be at its own.
        let take = length.max(1) as u64;
        file.file().take(take).read_to_end(&mut ours).map_err(unread)?;
        if theirs.get(..length) != Some(&ours) {
            break false;
        }
        if length == 0 {
            break true;
        }
    };
    let _ = remote.ask("the end of a file", |_| there.close())?;
    Ok(equal)
}

/// Removes what earlier connections left behind. It is no harm if it cannot be.
fn sweep(remote: &mut Remote, directory: &str, server_time: u64) -> Result<(), Failure> {
    let name_of = if directory.is_empty() { "." } else { directory };
    let Ok(mut listed) = remote.ask("a directory", |sftp| sftp.opendir(name_of))? else { return Ok(()) };
    let began = remote.attendant.now();
    let mut old = Vec::new();
    for _ in 0..SWEEP_NAMES {
        let Ok(Some((name, stat))) = remote.next_name(&mut listed)? else { break };
        let is_old = stat.mtime.is_some_and(|modified| modified.saturating_add(LEFT_BEHIND) < server_time);
        if is_old && stat.is_file() && is_hidden_name(&name) {
            old.push(name);
        }
        if old.len() == SWEEP_REMOVES || remote.attendant.now().saturating_sub(began) > SWEEP_TIME {
            break;
        }
    }
    let _ = remote.ask("the end of a directory", |_| listed.close())?;
    for name in old {
        let _ = remote.ask("a removal", |sftp| sftp.unlink(join(directory, &name).as_ref()))?;
    }
    remote.set_swept();
    Ok(())
}

fn changed() -> Trouble {
    Trouble::File("it changed while it was sent".to_owned())
}

fn join(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        "/" => format!("/{name}"),
        _ => format!("{directory}/{name}"),
    }
}

/// A name that nobody else writes to, not even an earlier connection of ours that the server has not given up yet.
fn hidden_name(name: &str) -> Result<String, Trouble> {
    let mut random = [0; 4];
    openssl::rand::rand_bytes(&mut random).map_err(|error| Trouble::File(format!("no random numbers: {error}")))?;
    // Most file systems have 255 bytes for a name.
    let cut = name.floor_char_boundary(200);
    Ok(format!(".{}.{:08x}{SUFFIX}", name.get(..cut).unwrap_or_default(), u32::from_ne_bytes(random)))
}

fn is_hidden_name(name: &str) -> bool {
    let random =
        name.strip_prefix('.').and_then(|name| name.strip_suffix(SUFFIX)).and_then(|name| name.rsplit_once('.'));
    random.is_some_and(|(_, random)| random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_are_told_from_others_and_fit() {
        for name in ["a.nmsg", "ü", &"ü".repeat(127), &"n".repeat(255)] {
            let hidden = hidden_name(name).ok().unwrap();
            assert!(is_hidden_name(&hidden) && hidden.len() <= 255 && hidden.starts_with('.'), "{hidden}");
        }
        for name in [
            "a.nmsg",
            ".a.nmsg.sie-part",
            "a.nmsg.01234567.sie-part",
            ".a.0123456g.sie-part",
            ".a.01234567",
            ".sie-part",
        ] {
            assert!(!is_hidden_name(name), "{name}");
        }
    }

    #[test]
    fn what_is_above_a_directory_is_what_its_path_says() {
        let named = ["up/ch202", "/srv/up/ch202", "/up", "up", "/", ""].map(above);
        assert_eq!(named, [Some("up"), Some("/srv/up"), Some("/"), None, None, None]);
    }

    #[test]
    fn a_directory_may_be_none_or_the_root() {
        assert_eq!(["", "/", "up/ch202"].map(|directory| join(directory, "a")), ["a", "/a", "up/ch202/a"]);
    }
}
