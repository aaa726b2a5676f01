//! Files in directories below the one that is sent from. The package before sent those too, wherever somebody had put
//! them; nothing else would find them: neither the limits of the spool nor its lists.

use crate::spool::{names, sort};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Directories that are looked into below one another.
const DEPTH_MAX: usize = 8;
/// Files that are moved in one pass.
const MOVED_MAX: usize = 10_000;
/// Failures of a pass that are told one by one.
const FAILED_MAX: usize = 100;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Raised {
    /// Names of the files that were moved.
    pub(super) names: Vec<String>,
    /// What could not be moved or read, and why: the first of them.
    pub(super) failed: Vec<(PathBuf, io::Error)>,
    /// All of them.
    pub(super) left: usize,
    /// There may be more to move: the next pass goes on.
    pub(super) is_partial: bool,
}

impl Raised {
    fn fail(&mut self, path: PathBuf, error: io::Error) {
        self.left += 1;
        if self.failed.len() < FAILED_MAX {
            self.failed.push((path, error));
        }
    }
}

/// Moves published files out of the directories `below` one, and out of those in them, into it. Links are not followed,
/// hidden directories not entered, no file is replaced.
pub(super) fn raise(directory: &Path, below: Vec<PathBuf>) -> Raised {
    let mut raised = Raised::default();
    let mut open: Vec<(PathBuf, usize)> = below.into_iter().map(|path| (path, 1)).collect();
    while let Some((path, depth)) = open.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => {
                raised.fail(path, error);
                continue;
            }
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    raised.fail(path, error);
                    break;
                }
            };
            let (kind, name) = (entry.file_type(), entry.file_name());
            let (Ok(kind), Some(name)) = (kind, name.to_str()) else { continue };
            if kind.is_dir() && depth < DEPTH_MAX && !name.starts_with('.') {
                open.push((entry.path(), depth + 1));
            } else if kind.is_file() && names::is_plain(name) {
                if raised.names.len() == MOVED_MAX {
                    raised.is_partial = true;
                    return raised;
                }
                match sort::rename(&entry.path(), &directory.join(name)) {
                    Ok(()) => raised.names.push(name.to_owned()),
                    Err(error) => raised.fail(entry.path(), error),
                }
            }
        }
    }
    raised
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::part::tests::Scratch;
    use std::os::unix::fs::symlink;

    #[test]
    fn files_come_up_from_below_and_replace_none() {
        let scratch = Scratch::new();
        let put = |name: &str| {
            let path = scratch.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        };
        ["taken.nmsg", "old/taken.nmsg", "old/a.nmsg", "old/older/b.nmsg", "old/x.tmp", "old/.hidden/c.nmsg"]
            .iter()
            .for_each(|name| put(name));
        put("elsewhere/d.nmsg");
        symlink(scratch.0.join("elsewhere"), scratch.0.join("old/link")).unwrap();
        symlink(scratch.0.join("elsewhere/d.nmsg"), scratch.0.join("old/e.nmsg")).unwrap();
        let Raised { mut names, failed, left, is_partial } =
            raise(&scratch.0, vec![scratch.0.join("old"), scratch.0.join("gone")]);
        names.sort();
        assert_eq!((names, left, is_partial), (["a.nmsg", "b.nmsg"].map(String::from).to_vec(), 2, false));
        assert_eq!(fs::read_to_string(scratch.0.join("b.nmsg")).unwrap(), "old/older/b.nmsg");
        assert_eq!(fs::read_to_string(scratch.0.join("taken.nmsg")).unwrap(), "taken.nmsg");
        let mut failed: Vec<_> = failed.iter().map(|(path, error)| (path.clone(), error.kind())).collect();
        failed.sort_by(|(one, _), (other, _)| one.cmp(other));
        let expected = [("gone", io::ErrorKind::NotFound), ("old/taken.nmsg", io::ErrorKind::AlreadyExists)];
        assert_eq!(failed, expected.map(|(name, kind)| (scratch.0.join(name), kind)));
    }

    #[test]
    fn depth_and_number_have_an_end() {
        let scratch = Scratch::new();
        let deep = scratch.0.join(["d"; DEPTH_MAX + 1].join("/"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("deep.nmsg"), "").unwrap();
        fs::write(deep.parent().unwrap().join("less.nmsg"), "").unwrap();
        assert_eq!(raise(&scratch.0, vec![scratch.0.join("d")]).names, ["less.nmsg"]);
        let many = scratch.0.join("many");
        fs::create_dir(&many).unwrap();
        // What is none of ours takes nobody's place.
        (0..=MOVED_MAX).for_each(|number| fs::write(many.join(format!("{number}.nmsg")), "").unwrap());
        (0..FAILED_MAX).for_each(|number| fs::write(many.join(format!("{number}.txt")), "").unwrap());
        let first = raise(&scratch.0, vec![many.clone()]);
        assert_eq!((first.names.len(), first.is_partial), (MOVED_MAX, true));
        let second = raise(&scratch.0, vec![many]);
        assert_eq!((second.names.len(), second.is_partial), (1, false));
    }
}
