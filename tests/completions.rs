//! `completions`: what a shell offers when somebody types.

use super::program::run;
use std::{
    io::ErrorKind,
    process::{Command, Output},
};

fn script(shell: &str) -> String {
    run(["completions", shell]).with_code(0).text().to_owned()
}

/// What bash offers for the last of `words`.
fn offered(words: &[&str]) -> Vec<String> {
    let ask = r#"
        eval "$SCRIPT"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        function=$(complete -p sie-dns-sensor) function=${function#*-F } function=${function%% *}
        "$function" sie-dns-sensor "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", ask, "bash"]).args(words).env("SCRIPT", script("bash")).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_subcommands_options_and_paths() {
    assert_eq!(offered(&["sie-dns-sensor", "repl"]), ["replay"]);
    assert_eq!(offered(&["sie-dns-sensor", "spool", "re"]), ["requeue"]);
    assert_eq!(offered(&["sie-dns-sensor", "run", "--pid"]), ["--pidfile"]);
    assert_eq!(offered(&["sie-dns-sensor", "run", "-c", "config/sie"]), ["config/sie-dns-sensor"]);
    assert_eq!(offered(&["sie-dns-sensor", "replay", "--summary", "j"]), ["json"]);
}

/// Runs a script in a shell that not every system has.
fn in_shell(shell: &str, ask: &str) -> Option<Output> {
    let home = env!("CARGO_TARGET_TMPDIR"); // some write there
    match Command::new(shell).args(["-c", ask]).env("SCRIPT", script(shell)).env("HOME", home).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: needs {shell}");
            None
        }
        output => Some(output.unwrap()),
    }
}

#[test]
fn fish_completes_subcommands_and_options() {
    let ask =
        "printf %s $SCRIPT | source; complete -C 'sie-dns-sensor spool re'; complete -C 'sie-dns-sensor run --pid'";
    let Some(output) = in_shell("fish", ask) else { return };
    let offered = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = offered.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["requeue", "--pidfile"], "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn zsh_takes_its_script_for_a_completion() {
    // Completing needs a terminal; that the script is read and its functions are there does not.
    let ask = "autoload -U compinit && compinit -u -D; eval \"$SCRIPT\"; print $_comps[sie-dns-sensor]; whence -w _sie-dns-sensor";
    let Some(output) = in_shell("zsh", ask) else { return };
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "_sie-dns-sensor\n_sie-dns-sensor: function\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn no_shell_offers_what_is_not_for_people() {
    for shell in ["bash", "zsh", "fish"] {
        let script = script(shell);
        assert!(script.contains("requeue") && script.contains("pidfile"), "{shell}");
        for hidden in ["launch", "completions", "--background", "-l background", "--child", "-l child"] {
            assert!(!script.contains(hidden), "{shell} offers {hidden}");
        }
    }
}
