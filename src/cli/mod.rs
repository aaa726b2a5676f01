//! Command line.

mod read;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A passive DNS sensor.
#[derive(Parser)]
#[command(name = "sie-dns-sensor", version, max_term_width = 100)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what NMSG files hold
    Read(read::ReadArgs),
}

/// The program: parses the command line, runs the subcommand.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
pub fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Read(args) => read::run(args),
    }
}
