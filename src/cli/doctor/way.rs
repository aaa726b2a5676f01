//! The way to the server, in a process of its own: as the user that uploads, and confined like it.

use super::{
    finding::{Finding, Outcome},
    part::{self, say},
};
use crate::{
    cli::upload::{become_uploader, walk},
    config::Settings,
    daemon,
    upload::{Said, WAY},
};
use nix::unistd::{AccessFlags, access, geteuid};
use std::{error::Error, io};

/// The process.
pub(super) fn run() -> Result<(), Box<dyn Error>> {
    let settings = part::settings()?;
    daemon::keep_descriptors();
    let was_root = geteuid().is_root();
    let stages = match become_uploader(&settings, true) {
        Ok(stages) => stages,
        // Said with the users.
        Err((_, message)) => return Ok(say(&Finding::skip("server", message.lines().next().unwrap_or_default()))?),
    };
    let is_ours = was_root || access(&settings.upload_key_path(), AccessFlags::R_OK) != Err(nix::Error::EACCES);
    let mut account = Account { settings: &settings, server: None, held: Vec::new(), is_ours };
    let walked = walk(&settings, &stages, &mut |said| account.told(said));
    match walked {
        Ok(is_well) => account.end(is_well)?,
        Err(error) => say(&Finding::fail("server", error.to_string(), ""))?,
    }
    Ok(())
}

/// Makes findings of what is told.
struct Account<'s> {
    settings: &'s Settings,
    /// The one that is tried, where there are several.
    server: Option<String>,
    /// Of several servers one is enough: what is wrong with others is known at the end.
    held: Vec<Finding>,
    /// Whether the key is for this user to read.
    is_ours: bool,
}

impl Account<'_> {
    fn told(&mut self, said: Said) -> io::Result<()> {
        match said {
            Said::Server(name) => {
                self.server = Some(name);
                Ok(())
            }
            Said::Passed(step, found) => self.find(Finding::ok(step, found)),
            Said::Heard(line) => self.find(Finding::ok("server says", line)),
            Said::Note(note) => self.find(Finding::warn("note", note, "")),
            Said::Failed { step: "key", reason, .. } if !self.is_ours => {
                let user = &self.settings.upload_user;
                self.find(Finding::skip("key", format!("{reason}; root and {user} may: sudo sie-dns-sensor doctor")))?;
                self.skip_behind("key", "the key could not be read")
            }
            Said::Failed { step, reason, cure } => {
                self.find(Finding::fail(step, reason, cure))?;
                self.skip_behind(step, &format!("{step} failed"))
            }
        }
    }

    /// The steps that were not tried.
    fn skip_behind(&mut self, step: &str, why: &str) -> io::Result<()> {
        let known = WAY.iter().skip_while(|name| **name != step).skip(1);
        let is_program = !self.settings.ssh_program.is_empty();
        let steps = known.filter(|name| !is_program || **name == "command");
        steps.into_iter().try_for_each(|name| self.find(Finding::skip(name, why)))
    }

    fn find(&mut self, finding: Finding) -> io::Result<()> {
        match &self.server {
            None => say(&finding),
            Some(server) => {
                let found = format!("{server}: {}", finding.found).trim_end_matches(": ").to_owned();
                self.held.push(Finding { found, ..finding });
                Ok(())
            }
        }
    }

    fn end(self, is_one_well: bool) -> io::Result<()> {
        self.held.into_iter().try_for_each(|finding| match finding.outcome {
            Outcome::Fail if is_one_well => say(&Finding { outcome: Outcome::Warn, ..finding }),
            _ => say(&finding),
        })
    }
}
