//! One binary for all tests of behaviour.

mod cli;
mod independent;
mod build;
mod encoding;
mod floods;
mod fragments;
mod hiding;
mod hostile;
mod pairing;
mod present;
mod program;
mod read;
mod regression;
mod replay;
mod synthetic;
mod streams;
