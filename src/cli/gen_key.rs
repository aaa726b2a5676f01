//! `sie-dns-sensor gen-key`, also called `sie-gen-key`: makes the key that the sensor uploads with.

use super::exit::{FAILED, SETTINGS};
use crate::{
    config::{self, Settings},
    daemon::users::User,
    escape::escaped,
    spool,
    upload::keys::{self, KeyType, Made},
};
use clap::{Args, ValueEnum};
use std::{
    error::Error,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The name of a link to the program that stands for this subcommand: what the package before had.
pub(super) const PROGRAM: &str = "sie-gen-key";

/// Who reads the mail of those who want to upload to the SIE.
const CONTACT: &str = "passivedns@farsightsecurity.com";

/// What was typed.
#[derive(Args, Debug)]
pub struct GenKeyArgs {
    /// Type of the key; rsa (3072 bits) is for servers that are too old for the other
    #[arg(short = 't', long = "type", value_name = "TYPE", value_enum, default_value = "ed25519")]
    of: Type,
    /// Read settings from this file, not from that of the system
    #[arg(short, long, value_name = "FILE", default_value_os_t = config::default_path().to_owned())]
    config: PathBuf,
    /// Set a setting, over what the configuration file says: uploadkey=/PATH
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    Ed25519,
    Rsa,
}

/// Runs the subcommand.
pub fn run(args: &GenKeyArgs) -> ExitCode {
    let (settings, _) = match config::load(Some(&args.config), &args.set) {
        Ok(loaded) => loaded,
        Err(problems) => {
            let _ = writeln!(io::stderr(), "{problems}");
            return ExitCode::from(SETTINGS);
        }
    };
    let done = make(&settings, args.of).and_then(|made| {
        let written = io::stdout().write_all(describe(&settings, &made, &args.config).as_bytes());
        Ok(written.or_else(|error| if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "sie-dns-sensor gen-key: {error}");
            ExitCode::from(FAILED)
        }
    }
}

fn make(settings: &Settings, of: Type) -> Result<Made, Box<dyn Error>> {
    let is_root = nix::unistd::geteuid().is_root();
    let owner = if is_root { User::find(&settings.upload_user)? } else { User::current()? };
    // Who may not make the key is told who may.
    let owner = if is_root { owner } else { User { name: settings.upload_user.clone(), ..owner } };
    let of = match of {
        Type::Ed25519 => KeyType::Ed25519,
        Type::Rsa => KeyType::Rsa,
    };
    let comment = spool::host_name(settings.host_name.as_deref());
    Ok(keys::make(&settings.upload_key_path(), of, &comment, &owner)?)
}

fn describe(settings: &Settings, made: &Made, config: &Path) -> String {
    let Made { public_path, public, fingerprint } = made;
    let is_default = config == config::default_path();
    let option = if is_default { String::new() } else { format!(" -c {}", escaped(config)) };
    format!(
        "{public}\n{fingerprint}\n\n\
         The private key is in {}: it stays on this machine.\n\n\
         What to do now:\n\
         1. Mail {} to the contact of the collection service\n   (of the SIE: {CONTACT}); a login comes back.\n\
         2. Write the login into {}: login=\"LOGIN\"\n\
         3. Try it: sie-dns-sensor upload --test{option}\n",
        escaped(&settings.upload_key_path()),
        escaped(public_path),
        escaped(config),
    )
}
