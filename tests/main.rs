//! One binary for all tests of behaviour.

mod background;
mod build;
mod check;
mod cli;
mod clock;
mod completions;
#[cfg(target_os = "linux")]
mod container;
mod encoding;
#[cfg(target_os = "linux")]
mod faults;
mod filter;
mod floods;
mod fragments;
mod gen_key;
mod hiding;
mod hostile;
mod independent;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod inject;
#[cfg(target_os = "linux")]
mod interfaces;
#[cfg(target_os = "linux")]
mod lab;
#[cfg(target_os = "linux")]
mod live;
#[cfg(target_os = "linux")]
mod locate;
mod manual;
#[cfg(target_os = "linux")]
mod name_server;
#[cfg(target_os = "linux")]
mod namespace;
mod pairing;
mod present;
mod program;
mod read;
mod reconfigure;
mod regression;
mod reload;
mod replay;
mod report;
#[cfg(target_os = "linux")]
mod resolver;
mod rsync;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sandbox;
#[cfg(target_os = "linux")]
mod sensor;
mod sftp;
mod signals;
mod spool;
mod spool_cli;
mod ssh;
mod ssh_program;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // some of it serves tests for Linux alone
mod sshd;
mod streams;
mod synthetic;
#[cfg(target_os = "linux")]
mod terminal;
#[cfg(target_os = "linux")]
mod top;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod upload;
