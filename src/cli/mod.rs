//! Command line.

mod check;
mod output;
mod progress;
mod read;
mod replay;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A passive DNS sensor: pairs the queries and responses between resolvers and authoritative servers.
#[derive(Parser)]
#[command(name = "sie-dns-sensor", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Capture from interfaces, write and hand on files: the sensor
    Run(run::RunArgs),
    /// Check the settings, and show what the sensor would do
    Check(check::CheckArgs),
    /// From capture files to NMSG, with an account of every packet
    Replay(replay::ReplayArgs),
    /// Show what NMSG files hold
    Read(read::ReadArgs),
}

/// The program: parses the command line, runs the subcommand.
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Read(args) => read::run(args),
    }
}
