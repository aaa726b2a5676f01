//! One binary for all tests of behaviour.

mod build;
mod check;
mod cli;
mod clock;
mod encoding;
#[cfg(target_os = "linux")]
mod faults;
mod filter;
mod floods;
mod fragments;
mod hiding;
mod hostile;
mod independent;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod inject;
#[cfg(target_os = "linux")]
mod live;
mod pairing;
mod present;
mod program;
mod read;
mod reconfigure;
mod regression;
mod replay;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod sandbox;
mod spool;
mod streams;
mod synthetic;
