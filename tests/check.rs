//! `check`: problems at once, else what the sensor would do; and the shipped configuration.

use crate::program::{self, Ended, Scratch};
use sie_dns_sensor::config::{self, Empty, Reload, SETTINGS, Setting, Settings};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The file as the old package shipped it, with every variable that it knew and left out put in.
const OLD: &str = r#"# configuration for sie-dns-sensor
spooldir=/var/spool/sie
uploadkey=/var/spool/sie/keys/upload
login=sie-username
interval=60
maxper=16
channel=ch202
interface=lo
DNSQR_RES_ADDRS="192.0.2.1, 2001:db8::1"
syslog_priority=local5.info
max_spool_size_kbytes=524288
memory_ulimit_kbytes=524288
DNSQR_AUTH_ADDRS=
submitserver=submit.sie-network.net
rsync=sie-rsync
wrapsrv=sie-wrapsrv
knownhosts=/var/spool/sie/keys/known_hosts
archive=no
upload=yes
DNSQR_CAPTURE_RD=0
export DNSQR_CAPTURE_QR=pair
DNSQR_FILTER_QNAMES_EXCLUDE=local:10.in-addr.arpa
DNSQR_FILTER_QNAMES_INCLUDE=keep.local
DNSQR_QUERY_TIMEOUT=60
DNSQR_STATE_TABLE_MAX=131072
DNSQR_ZERO_RESOLVER_ADDRESS=0
rsync_source=192.0.2.1
"#;

fn check(scratch: &Scratch, text: &str, sets: &[&str]) -> Ended {
    let file = scratch.file("conf", text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    check_file(&file, sets)
}

fn check_file(file: &Path, sets: &[&str]) -> Ended {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    program::run(["check", "-c", file.to_str().unwrap()].into_iter().chain(sets))
}

/// The lines that begin with `word` and a colon, the path of the file cut to its name.
fn said(ended: &Ended, word: &str) -> Vec<String> {
    let lines = ended.text().lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(": "));
    lines.map(|line| line.rsplit_once("/conf:").map_or(line, |(_, rest)| rest).to_string()).collect()
}

fn row<'e>(ended: &'e Ended, name: &str) -> &'e str {
    let found = ended.text().lines().find_map(|line| line.trim_start().strip_prefix(name));
    found.unwrap_or_else(|| panic!("{name}: {}", ended.text())).trim()
}

#[test]
fn the_old_file_passes_and_says_what_is_unused() {
    let scratch = Scratch::new();
    let ended = check(&scratch, OLD, &[]).with_code(0);
    assert_eq!(ended.stderr, "");
    let notes = [
        r#"5:10: interval="60": accepted, unused"#,
        r#"15:7: rsync="sie-rsync": accepted, unused"#,
        r#"16:9: wrapsrv="sie-wrapsrv": accepted, unused"#,
    ];
    assert_eq!(said(&ended, "note"), notes);
    assert!(!said(&ended, "warning").iter().any(|warning| warning.starts_with(|c: char| c.is_ascii_digit())));
    assert_eq!(row(&ended, "resolvers"), "192.0.2.1, 2001:db8::1");
    assert_eq!(row(&ended, "names"), "2 dropped, 1 of them kept");
    assert!(ended.text().lines().all(|line| line.chars().count() <= 120), "{}", ended.text());
}

