//! Command line.

mod captures;
mod check;
mod completions;
mod doctor;
mod exit;
mod gen_key;
mod inputs;
mod output;
mod pause;
mod progress;
mod read;
mod replay;
mod report;
mod run;
mod spool;
mod status;
mod top;
mod upload;

use std::{env, ffi::OsString, path::Path, process::ExitCode};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

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
    /// Check a set-up from end to end: files, users, clock, packets, server; each with its cure
    Doctor(doctor::DoctorArgs),
    /// Make the key to upload with; also the program sie-gen-key
    GenKey(gen_key::GenKeyArgs),
    /// Send the files that wait, without capturing
    Upload(upload::UploadArgs),
    /// Show how the sensor that runs is doing; its exit code is that of a monitoring check
    Status(status::StatusArgs),
    /// Watch the sensor that runs, or a file: rates, delays, the busiest zones and servers, the slowest
    Top(top::TopArgs),
    /// Stop capturing, or sending, for a while or until resumed; a restart does not end it
    Pause(pause::PauseArgs),
    /// Go on with what was paused
    Resume(pause::ResumeArgs),
    /// From capture files to NMSG, with an account of every packet
    Replay(replay::ReplayArgs),
    /// One HTML page about captures or NMSG files: delays, servers, zones, what is amiss
    Report(report::ReportArgs),
    /// Show what NMSG files hold
    Read(Box<read::ReadArgs>),
    /// Show the files that wait, upload archived ones again, check that files are whole
    Spool(spool::SpoolArgs),
    /// Print what completes command lines in a shell: for packages
    #[command(hide = true)]
    Completions(completions::CompletionsArgs),
    /// Said by the sensor to its own process that starts ssh_program
    #[command(hide = true)]
    Launch {
        /// The program and its first arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        words: Vec<String>,
    },
}

/// The program: parses the command line, runs the subcommand.
pub fn main() -> ExitCode {
    match typed().command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::GenKey(args) => gen_key::run(&args),
        Command::Upload(args) => upload::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Pause(args) => pause::pause(&args),
        Command::Resume(args) => pause::resume(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Read(args) => read::run(&args),
        Command::Spool(args) => spool::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Launch { words } => match crate::upload::program::serve(&words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("sie-dns-sensor launch: {error}");
                ExitCode::from(2)
            }
        },
    }
}

/// The command line's grammar: what manuals and completions are made of, or checked against.
pub fn grammar() -> clap::Command {
    CommandLine::command()
}

/// What was typed. A link's name stands for a subcommand, and is what help and errors then name.
fn typed() -> CommandLine {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    let mut grammar = grammar();
    let name = arguments.first().and_then(|name| Path::new(name).file_name());
    if name.is_some_and(|name| name == gen_key::PROGRAM) {
        arguments.insert(1, "gen-key".into());
        grammar = grammar
            .mut_subcommand("gen-key", |command| command.override_usage(format!("{} [OPTIONS]", gen_key::PROGRAM)));
    }
    // As CommandLine::parse_from does, which knows one grammar only.
    CommandLine::from_arg_matches(&grammar.get_matches_from(arguments)).unwrap_or_else(|error| error.exit())
}
