//! Files in directories below the one that is sent from. The package before sent those too, wherever somebody had put
//! them; nothing else would find them: neither the limits of the spool nor its lists.

use crate::spool::{names, sort};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Directories that are looked into below one another.
const DEPTH_MAX: usize = 8;
/// Entries that are looked at in one pass; the next one goes on, as files that were moved are there no more.
const ENTRIES_MAX: usize = 10_000;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Raised {
    /// Names of the files that were moved.
    pub(super) names: Vec<String>,
    /// What could not be moved or read, and why.
    pub(super) failed: Vec<(PathBuf, io::Error)>,
}

/// Moves published files out of the directories `below` one, and out of those in them, into it. Links are not followed,
/// hidden directories not entered, no file is replaced.
pub(super) fn raise(directory: &Path, below: Vec<PathBuf>) -> Raised {
    let mut raised = Raised::default();
    let mut open: Vec<(PathBuf, usize)> = below.into_iter().map(|path| (path, 1)).collect();
    let mut left = ENTRIES_MAX;
    while let Some((path, depth)) = open.pop() {
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) => {
                raised.failed.push((path, error));
                continue;
            }
        };
        for entry in entries.map_while(Result::ok) {
            if left == 0 {
                return raised;
            }
            left -= 1;
            let (kind, name) = (entry.file_type(), entry.file_name());
            let (Ok(kind), Some(name)) = (kind, name.to_str()) else { continue };
            if kind.is_dir() && depth < DEPTH_MAX && !name.starts_with('.') {
                open.push((entry.path(), depth + 1));
            } else if kind.is_file() && names::is_plain(name) {
                match sort::rename(&entry.path(), &directory.join(name)) {
                    Ok(()) => raised.names.push(name.to_owned()),
                    Err(error) => raised.failed.push((entry.path(), error)),
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
        let Raised { mut names, failed } = raise(&scratch.0, vec![scratch.0.join("old"), scratch.0.join("gone")]);
        names.sort();
        assert_eq!(names, ["a.nmsg", "b.nmsg"]);
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
        (0..=ENTRIES_MAX).for_each(|number| fs::write(many.join(format!("{number}.nmsg")), "").unwrap());
        assert_eq!(raise(&scratch.0, vec![many.clone()]).names.len(), ENTRIES_MAX);
        assert_eq!(raise(&scratch.0, vec![many]).names.len(), 1);
    }
}
