//! Our private key, judged before it is used.

use super::fingerprint;
use crate::{escape::escaped, upload::reach};
use nix::{fcntl::OFlag, unistd::geteuid};
use openssl::{bn::BigNumRef, rsa::Rsa};
use ssh_key::{Algorithm, private::PrivateKey as OpenSsh, public::KeyData};
use std::{
    fmt::{self, Debug, Formatter},
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// A key of 16384 bits RSA has 13 kB.
const SIZE_MAX: u64 = 64 << 10;

/// OpenSSH's servers take shorter ones only where they are told to, more and more of them.
const RSA_BITS: u32 = 2048;

/// What encloses a key in OpenSSH's form, and the length of the lines between (PROTOCOL.key of OpenSSH).
const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const WIDTH: usize = 70;

/// A private key as its file has it.
pub struct PrivateKey {
    text: String,
    public: Vec<u8>,
    algorithm: String,
    rsa_bits: Option<u32>,
}

impl PrivateKey {
    /// Reads a key that nobody else can. The error says what is wrong with it and what to do.
    pub fn read(path: &Path) -> Result<PrivateKey, String> {
        let shown = escaped(path);
        let cannot = |error: io::Error| {
            let cure = match error.kind() {
                io::ErrorKind::NotFound => "; sie-gen-key makes one".to_owned(),
                io::ErrorKind::PermissionDenied => {
                    reach::cure(path).map(|cure| format!("; {cure}")).unwrap_or_default()
                }
                _ => String::new(),
            };
            format!("cannot read the key {shown}: {error}{cure}")
        };
        // Without O_NONBLOCK, a fifo of that name would be waited for.
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(cannot)?;
        judge(&file.metadata().map_err(cannot)?, &shown)?;
        let mut bytes = Vec::new();
        file.take(SIZE_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 > SIZE_MAX {
            return Err(format!("{shown} is no key: it has more than 64 KiB"));
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is no private key: it is not text"))?;
        PrivateKey::parse(text).map_err(|what| format!("{shown} {what}"))
    }

    /// The error goes on where the name of the file ends.
    fn parse(text: String) -> Result<PrivateKey, String> {
        if text.contains(BEGIN) {
            parse_openssh(&text)
        } else if text.contains("ENCRYPTED") {
            Err(ENCRYPTED.to_owned())
        } else if text.contains("-----BEGIN RSA PRIVATE KEY-----") {
            parse_pem(text)
        } else if text.contains("PRIVATE KEY-----") {
            Err("is a private key in a form that is not supported; \"ssh-keygen -p -N '' -f FILE\" changes it"
                .to_owned())
        } else {
            Err("is no private key: it has no line \"-----BEGIN … PRIVATE KEY-----\"".to_owned())
        }
    }

    /// What the file has.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The type, as SSH names it.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The public half, a blob as SSH sends it.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The public half's fingerprint.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.public)
    }

    /// What is to be said of a key that still works, and may not for long.
    pub fn warning(&self) -> Option<String> {
        let bits = self.rsa_bits.filter(|&bits| bits < RSA_BITS)?;
        Some(format!(
            "the key {} is RSA of {bits} bits, which servers refuse more and more: make a new one with sie-gen-key and \
             have its public half installed before the old one is removed",
            self.fingerprint()
        ))
    }
}

impl Debug for PrivateKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({} {})", self.algorithm, self.fingerprint())
    }
}

const ENCRYPTED: &str = "is encrypted, and nobody is there to type its passphrase; \"ssh-keygen -p -N '' -f FILE\" removes it, \
                         sie-gen-key makes a new key";

/// Whether a file of that kind, owner and mode may have a private key in it.
fn judge(metadata: &Metadata, shown: &str) -> Result<(), String> {
    let (mode, owner) = (metadata.mode() & 0o7777, metadata.uid());
    if !metadata.is_file() {
        return Err(format!("{shown} is no key: it is not a regular file"));
    }
    if mode & 0o077 != 0 {
        return Err(format!("others can read the key {shown} (mode {mode:04o}): chmod 0600 {shown}"));
    }
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(format!("the key {shown} belongs to user {owner}, not to us: chown {} {shown}", geteuid()));
    }
    Ok(())
}

