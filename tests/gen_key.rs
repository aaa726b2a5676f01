//! `gen-key`, as an operator runs it.

use crate::program::{Ended, SENSOR, Scratch};
use std::{fs, os::unix::fs::symlink, process::Command};

/// Runs it with the key in a directory of the test.
fn gen_key(program: &str, before: &[&str], scratch: &Scratch, more: &[&str]) -> Ended {
    let config =
        scratch.file("config", format!("uploadkey={}\nupload_user=nobody\n", scratch.path("keys/upload").display()));
    let mut command = Command::new(program);
    command.args(before).arg("-c").arg(config).args(more);
    command.output().unwrap().into()
}

#[test]
fn a_new_key_comes_with_what_to_do_with_it() {
    let scratch = Scratch::new();
    let ended = gen_key(SENSOR, &["gen-key"], &scratch, &[]).with_code(0);
    let public = fs::read_to_string(scratch.path("keys/upload.pub")).unwrap();
    assert!(public.starts_with("ssh-ed25519 ") && ended.text().starts_with(&format!("{public}SHA256:")));
    let name = scratch.path("keys/upload.pub");
    for part in [&format!("Mail {}", name.display()), "login=\"LOGIN\"", "sie-dns-sensor upload --test -c "] {
        assert!(ended.text().contains(part), "{part} in {}", ended.text());
    }
    let private = fs::read(scratch.path("keys/upload")).unwrap();
    let ended = gen_key(SENSOR, &["gen-key"], &scratch, &[]).with_code(2);
    assert!(ended.stderr.contains("keys/upload exists and is not overwritten"), "{}", ended.stderr);
    assert_eq!(fs::read(scratch.path("keys/upload")).unwrap(), private);
}

#[test]
fn a_link_named_as_the_old_program_does_the_same() {
    let scratch = Scratch::new();
    let link = scratch.path("sie-gen-key");
    symlink(SENSOR, &link).unwrap();
    let ended = gen_key(link.to_str().unwrap(), &[], &scratch, &["-t", "rsa"]).with_code(0);
    assert!(ended.text().starts_with("ssh-rsa "), "{}", ended.text());
    let help = gen_key(link.to_str().unwrap(), &["--help"], &scratch, &[]).with_code(0);
    assert!(help.text().contains("\nUsage: sie-gen-key [OPTIONS]\n"), "{}", help.text());
    let wrong = gen_key(link.to_str().unwrap(), &["--wrong"], &scratch, &[]).with_code(2);
    assert!(wrong.stderr.contains("\nUsage: sie-gen-key [OPTIONS]\n"), "{}", wrong.stderr);
    let ours = gen_key(SENSOR, &["gen-key", "--help"], &scratch, &[]).with_code(0);
    assert!(ours.text().contains("\nUsage: sie-dns-sensor gen-key [OPTIONS]\n"), "{}", ours.text());
}

#[cfg(target_os = "linux")]
#[test]
fn root_makes_it_the_upload_users_and_others_are_told_whom_to_be() {
    use std::os::unix::{fs::MetadataExt, process::CommandExt};
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    // Where every user gets to.
    let directory = crate::sensor::Directory::new();
    let key = directory.0.join("keys/upload");
    let set = format!("uploadkey={}", key.display());
    crate::program::run(["gen-key", "-c", "/dev/null", "--set", &set, "--set", "upload_user=nobody"]).with_code(0);
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    for (name, mode) in [("keys", 0o755), ("keys/upload", 0o600), ("keys/upload.pub", 0o644)] {
        let found = fs::metadata(directory.0.join(name)).unwrap();
        let owner = (nobody.uid.as_raw(), nobody.gid.as_raw(), mode);
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), owner, "{name}");
    }
    // The program itself may be in a place that only root reaches.
    let program = directory.0.join("program");
    fs::copy(SENSOR, &program).unwrap();
    let as_other = |key: &str| {
        let set = format!("uploadkey={}", directory.0.join(key).display());
        let mut command = Command::new(&program);
        command.args(["gen-key", "-c", "/dev/null", "--set", &set]).uid(3_059_903).gid(3_059_903);
        Ended::from(command.output().unwrap()).with_code(2).stderr
    };
    for key in ["keys/other", "else/upload"] {
        let said = as_other(key);
        assert!(said.ends_with("is another user's: run this as root, or as sie-upload\n"), "{said}");
    }
}
