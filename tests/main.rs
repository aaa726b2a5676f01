//! One binary for all tests of behaviour.

mod build;
mod check;
mod cli;
mod clock;
mod encoding;
mod filter;
mod floods;
mod fragments;
mod hiding;
mod hostile;
mod independent;
mod pairing;
mod present;
mod program;
mod read;
mod reconfigure;
mod regression;
mod replay;
mod spool;
mod streams;
mod synthetic;
