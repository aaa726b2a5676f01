//! Which keys a server may have.
//!
//! libssh2 has a checker of its own. It knows no patterns, and compares keys of different types.

use super::{KeyType, fingerprint};
use base64::{Engine, engine::general_purpose::STANDARD};
use nix::fcntl::OFlag;
use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The known_hosts files that are read end here: at some thousand servers.
const SIZE_MAX: u64 = 1 << 20;

/// OpenSSH leaves it out of a host's name in the file.
const DEFAULT_PORT: u16 = 22;

/// The lines of a known_hosts file.
#[derive(Debug, Default)]
pub struct KnownHosts {
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

/// A line that does not count, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// What the file says of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the server's.
    Known,
    /// The file has nothing for that server.
    Unknown {
        /// The key's type and fingerprint.
        offered: String,
    },
    /// The file has other keys for that server.
    Changed {
        /// Their types and fingerprints.
        expected: Vec<String>,
        /// The key's.
        offered: String,
    },
    /// The file says that nobody is to trust this key.
    Revoked {
        /// The key's type and fingerprint.
        offered: String,
    },
}

#[derive(Debug)]
struct Entry {
    revoked: bool,
    hosts: Hosts,
    key: Vec<u8>,
}

#[derive(Debug)]
enum Hosts {
    Patterns(String),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

impl KnownHosts {
    /// Reads a file.
    pub fn read(path: &Path) -> io::Result<KnownHosts> {
        let mut text = Vec::new();
        // Without O_NONBLOCK, a fifo of that name would be waited for.
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        file.take(SIZE_MAX + 1).read_to_end(&mut text)?;
        if text.len() as u64 > SIZE_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 1 MiB"));
        }
        Ok(KnownHosts::parse(&text))
    }

    /// The text of such a file. What cannot be understood is a problem of its line alone.
    pub fn parse(text: &[u8]) -> KnownHosts {
        let mut hosts = KnownHosts::default();
        for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
            match Entry::parse(line) {
                Ok(Some(entry)) => hosts.entries.push(entry),
                Ok(None) => {}
                Err(what) => hosts.problems.push(Problem { line: index + 1, what }),
            }
        }
        hosts
    }

    /// The lines that do not count.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Judges the key of a server, a blob as SSH sends it.
    pub fn judge(&self, host: &str, port: u16, key: &[u8]) -> Verdict {
        let names = names(host, port);
        let is_key_of = |entry: &&Entry| names.iter().any(|name| entry.hosts.have(name)) && entry.key == key;
        let offered = describe(key);
        if self.entries.iter().filter(|entry| entry.revoked).any(|entry| is_key_of(&entry)) {
            return Verdict::Revoked { offered };
        }
        let expected = self.keys(host, port);
        if expected.contains(&key) {
            Verdict::Known
        } else if expected.is_empty() {
            Verdict::Unknown { offered }
        } else {
            Verdict::Changed { expected: expected.into_iter().map(describe).collect(), offered }
        }
    }

    /// The algorithms by which a server may prove that it has one of its keys here, best first.
    pub fn key_types(&self, host: &str, port: u16) -> Vec<&str> {
        let mut types = Vec::new();
        for name in self.keys(host, port).into_iter().filter_map(KeyType::of) {
            let algorithms = match name.0 {
                // One kind of key, three kinds of signature.
                "ssh-rsa" => &["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
                _ => &[name.0][..],
            };
            algorithms.iter().for_each(|algorithm| {
                if !types.contains(algorithm) {
                    types.push(algorithm);
                }
            });
        }
        types
    }

    /// The keys of a server. As OpenSSH does, one at another port than 22 may have those of its host.
    fn keys(&self, host: &str, port: u16) -> Vec<&[u8]> {
        let keys_of = |name: &String| -> Vec<&[u8]> {
            let is_of = |entry: &&Entry| !entry.revoked && entry.hosts.have(name);
            self.entries.iter().filter(is_of).map(|entry| entry.key.as_slice()).collect()
        };
        names(host, port).iter().map(keys_of).find(|keys| !keys.is_empty()).unwrap_or_default()
    }
}