#[test]
fn obsolete_settings_say_what_replaced_them_and_misspelt_ones_what_was_meant() {
    let scratch = Scratch::new();
    let text = format!("{OLD}bpfpat_src='src host 192.0.2.7'\nbpfpat_dst=x\ndnstype=auth\nspoldir=/x\n");
    let ended = check(&scratch, &text, &[]).with_code(78);
    assert_eq!(ended.stdout, b"");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{}", ended.stderr);
    assert!(lines[0].ends_with(r#"replaced by address lists; write DNSQR_RES_ADDRS="192.0.2.7""#), "{}", lines[0]);
    assert!(lines[1].contains(":29:12: bpfpat_dst="), "{}", lines[1]);
    assert!(lines[2].ends_with(r#"write DNSQR_AUTH_ADDRS="ADDRESS, ADDRESS""#), "{}", lines[2]);
    assert!(lines[3].ends_with(":31:1: spoldir: unknown variable; did you mean spooldir?"), "{}", lines[3]);
}

#[test]
fn all_problems_are_told_at_once() {
    let scratch = Scratch::new();
    let ended = check(&scratch, "maxper=x\nmemory_ulimit_kbytes=1000\nupload=$(id)\n", &["channel=a/b"]).with_code(78);
    let lines: Vec<&str> = ended.stderr.lines().map(|line| line.rsplit_once("/conf:").map_or(line, |l| l.1)).collect();
    let expected =
        [" interface: not set", " DNSQR_RES_ADDRS: neither", "1:8: maxper", "2:22: memory_ulimit", "3:8:", "--set"];
    assert_eq!(lines.len(), expected.len(), "{}", ended.stderr);
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
}

#[test]
fn all_interfaces_beside_others_are_refused() {
    let scratch = Scratch::new();
    if cfg!(target_os = "linux") {
        let ended = check(&scratch, OLD, &["interface=any+,lo"]).with_code(78);
        assert!(ended.stderr.contains("write any alone, or the others"), "{}", ended.stderr);
        check(&scratch, OLD, &["interface=any"]).with_code(0);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_filter_is_that_of_the_interfaces_frames() {
    use crate::{namespace::Namespace, program::SENSOR};
    let Some(namespace) = Namespace::empty() else { return };
    namespace.ip(&["tuntap", "add", "tun0", "mode", "tun"]);
    namespace.link(&["set", "lo", "up"]);
    let scratch = Scratch::new();
    let file = scratch.file("conf", OLD);
    let with = |interfaces: &str| {
        let mut command = std::process::Command::new("ip"); // which shows the namespace's /sys
        command.args(["netns", "exec", &namespace.0, SENSOR, "check", "-c"]).arg(&file);
        let output = command.args(["--set", &format!("interface={interfaces}")]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, filter) = text.split_once("kernel filter\n").unwrap_or_else(|| panic!("{text}"));
        filter.split("\nmemory").next().unwrap().to_owned()
    };
    assert!(with("any").contains("vlan"), "what any shows may have tags");
    let filter = with("tun0");
    assert!(!filter.contains("vlan") && !filter.contains("tun0"), "{filter}");
    let filter = with("lo,tun0");
    let (lo, tun) = filter.split_once("\n  tun0: ").unwrap_or_else(|| panic!("{filter}"));
    assert!(lo.starts_with("  lo: ") && lo.contains("vlan") && !tun.contains("vlan"), "{filter}");
}

#[test]
fn a_missing_file_is_named() {
    let ended = check_file(Path::new("/nonexistent/conf"), &[]).with_code(78);
    assert!(ended.stderr.starts_with("/nonexistent/conf: cannot be read: No such file"), "{}", ended.stderr);
    assert!(ended.stderr.contains("name another with --config"));
}

#[test]
fn a_file_that_anybody_can_write_is_warned_about() {
    let scratch = Scratch::new();
    let file = scratch.file("conf", OLD);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let warnings = said(&check_file(&file, &[]).with_code(0), "warning");
    assert!(warnings.contains(&" anybody can write it; chmod o-w keeps others out".to_string()), "{warnings:?}");
}

#[test]
fn a_missing_interface_is_a_warning() {
    let scratch = Scratch::new();
    let ended = check(&scratch, OLD, &["interface=lo,sienone0+"]).with_code(0);
    assert!(row(&ended, "sienone0").starts_with("missing"));
    assert!(said(&ended, "warning")[0].starts_with("sienone0: no such interface"), "{}", ended.text());
    assert!(!said(&ended, "warning").iter().any(|warning| warning.starts_with("lo:")));
}

#[test]
fn missing_users_and_directories_come_with_the_line_that_makes_them() {
    let scratch = Scratch::new();
    let sets = ["user=sie-nobody-a", "upload_user=sie-nobody-b", "spooldir=/nonexistent/spool"];
    let ended = check(&scratch, OLD, &sets).with_code(0);
    for line in [
        "useradd --system --user-group",
        "useradd --system --user-group --groups sie-nobody-a",
        "install -d -m 2770 -o sie-nobody-a",
    ] {
        assert!(ended.text().contains(line) || cfg!(not(target_os = "linux")), "{}", ended.text());
    }
    let spool = scratch.path("spool");
    fs::create_dir(&spool).unwrap();
    let set = format!("spooldir={}", spool.display());
    let there = check(&scratch, OLD, &[&set, "min_free_kbytes=8796093022208"]).with_code(0);
    assert!(row(&there, "spool").contains("mode 0"), "{}", there.text());
    assert!(row(&there, "new").contains("made at the start"));
    assert!(said(&there, "warning").iter().any(|warning| warning.contains("nothing would be written")));
}

#[test]
fn paths_that_the_users_may_not_use_are_warned_about_and_a_key_that_others_may() {
    let scratch = Scratch::new();
    let waiting = scratch.path("spool/waiting/ch202");
    fs::create_dir_all(&waiting).unwrap();
    let key = scratch.file("key", "");
    let path = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let spool = format!("spooldir={}", scratch.path("spool").display());
    let key_set = format!("uploadkey={}", key.display());
    let warnings = |server: &str| {
        let sets = [&spool, &key_set, "user=nobody", "upload_user=nobody", server];
        said(&check(&scratch, OLD, &sets).with_code(0), "warning").join("\n")
    };
    path(&waiting, 0o755);
    path(&key, 0o644);
    let said = warnings("login=x");
    assert!(said.contains(&format!("user nobody may not write {};", waiting.display())), "{said}");
    assert!(said.contains(&format!("others than nobody can use {0}; chmod 0600 {0}", key.display())), "{said}");
    path(&key, 0o640);
    assert!(warnings("login=x").contains("chmod 0600"), "the uploader refuses what a group can read");
    path(&waiting, 0o777);
    path(&key, 0o600);
    let said = warnings("login=x");
    assert!(!said.contains("may not write") && !said.contains("others than nobody"), "{said}");
    assert!(said.contains(&format!("user nobody may not read {};", key.display())), "{said}");
    assert!(!warnings("submitserver=dir:/tmp").contains(key.to_str().unwrap()), "a directory needs no key");
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&key, Some(12_345), None).unwrap();
        let said = warnings("login=x");
        assert!(said.contains(&format!("is not the key of nobody; chown nobody {}", key.display())), "{said}");
    } else {
        eprintln!("skipped in part: needs root");
    }
}

#[test]
fn where_files_go_and_how_is_said() {
    let scratch = Scratch::new();
    let by = |sets: &[&str]| check(&scratch, OLD, sets).with_code(0);
    let service = by(&["login=sie-one"]);
    assert_eq!(
        row(&service, "destination"),
        "the servers that the SRV records _rsync._tcp.submit.sie-network.net name"
    );
    assert_eq!(row(&service, "transport"), "rsync, by the SSH built in");
    assert_eq!((row(&service, "remote directory"), row(&service, "login")), ("up/ch202/", "sie-one"));
    assert_eq!(row(&service, "from"), "192.0.2.1");
    assert_eq!(row(&service, "alarm"), "when files wait and none is confirmed for 30 minutes");
    let sets = ["submitserver=collect.example.net:", "transport=sftp", "remote_dir=in", "upload_rate_kbytes=100"];
    let own = by(&sets);
    assert_eq!(row(&own, "destination"), "collect.example.net port 49222");
    assert_eq!((row(&own, "transport"), row(&own, "remote directory")), ("sftp, by the SSH built in", "in/"));
    assert_eq!(row(&own, "rate"), "at most 100 kilobytes a second");
    assert_eq!(row(&by(&["upload=no", "archive=yes"]), "destination"), "none");
}

#[test]
fn what_would_keep_files_from_being_uploaded_is_warned_about() {
    let scratch = Scratch::new();
    let warnings = |sets: &[&str]| said(&check(&scratch, OLD, sets).with_code(0), "warning").join("\n");
    let hosts = scratch.path("hosts");
    let missing = warnings(&["login=", &format!("knownhosts={}", hosts.display())]);
    assert!(missing.contains(&format!("cannot read {}: No such file", hosts.display())), "{missing}");
    assert!(missing.contains("login is not set"), "{missing}");
    let there = scratch.file("hosts", "");
    let there = warnings(&["login=sie-one", &format!("knownhosts={}", there.display())]);
    assert!(!there.contains("no server is trusted") && !there.contains("login"), "{there}");
    assert!(warnings(&[]).contains("login=\"sie-username\" is an example"));
    assert!(warnings(&["remote_dir=a b"]).contains("\"a b/\" cannot be named in a command"));
    assert!(!warnings(&["remote_dir=a b", "transport=sftp"]).contains("cannot be named"));
    let both = warnings(&["ssh_program=ssh", "transport=sftp"]);
    assert!(both.contains("transport=\"sftp\" is not heeded"), "{both}");
    let directory = warnings(&["submitserver=dir:/nonexistent/out"]);
    assert!(directory.contains("cannot use /nonexistent/out: No such file"), "{directory}");
    assert!(!directory.contains("login"), "a directory needs no account: {directory}");
}

#[test]
fn a_directory_that_the_upload_user_may_not_write_is_warned_about() {
    let scratch = Scratch::new();
    let out = scratch.path("out/below");
    fs::create_dir_all(&out).unwrap();
    let mode = |mode| fs::set_permissions(&out, fs::Permissions::from_mode(mode)).unwrap();
    let set = format!("submitserver=dir:{}", scratch.path("out").display());
    let sets = [set.as_str(), "remote_dir=/below", "user=nobody", "upload_user=nobody"];
    let warns = |ended: &Ended| said(ended, "warning").iter().any(|line| line.contains(out.to_str().unwrap()));
    mode(0o755);
    let ended = check(&scratch, OLD, &sets).with_code(0);
    assert!(warns(&ended) && row(&ended, "upload directory").contains("below, mode 0755"), "{}", ended.text());
    mode(0o777);
    assert!(!warns(&check(&scratch, OLD, &sets).with_code(0)));
}

#[test]
fn a_directory_that_is_the_spool_itself_is_warned_about() {
    let scratch = Scratch::new();
    let spool = scratch.path("spool");
    for below in ["waiting/ch202", "out"] {
        fs::create_dir_all(spool.join(below)).unwrap();
    }
    let spooldir = format!("spooldir={}", spool.display());
    let warns = |below: &str| {
        let server = format!("submitserver=dir:{}", spool.join(below).display());
        let ended = check(&scratch, OLD, &[&spooldir, "channel=ch202", &server]).with_code(0);
        said(&ended, "warning").iter().any(|line| line.contains("it is the spool itself"))
    };
    assert!(warns("waiting/ch202") && !warns("out"));
}

#[test]
fn the_parts_of_the_memory_are_the_whole() {
    let scratch = Scratch::new();
    let ended = check(&scratch, OLD, &["interface=lo,sienone0", "drop_duplicates_ms=1"]).with_code(0);
    let section = ended.text().split("memory, in kilobytes\n").nth(1).unwrap();
    let number = |line: &str| line.split_whitespace().last().unwrap().parse::<u64>().unwrap();
    let mut lines = section.lines();
    let limit = number(lines.next().unwrap());
    let parts: Vec<u64> = lines.take_while(|line| line.starts_with("    ")).map(number).collect();
    assert_eq!((limit, parts.len()), (524_288, 10), "every part: {section}");
    assert!(parts.iter().sum::<u64>().abs_diff(limit) < 10, "each is rounded down: {section}");
}

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/sie-dns-sensor")
}

/// The line of the shipped file that sets or shows a setting: whether it sets it, the value, the comment above.
fn shown(text: &str, setting: &Setting) -> (bool, String, String) {
    let assignment = format!("{}=\"", setting.name);
    let lines: Vec<&str> = text.lines().collect();
    let at = |line: &&str| line.strip_prefix('#').unwrap_or(line).starts_with(&assignment);
    let found: Vec<usize> = (0..lines.len()).filter(|&index| at(&lines[index])).collect();
    assert_eq!(found.len(), 1, "{} in the shipped configuration", setting.name);
    let line = lines[found[0]];
    let value = line.split('"').nth(1).unwrap().to_string();
    let comment: Vec<&str> =
        lines[..found[0]].iter().rev().take_while(|line| line.starts_with("# ")).copied().collect();
    (!line.starts_with('#'), value, comment.into_iter().rev().collect::<Vec<_>>().join(" "))
}

#[test]
fn the_shipped_configuration_shows_every_setting_with_its_default() {
    let text = fs::read_to_string(shipped()).unwrap();
    for setting in SETTINGS {
        let (is_set, value, comment) = shown(&text, setting);
        assert_eq!(is_set, ["login", "interface", "DNSQR_RES_ADDRS"].contains(&setting.name), "{}", setting.name);
        // FreeBSD's packages change the one path.
        let default = setting.default.replace("/var/run/", "/run/");
        assert!(is_set || value == default, "{}=\"{value}\"", setting.name);
        assert!(!comment.is_empty(), "{} is not explained", setting.name);
        assert_eq!(comment.contains("(restart)"), setting.reload == Reload::Restart, "{}", setting.name);
        let unit = setting.values.split(',').next().unwrap();
        if ["kilobytes", "seconds", "milliseconds", "minutes", "days"].contains(&unit) {
            assert!(comment.to_lowercase().contains(unit), "{} in {unit}", setting.name);
        }
        let no_limit = setting.empty == Empty::Value && unit == "kilobytes";
        assert_eq!(comment.contains("0 or empty"), no_limit, "{}", setting.name);
    }
    let shows = |line: &&str| line.contains("=\"") && !line.starts_with("# ");
    assert_eq!(text.lines().filter(shows).count(), SETTINGS.len(), "it shows what is no setting");
}

#[test]
fn the_shipped_configuration_with_every_comment_taken_off_is_the_default() {
    let text = fs::read_to_string(shipped()).unwrap();
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.contains("=\"") && !rest.starts_with(' ') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    let scratch = Scratch::new();
    let file = scratch.file("conf", text.lines().map(uncommented).collect::<String>());
    let (mut settings, notices) = config::load_for_run(&file, &[]).unwrap();
    assert_eq!(notices, []);
    let default = Settings::default();
    assert_eq!(settings.login.as_deref(), Some("sie-username"));
    settings.login = None;
    settings.interfaces.clear();
    settings.resolver_addresses = default.resolver_addresses.clone();
    assert_eq!(settings, default);
}

#[test]
fn the_shipped_configuration_passes() {
    let ended = check_file(&shipped(), &[]).with_code(0);
    assert_eq!((ended.stderr.as_str(), said(&ended, "note")), ("", vec![]));
}

#[test]
fn the_drop_in_for_the_unit_is_at_the_end_and_alone_when_asked_for() {
    let scratch = Scratch::new();
    let all = check(&scratch, OLD, &["spooldir=/data/sie"]);
    if cfg!(target_os = "linux") {
        assert!(all.text().contains("\n      ReadWritePaths=-/data/sie\n"), "{}", all.text());
    }
    let file = scratch.path("conf");
    let alone = |set: &str| program::run(["check", "--drop-in", "-c", file.to_str().unwrap(), "--set", set]);
    assert_eq!(alone("spooldir=/data/sie").text(), "[Service]\nReadWritePaths=\nReadWritePaths=-/data/sie\n");
    assert_eq!(alone("archive=yes").text(), "");
}