fn parse_openssh(text: &str) -> Result<PrivateKey, String> {
    let plain = plain(text);
    let key = OpenSsh::from_openssh(&plain).map_err(|error| format!("is a private key that is damaged: {error}"))?;
    if key.is_encrypted() {
        return Err(ENCRYPTED.to_owned());
    }
    let public =
        key.public_key().to_bytes().map_err(|error| format!("is a private key without a public half: {error}"))?;
    if !matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. }) {
        let algorithm = key.algorithm();
        return Err(format!(
            "is a key of the type {}, which cannot be used here; sie-gen-key makes one",
            algorithm.as_str()
        ));
    }
    let rsa_bits = match key.public_key().key_data() {
        KeyData::Rsa(rsa) => rsa.n.as_positive_bytes().map(bits),
        _ => None,
    };
    let algorithm = key.algorithm().as_str().to_owned();
    Ok(PrivateKey { text: plain, public, algorithm, rsa_bits })
}

/// As ssh-keygen writes it. OpenSSH takes anything before and behind it, other line ends, and lines of any length, as other
/// programs write them.
fn plain(text: &str) -> String {
    let begin = text.find(BEGIN).map(|at| at + BEGIN.len());
    let body = begin.and_then(|at| text.get(at..)).and_then(|rest| rest.split_once(END));
    let Some((body, _)) = body else { return text.to_owned() };
    let body: Vec<char> = body.chars().filter(|character| !character.is_whitespace()).collect();
    let lines: String = body.chunks(WIDTH).flat_map(|line| line.iter().copied().chain(['\n'])).collect();
    format!("{BEGIN}\n{lines}{END}\n")
}

/// The form of the old package's keys.
fn parse_pem(text: String) -> Result<PrivateKey, String> {
    let key = Rsa::private_key_from_pem(text.as_bytes()).map_err(|_| "is a private key that is damaged")?;
    let mut public = Vec::new();
    put_string(&mut public, b"ssh-rsa");
    put_number(&mut public, key.e());
    put_number(&mut public, key.n());
    let rsa_bits = u32::try_from(key.n().num_bits()).ok();
    Ok(PrivateKey { text, public, algorithm: "ssh-rsa".to_owned(), rsa_bits })
}

/// RFC 4251 §5, `string`.
fn put_string(blob: &mut Vec<u8>, bytes: &[u8]) {
    blob.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    blob.extend(bytes);
}

/// The same, `mpint`: a first bit that is set would be a sign.
fn put_number(blob: &mut Vec<u8>, number: &BigNumRef) {
    let mut bytes = number.to_vec();
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    put_string(blob, &bytes);
}

