//! SSH to a server, by libssh2: who it is, who we are, and a command there.

mod exec;
pub mod key;
pub mod known_hosts;
mod opening;
mod session;

pub use exec::Exec;
pub use opening::Account;
pub(super) use session::Wait;
pub use session::{Connection, KEEP_ALIVE};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};

/// The fingerprint of a key, a blob as SSH sends it, as OpenSSH writes it.
pub fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(openssl::sha::sha256(key)))
}

/// The type of a key: what its blob begins with.
struct KeyType<'k>(&'k str);

impl KeyType<'_> {
    /// None if it begins otherwise.
    fn of(key: &[u8]) -> Option<KeyType<'_>> {
        let (length, rest) = key.split_first_chunk()?;
        let name = str::from_utf8(rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?).ok()?;
        let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic());
        is_name.then_some(KeyType(name))
    }
}
