//! The file list.

use super::{fault::Fault, wire};

/// What a file is listed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'n> {
    /// Its name, without a directory.
    pub name: &'n str,
    /// In bytes.
    pub size: u64,
    /// Seconds since 1970.
    pub modified: i64,
    /// As in `st_mode`.
    pub mode: u32,
}

/// Longest name that file systems have.
const NAME_MAX: usize = 255;

/// Flags of an entry; 0 is none, and ends the list.
const SAME_MODE: u8 = 1 << 1;
const SAME_OWNER: u8 = 1 << 3 | 1 << 4;
const SHARES_NAME: u8 = 1 << 5;
const SAME_TIME: u8 = 1 << 7;

/// Writes entries, each as it differs from the one before.
#[derive(Debug, Default)]
pub struct List {
    /// Whether flags are varints.
    has_varints: bool,
    name: Vec<u8>,
    modified: Option<u64>,
    mode: Option<u32>,
}

impl List {
    /// For a server that wants flags as varints, or as a byte.
    pub fn new(has_varints: bool) -> List {
        List { has_varints, ..List::default() }
    }

    /// An entry. Names must come in the order of their bytes: the server counts files in that order whatever we do, and
    /// would give each the name of another.
    pub fn put(&mut self, entry: &Entry<'_>, out: &mut Vec<u8>) -> Result<(), Fault> {
        let name = entry.name.as_bytes();
        check_name(entry.name)?;
        if name <= &self.name[..] {
            return Err(Fault::List("the files are not in the order of their names".to_owned()));
        }
        // What is from before 1970 has no time of its own at the far end either.
        let modified = u64::try_from(entry.modified).unwrap_or_default();
        let shared = name.iter().zip(&self.name).take_while(|(one, other)| one == other).count();
        let (is_same_mode, is_same_time) = (self.mode == Some(entry.mode), self.modified == Some(modified));
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags =
            SAME_OWNER | flag(is_same_mode, SAME_MODE) | flag(shared > 0, SHARES_NAME) | flag(is_same_time, SAME_TIME);
        match self.has_varints {
            true => wire::put_varlong(flags.into(), 1, out),
            false => out.push(flags),
        }
        // No name is longer than a byte can say.
        if shared > 0 {
            out.push(shared as u8);
        }
        out.push((name.len() - shared) as u8);
        out.extend(&name[shared..]);
        wire::put_varlong(entry.size, 3, out);
        if !is_same_time {
            wire::put_varlong(modified, 4, out);
        }
        if !is_same_mode {
            out.extend(entry.mode.to_le_bytes());
        }
        self.name.clear();
        self.name.extend(name);
        (self.modified, self.mode) = (Some(modified), Some(entry.mode));
        Ok(())
    }

    /// What stands behind the last entry. Where flags are varints there are error bits of the file system behind it: none.
    pub fn end(&self) -> &'static [u8] {
        if self.has_varints { &[0, 0] } else { &[0] }
    }
}

/// Whether a name can be in the list.
pub fn check_name(name: &str) -> Result<(), Fault> {
    let is_name = !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && !name.contains(['/', '\0']);
    if is_name { Ok(()) } else { Err(Fault::List(format!("not a file name: {name:?}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: u32 = 0o100_644;

    fn entry(name: &str, size: u64, modified: i64, mode: u32) -> Entry<'_> {
        Entry { name, size, modified, mode }
    }

    #[test]
    fn a_list_is_the_one_that_rsync_writes() {
        let name = |number| format!("host.example.20250101.000{number}.173568960{number}.000000000.nmsg");
        let names = [0, 1, 2, 3].map(name);
        let (mut list, mut out) = (List::default(), Vec::new());
        list.put(&entry(&names[0], 0, 1_735_689_660, MODE), &mut out).unwrap();
        list.put(&entry(&names[1], 1280, 1_735_689_660, 0o100_600), &mut out).unwrap();
        list.put(&entry(&names[2], 300, 1_735_689_720, 0o100_600), &mut out).unwrap();
        list.put(&entry(&names[3], 40_000, 1_735_689_660, 0o100_600), &mut out).unwrap();
        let rest = |number: usize| &names[number].as_bytes()[25..];
        let expected = [
            &[0x18, 0x34][..],
            names[0].as_bytes(),
            &[0, 0, 0, 0x67, 0xbc, 0x85, 0x74, 0xa4, 0x81, 0, 0],
            &[0xb8, 0x19, 0x1b],
            rest(1),
            &[0, 0, 5, 0x80, 0x81, 0, 0],
            &[0x3a, 0x19, 0x1b],
            rest(2),
            &[0, 0x2c, 1, 0x67, 0xf8, 0x85, 0x74],
            &[0x3a, 0x19, 0x1b],
            rest(3),
            &[0, 0x40, 0x9c, 0x67, 0xbc, 0x85, 0x74],
        ];
        assert_eq!(out, expected.concat());
    }

    #[test]
    fn names_out_of_order_and_names_of_no_file_are_refused() {
        let put = |names: &[&str]| {
            let (mut list, mut out) = (List::default(), Vec::new());
            names.iter().try_for_each(|name| list.put(&entry(name, 1, 1, MODE), &mut out))
        };
        assert!(put(&["A", "a", "a-b", "a.nmsg", "ab", "ü"]).is_ok());
        for names in [&["b", "a"][..], &["a", "a"], &["ab", "a"], &["ü", "z"]] {
            assert!(put(names).is_err(), "{names:?}");
        }
        assert!(put(&[&"x".repeat(255)]).is_ok());
        for name in ["", ".", "..", "a/b", "a\0", &"x".repeat(256)] {
            assert!(put(&[name]).is_err(), "{name:?}");
        }
    }
}