/// The names that a server may have in the file, the one to look for first in front.
fn names(host: &str, port: u16) -> Vec<String> {
    let host = host.to_ascii_lowercase();
    match port {
        DEFAULT_PORT => vec![host],
        _ => vec![format!("[{host}]:{port}"), host],
    }
}

/// A key's type and fingerprint.
pub(super) fn describe(key: &[u8]) -> String {
    format!("{} {}", KeyType::of(key).map_or("unknown", |name| name.0), fingerprint(key))
}

impl Entry {
    fn parse(line: &[u8]) -> Result<Option<Entry>, &'static str> {
        // Behind the key is a comment, in whatever encoding. A character that cannot be read is in no name and in no key.
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split_ascii_whitespace().peekable();
        let marker = fields.next_if(|field| field.starts_with('@'));
        let revoked = match marker {
            None => false,
            Some("@revoked") => true,
            Some("@cert-authority") => return Err("certificates of hosts are not supported"),
            Some(_) => return Err("unknown marker"),
        };
        let hosts = match fields.next() {
            None if marker.is_none() => return Ok(None),
            Some(comment) if comment.starts_with('#') => return Ok(None),
            None => return Err("no host"),
            Some(hosts) => Hosts::parse(hosts)?,
        };
        let name = fields.next().ok_or("no key")?;
        let key = STANDARD.decode(fields.next().ok_or("no key")?).map_err(|_| "the key is not base64")?;
        match KeyType::of(&key) {
            Some(KeyType(of_key)) if of_key == name => Ok(Some(Entry { revoked, hosts, key })),
            _ => Err("the key is not of the type that the line says"),
        }
    }
}

impl Hosts {
    fn parse(field: &str) -> Result<Hosts, &'static str> {
        let Some(hashed) = field.strip_prefix('|') else { return Ok(Hosts::Patterns(field.to_ascii_lowercase())) };
        let hashed = hashed.strip_prefix("1|").ok_or("unknown hash of a host")?;
        let (salt, hash) = hashed.split_once('|').ok_or("the hash of a host is cut")?;
        match (STANDARD.decode(salt), STANDARD.decode(hash)) {
            (Ok(salt), Ok(hash)) => Ok(Hosts::Hashed { salt, hash }),
            _ => Err("the hash of a host is not base64"),
        }
    }

    fn have(&self, name: &str) -> bool {
        match self {
            Hosts::Hashed { salt, hash } => hmac_sha1(salt, name.as_bytes()).is_some_and(|of_name| of_name == *hash),
            Hosts::Patterns(list) => {
                let mut found = false;
                for pattern in list.split(',') {
                    match pattern.strip_prefix('!') {
                        Some(pattern) if matches(pattern, name) => return false,
                        Some(_) => {}
                        None => found |= matches(pattern, name),
                    }
                }
                found
            }
        }
    }
}

/// None where this build of OpenSSL does not have it.
fn hmac_sha1(key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let key = PKey::hmac(key).ok()?;
    Signer::new(MessageDigest::sha1(), &key).ok()?.sign_oneshot_to_vec(text).ok()
}

