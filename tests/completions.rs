//! `completions`: what a shell offers when somebody types.

use super::program::run;
use std::process::Command;

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
    assert_eq!(offered(&["sie-dns-sensor", "rep"]), ["replay"]);
    assert_eq!(offered(&["sie-dns-sensor", "spool", "re"]), ["requeue"]);
    assert_eq!(offered(&["sie-dns-sensor", "run", "--pid"]), ["--pidfile"]);
    assert_eq!(offered(&["sie-dns-sensor", "run", "-c", "config/sie"]), ["config/sie-dns-sensor"]);
    assert_eq!(offered(&["sie-dns-sensor", "replay", "--summary", "j"]), ["json"]);
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