fn bits(number: &[u8]) -> u32 {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    u32::try_from(number.len()).map_or(u32::MAX, |bytes| bytes.saturating_mul(8).saturating_sub(zeros))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use ssh_key::{LineEnding, private::Ed25519Keypair, private::Ed25519PrivateKey, public::Ed25519PublicKey};
    use std::sync::LazyLock;

    static PEM: LazyLock<String> =
        LazyLock::new(|| String::from_utf8(Rsa::generate(1024).unwrap().private_key_to_pem().unwrap()).unwrap());

    fn openssh() -> String {
        let (public, private) = (Ed25519PublicKey([1; 32]), Ed25519PrivateKey::from_bytes(&[2; 32]));
        OpenSsh::from(Ed25519Keypair { public, private }).to_openssh(LineEnding::LF).unwrap().to_string()
    }

    #[test]
    fn line_ends_and_lengths_and_what_is_around_a_key_do_not_matter() {
        let fingerprint = PrivateKey::parse(openssh()).unwrap().fingerprint();
        let body = openssh().replace(BEGIN, "").replace(END, "").replace('\n', "");
        let wrapped = |width: usize| {
            let lines: Vec<&str> =
                body.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("{BEGIN}\n{}\n{END}", lines.join("\n"))
        };
        for text in [
            openssh().replace('\n', "\r\n"),
            format!("a comment\n{}", openssh()),
            format!("{}\n\n  \nbehind it\n", openssh()),
            wrapped(64),
            wrapped(76),
            wrapped(10_000),
        ] {
            let key = PrivateKey::parse(text).unwrap();
            assert_eq!((key.algorithm(), key.fingerprint()), ("ssh-ed25519", fingerprint.clone()));
            assert_eq!(format!("{key:?}"), format!("PrivateKey(ssh-ed25519 {fingerprint})"));
            assert_eq!(key.text(), openssh(), "libssh2 gets it as ssh-keygen writes it");
        }
    }

    /// Of ssh-keygen -t dsa.
    const DSA: &str = "\
-----BEGIN OPENSSH PRIVATE KEY-----\n\
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAABsgAAAAdzc2gtZH\n\
NzAAAAgQDkz4eDNjVYGogjcNT5rTbWlIeK3nHTKmF6lNlcaLiuUmzZCf2o9TjuCT13AU5i\n\
IyA3PozpL9nL73OO4xaaIddDYf93MKxVtrtyKNwm7qnnvt08174A9P/4ObwKkNTSMZRRir\n\
9bxYHQLoQS4inUyEN4d57tSbbVTRaovGKUQz2YvwAAABUAqA0wJnKSBxD76KN/+9EgnEV9\n\
7Z8AAACAGK/hbtMa6ScQr3X+O0/mAZWYpUe48SSSwuKwBnycnZfrtIN+30GFQXYbdJK5g5\n\
LiYJrLLydhv8LVh73IoooSSPMzyUDt0kXa33ai22PIx2pjFLawbHeYu8VVb9KHGzI6PvBk\n\
5N1jBmAdn7jGV16e/TRjtXzJnOTfoNP+1/+wi+UAAACBAIBOw5eCIZRnKH6brL2y2xTf98\n\
D7MkFX3T/+jSEV/xhs/qVjdzCcPwPM0EYsf2OXopp7vys8LttlX/7ndHBwSAzidazsUnVy\n\
IWFr71fMCOYW3Yvo4Y8/Wm0TQmqespmICtaV+RGHGgbF05jA41RSNJIMqr1PNaTnXVZn3T\n\
84CgdQAAAB2C90OXQvdDl0AAAAB3NzaC1kc3MAAACBAOTPh4M2NVgaiCNw1PmtNtaUh4re\n\
cdMqYXqU2VxouK5SbNkJ/aj1OO4JPXcBTmIjIDc+jOkv2cvvc47jFpoh10Nh/3cwrFW2u3\n\
Io3Cbuqee+3TzXvgD0//g5vAqQ1NIxlFGKv1vFgdAuhBLiKdTIQ3h3nu1JttVNFqi8YpRD\n\
PZi/AAAAFQCoDTAmcpIHEPvoo3/70SCcRX3tnwAAAIAYr+Fu0xrpJxCvdf47T+YBlZilR7\n\
jxJJLC4rAGfJydl+u0g37fQYVBdht0krmDkuJgmssvJ2G/wtWHvciiihJI8zPJQO3SRdrf\n\
dqLbY8jHamMUtrBsd5i7xVVv0ocbMjo+8GTk3WMGYB2fuMZXXp79NGO1fMmc5N+g0/7X/7\n\
CL5QAAAIEAgE7Dl4IhlGcofpusvbLbFN/3wPsyQVfdP/6NIRX/GGz+pWN3MJw/A8zQRix/\n\
Y5eimnu/Kzwu22Vf/ud0cHBIDOJ1rOxSdXIhYWvvV8wI5hbdi+jhjz9abRNCap6ymYgK1p\n\
X5EYcaBsXTmMDjVFI0kgyqvU81pOddVmfdPzgKB1AAAAAUHxOKhR+oyJot23XrF+5ftqzO\n\
muwAAAABeAE=\n\
-----END OPENSSH PRIVATE KEY-----\n\
";

    #[test]
    fn a_key_of_a_type_that_libssh2_lacks_is_refused_and_named() {
        let refused = PrivateKey::parse(DSA.to_owned()).unwrap_err();
        assert_eq!(refused, "is a key of the type ssh-dss, which cannot be used here; sie-gen-key makes one");
    }

    proptest! {
        #[test]
        fn a_damaged_key_is_an_error_or_a_key(at in 0..1000usize, byte in 0x20..0x7fu8, cut in 0..1000usize) {
            for text in [PEM.clone(), openssh()] {
                let mut bytes = text.into_bytes();
                bytes.truncate(bytes.len() - cut.min(bytes.len()) * usize::from(byte & 1));
                if let Some(place) = bytes.get_mut(at) {
                    *place = byte;
                }
                let _ = PrivateKey::parse(String::from_utf8(bytes).unwrap());
            }
        }
    }
}
