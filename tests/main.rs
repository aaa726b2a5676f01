//! One binary for all tests of behaviour.

mod cli;
mod independent;
mod build;
mod fragments;
mod pairing;
mod present;
mod program;
mod read;
mod regression;
mod replay;
mod synthetic;
mod streams;
