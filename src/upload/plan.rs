//! What the settings say of uploads.

use crate::config::{Settings, SubmitServer, Transport};
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// Where files go, how, and by what rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether anything is uploaded at all.
    pub is_on: bool,
    /// Where files wait: `waiting/CHANNEL`.
    pub waiting: PathBuf,
    /// Where they go.
    pub server: SubmitServer,
    /// How.
    pub transport: Transport,
    /// The directory there; none was set: [`Plan::remote_dir`].
    pub set_remote_dir: Option<String>,
    /// What it is if none was set.
    pub default_remote_dir: String,
    /// The account there.
    pub login: Option<String>,
    /// Our private key.
    pub key: PathBuf,
    /// The server's keys.
    pub known_hosts: PathBuf,
    /// Our address.
    pub source: Option<IpAddr>,
    /// Instead of the SSH built in: a program and its first arguments.
    pub ssh_program: Vec<String>,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Without a confirmation for so long there is an alarm.
    pub alarm: Duration,
    /// Files in one batch.
    pub max_per_batch: usize,
}

impl Plan {
    /// Of these settings.
    pub fn new(settings: &Settings) -> Plan {
        Plan {
            is_on: settings.upload,
            waiting: settings.spool_dir.join("waiting").join(&settings.channel),
            server: settings.submit_server.clone(),
            transport: settings.transport,
            set_remote_dir: settings.remote_dir.as_ref().map(|_| settings.remote_dir_path()),
            default_remote_dir: settings.remote_dir_path(),
            login: settings.login.clone(),
            key: settings.upload_key_path(),
            known_hosts: settings.known_hosts_path(),
            source: settings.rsync_source,
            ssh_program: settings.ssh_program.clone(),
            rate: settings.upload_rate,
            alarm: settings.upload_alarm,
            max_per_batch: settings.max_per_batch,
        }
    }

    /// The directory at the server, with a slash at its end.
    pub fn remote_dir(&self) -> &str {
        self.set_remote_dir.as_deref().unwrap_or(&self.default_remote_dir)
    }

    /// The server, for people.
    pub fn server_name(&self) -> String {
        match &self.server {
            SubmitServer::Srv(name) => name.clone(),
            SubmitServer::HostPort(host, port) => format!("{host} port {port}"),
            SubmitServer::Dir(path) => crate::escape::escaped(path),
        }
    }
}