/// Whether `*`, anything, and `?`, any one character, can be so that `pattern` is `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut in_name) = (0, 0);
    // Behind the last star, and where in the name it ends for now: the only choice that can ever need to be another.
    let mut star = None;
    while let Some(byte) = name.get(in_name) {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                star = Some((at, in_name));
            }
            Some(of_pattern) if *of_pattern == b'?' || of_pattern == byte => {
                at += 1;
                in_name += 1;
            }
            _ => {
                let Some((behind, end)) = star else { return false };
                at = behind;
                in_name = end + 1;
                star = Some((behind, in_name));
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a key is for these tests: a type, and something behind it.
    fn key(name: &str, rest: u8) -> Vec<u8> {
        let length = u32::try_from(name.len()).unwrap().to_be_bytes();
        [&length[..], name.as_bytes(), &[0, 0, 0, 1, rest]].concat()
    }

    fn line(start: &str, key: &[u8]) -> String {
        format!("{start} {} {} a comment\n", KeyType::of(key).unwrap().0, STANDARD.encode(key))
    }

    fn is_known(start: &str, host: &str, port: u16) -> bool {
        let key = key("ssh-ed25519", 1);
        let hosts = KnownHosts::parse(line(start, &key).as_bytes());
        assert!(hosts.problems().is_empty(), "{start}: {:?}", hosts.problems());
        hosts.judge(host, port, &key) == Verdict::Known
    }

    #[test]
    fn names_and_patterns_match_as_openssh_matches_them() {
        for (start, host, port, expected) in [
            ("host.example", "host.example", 22, true),
            ("host.example", "HOST.Example", 22, true),
            ("Host.Example", "host.example", 22, true),
            ("host.example", "other.example", 22, false),
            ("host.example", "host.example.org", 22, false),
            ("*", "host.example", 22, true),
            ("*", "host.example", 49222, true),
            ("*.example", "host.example", 22, true),
            ("*.example", "example", 22, false),
            ("h?st.*", "host.example", 22, true),
            ("h?st", "hst", 22, false),
            ("a*b*c", "aXbXbXc", 22, true),
            ("a*b*c", "aXbXbX", 22, false),
            ("a,b,host.example", "host.example", 22, true),
            ("*.example,!host.example", "host.example", 22, false),
            ("!host.example,*.example", "host.example", 22, false),
            ("*.example,!host.example", "other.example", 22, true),
            ("!host.example", "other.example", 22, false),
            ("[host.example]:49222", "host.example", 49222, true),
            ("[host.example]:49222", "host.example", 22, false),
            ("[host.example]:49222", "host.example", 49223, false),
            ("[*]:49222", "host.example", 49222, true),
            // OpenSSH looks again without the port.
            ("host.example", "host.example", 49222, true),
            ("[2001:db8::1]:49222", "2001:db8::1", 49222, true),
            ("2001:db8::1", "2001:DB8::1", 22, true),
        ] {
            assert_eq!(is_known(start, host, port), expected, "{start} for {host} port {port}");
        }
    }

    #[test]
    fn hashed_names_of_ssh_keygen_match() {
        let text = "|1|Cs5YZUqsw2XTgVgHz+GLlND/t9o=|H4KWJYTOjNXBoePkbpvZmn364eY= ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDhTGW5DScuds1AK6hfIyUN5/91lHsKHXq2YepEc7v7k\n\
                    |1|0z17tEGuOjwewonaQpXhV0Zvrco=|uXesV56MVDR6/rd1i8A1Y77324Y= ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDhTGW5DScuds1AK6hfIyUN5/91lHsKHXq2YepEc7v7k\n";
        let key = STANDARD.decode(text.lines().next().unwrap().split(' ').nth(2).unwrap()).unwrap();
        let hosts = KnownHosts::parse(text.as_bytes());
        assert_eq!(hosts.judge("host.example", 22, &key), Verdict::Known);
        assert_eq!(hosts.judge("Host.example", 49222, &key), Verdict::Known);
        assert!(matches!(hosts.judge("other.example", 22, &key), Verdict::Unknown { .. }));
        assert_eq!(fingerprint(&key), "SHA256:CyvsCLuf/WQqBlX+nuJ/v9M1eWrayoWEDfYd6w71TPg");
    }

    #[test]
    fn a_key_is_unknown_changed_or_revoked() {
        let (ours, other, rsa) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2), key("ssh-rsa", 3));
        let text = line("a", &ours) + &line("a", &rsa) + &line("@revoked b*", &other) + &line("b", &other);
        let hosts = KnownHosts::parse(text.as_bytes());
        assert_eq!(hosts.judge("a", 22, &rsa), Verdict::Known);
        let offered = describe(&other);
        assert_eq!(hosts.judge("c", 22, &other), Verdict::Unknown { offered: offered.clone() });
        let expected = vec![describe(&ours), describe(&rsa)];
        assert_eq!(hosts.judge("a", 22, &other), Verdict::Changed { expected, offered: offered.clone() });
        assert_eq!(hosts.judge("b", 22, &other), Verdict::Revoked { offered: offered.clone() });
        assert_eq!(hosts.judge("b", 49222, &other), Verdict::Revoked { offered });
    }

    #[test]
    fn a_port_with_keys_of_its_own_has_not_those_of_its_host() {
        let (host, port) = (key("ssh-ed25519", 1), key("ssh-ed25519", 2));
        let hosts = KnownHosts::parse((line("a", &host) + &line("[a]:49222", &port)).as_bytes());
        assert_eq!(hosts.judge("a", 49222, &port), Verdict::Known);
        assert!(matches!(hosts.judge("a", 49222, &host), Verdict::Changed { .. }));
        assert_eq!(hosts.judge("a", 22, &host), Verdict::Known);
    }

    #[test]
    fn the_types_of_the_keys_choose_the_algorithms() {
        let text = line("*", &key("ssh-rsa", 1)) + &line("*", &key("ssh-rsa", 2)) + &line("a", &key("ssh-ed25519", 3));
        let hosts = KnownHosts::parse(text.as_bytes());
        assert_eq!(hosts.key_types("b", 49222), ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"]);
        assert_eq!(hosts.key_types("a", 22), ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa", "ssh-ed25519"]);
    }

    #[test]
    fn a_bad_line_is_named_and_the_others_count() {
        let ours = key("ssh-ed25519", 1);
        let mut text = b"# a comment\n\n \t\nno-key\nhost ssh-ed25519 !!!\nhost ssh-rsa ".to_vec();
        text.extend(STANDARD.encode(&ours).bytes());
        text.extend(
            b"\n@cert-authority * ssh-ed25519 AAAA\n@what * ssh-ed25519 AAAA\n|1|x|y ssh-ed25519 AAAA\n\xff\xfe\n",
        );
        text.extend(b"|2|x|y ssh-ed25519 AAAA\n@revoked\nhost ssh-ed25519 AAAAA////w==\n");
        text.extend(line("host", &ours).replace('\n', "\r\n").bytes());
        let hosts = KnownHosts::parse(&text);
        let lines: Vec<_> = hosts.problems().iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        assert_eq!(hosts.judge("host", 22, &ours), Verdict::Known);
    }

    #[test]
    fn a_comment_in_another_encoding_hides_no_key() {
        let ours = key("ssh-ed25519", 1);
        let mut text = line("host", &ours).trim_end().as_bytes().to_vec();
        text.extend(b" B\xfcro\n# B\xfcro\n");
        let hosts = KnownHosts::parse(&text);
        assert_eq!((hosts.judge("host", 22, &ours), hosts.problems()), (Verdict::Known, &[][..]));
        let spoilt = KnownHosts::parse(&[b"h\xfcst", text.as_slice()].concat());
        assert!(matches!(spoilt.judge("host", 22, &ours), Verdict::Unknown { .. }));
    }

    proptest! {
        #[test]
        fn whatever_the_file_has_nothing_breaks(text: Vec<u8>, host: String, port: u16, key: Vec<u8>) {
            let hosts = KnownHosts::parse(&text);
            let _ = (hosts.judge(&host, port, &key), hosts.key_types(&host, port));
        }

        #[test]
        fn a_star_stands_for_anything(before in "[a-c]{0,4}", between in "[a-c*?]{0,6}", behind in "[a-c]{0,4}") {
            let name = format!("{before}{between}{behind}");
            let (starred, star_first) = (format!("{before}*{behind}"), format!("*{behind}"));
            prop_assert!(matches(&starred, &name), "{} {}", starred, name);
            prop_assert!(matches(&star_first, &name), "{} {}", star_first, name);
        }
    }
}
