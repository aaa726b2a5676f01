//! `sie-dns-sensor completions`: the scripts that complete its command lines in a shell.

use super::exit::FAILED;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// The program, as it is installed.
const PROGRAM: &str = "sie-dns-sensor";

/// What was typed.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Known,
}

/// The shells that packages have a directory for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

/// Runs the subcommand.
pub fn run(args: &CompletionsArgs) -> ExitCode {
    match io::stdout().write_all(script(args.shell).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "sie-dns-sensor completions: cannot write standard output: {error}");
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn script(shell: Known) -> String {
    // clap's names are of the program's text, and so must live as long as it; it ends at once.
    let grammar = Box::leak(Box::new(super::grammar()));
    let mut script = Vec::new();
    let of = match shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    clap_complete::generate(of, &mut shown(grammar), PROGRAM, &mut script);
    let script = String::from_utf8_lossy(&script);
    // clap_complete writes a hyphen of the program's name in two ways in the script for bash, and then knows no
    // subcommand (clap's issue 6421); without it this replaces nothing.
    script.replace("sie__subcmd__dns__subcmd__sensor", "sie__dns__sensor")
}

/// What of a command is for people: clap_complete offers what is hidden too.
fn shown(command: &'static Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    Command::new(command.get_name())
        .about(about)
        .version(command.get_version().unwrap_or_default())
        .disable_version_flag(command.get_version().is_none())
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().filter(|command| !command.is_hide_set()).map(shown))
}
