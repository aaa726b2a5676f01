//! Files to an rsync at the far end. Here is its sending side only, as far as whole new files need it, for servers of
//! rsync 3.0 (2008) and later.
//!
//! [`send`] moves bytes between a [`Pipe`](super::Pipe), the files and a [`sender::Sender`], which knows the protocol and
//! nothing else.

mod fault;
mod frames;
mod greeting;
mod hearing;
mod list;
mod outbox;
mod pump;
mod requests;
pub mod sender;
mod sum;
mod wire;

pub use fault::Fault;
pub use list::Entry;
pub use pump::send;

/// The command to run at the far end, to receive files into `remote_dir`, which may begin at the root or at the directory
/// of the login. A wrapper there may split it at blanks, know no quotes, and look at its first words.
pub fn command(remote_dir: &str) -> Result<String, String> {
    let is_tame = |byte: u8| byte.is_ascii_alphanumeric() || b"._/+,=@:-".contains(&byte);
    if remote_dir.is_empty() || remote_dir.starts_with('-') || !remote_dir.bytes().all(is_tame) {
        return Err(format!(
            "the remote directory {remote_dir:?} cannot be named in a command; use letters, digits and . _ / + , = @ : - only"
        ));
    }
    // Without the slash, the server would store a file under the name of a directory that is missing.
    let slash = if remote_dir.ends_with('/') { "" } else { "/" };
    Ok(format!("rsync --server -e.LsfxCIvu --timeout=10 --remove-source-files . {remote_dir}{slash}"))
}

#[cfg(test)]
mod tests;
