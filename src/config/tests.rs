//! From files and `--set` to settings or problems.

use super::*;

/// A file of its own that goes when the test ends.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sie-config-{}-{number}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What `load` says of a file with this text, the file called FILE.
fn load_text(text: &str, sets: &[&str]) -> Result<(Settings, Vec<String>), Vec<String>> {
    let file = File::new(text);
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let name = file.0.display().to_string();
    let lines = |text: String| text.replace(&name, "FILE").lines().map(str::to_owned).collect::<Vec<_>>();
    match load(Some(&file.0), &sets) {
        Ok((settings, notices)) => {
            Ok((settings, notices.iter().flat_map(|notice| lines(notice.to_string())).collect()))
        }
        Err(problems) => Err(lines(problems.to_string())),
    }
}

fn settings(text: &str, sets: &[&str]) -> Settings {
    load_text(text, sets).unwrap().0
}

fn problems(text: &str, sets: &[&str]) -> Vec<String> {
    load_text(text, sets).unwrap_err()
}

/// The file as the old package shipped it (legacy.md §13).
const SHIPPED: &str = r#"# configuration for sie-dns-sensor
spooldir=/var/spool/sie
uploadkey=/var/spool/sie/keys/upload
login=sie-username
interval=60
maxper=16
channel=ch202
interface=eth0
DNSQR_RES_ADDRS="192.0.2.1, 2001:db8::1"
#DNSQR_AUTH_ADDRS=""
syslog_priority=local5.info
max_spool_size_kbytes=524288
memory_ulimit_kbytes=524288
"#;

#[test]
fn the_shipped_old_file_loads() {
    let (settings, notices) = load_text(SHIPPED, &[]).unwrap();
    assert_eq!(settings.interfaces[0].name, "eth0");
    assert_eq!(settings.resolver_addresses.prefixes().len(), 2);
    assert_eq!((settings.max_per_batch, settings.login.as_deref()), (16, Some("sie-username")));
    assert_eq!(settings.memory_limit, 512 << 20);
    assert_eq!(notices, [r#"FILE:5:10: interval="60": accepted, unused"#]);
}

#[test]
fn no_file_and_an_empty_file_are_the_defaults() {
    assert_eq!(load(None, &[]).unwrap(), (Settings::default(), vec![]));
    assert_eq!(settings("", &[]), Settings::default());
}

#[test]
fn set_wins_over_the_file_and_the_last_over_the_first() {
    let text = "DNSQR_QUERY_TIMEOUT=10\nDNSQR_QUERY_TIMEOUT=20\nchannel=a\nmaxper=7";
    let sets = ["channel=b", "channel=c", "maxper="];
    let settings = settings(text, &sets);
    assert_eq!(settings.query_timeout, Duration::from_secs(20));
    assert_eq!((settings.channel.as_str(), settings.max_per_batch), ("c", 512));
}

#[test]
fn a_value_that_is_overridden_need_not_be_valid() {
    assert_eq!(settings("maxper=many\n", &["maxper=3"]).max_per_batch, 3);
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_file() {
    let text = "# x\nDNSQR_QUERY_TIMEOUT=\"60s\"\nmaxper=$(nproc)\nspoldir=/x\n\n  upload=maybe zzzzzzzzz=1\nDNSQR_RES_ADDRS='1.2.3.4.5, y'";
    assert_eq!(
        problems(text, &["DNSQR_AUTH_ADDRS=192.0.2.300", "spoldir=/y", "x"]),
        [
            r#"FILE:2:21: DNSQR_QUERY_TIMEOUT="60s": not a whole number of seconds; write "60""#,
            "FILE:3:8: commands are never run; write the value itself",
            "FILE:4:1: spoldir: unknown variable; did you mean spooldir?",
            r#"FILE:6:10: upload="maybe": not a value of this setting; write yes or no"#,
            "FILE:6:16: zzzzzzzzz: unknown variable; remove it",
            r#"FILE:7:17: DNSQR_RES_ADDRS="1.2.3.4.5, y": "1.2.3.4.5" is not an address or prefix"#,
            r#"FILE:7:17: DNSQR_RES_ADDRS="1.2.3.4.5, y": "y" is not an address or prefix"#,
            "--set x: no name or no equals sign; write NAME=VALUE",
            r#"--set DNSQR_AUTH_ADDRS="192.0.2.300": "192.0.2.300" is not an address or prefix"#,
            "--set spoldir: unknown variable; did you mean spooldir?",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_and_not_the_defaults() {
    let missing = Path::new("/nonexistent/sie-dns-sensor");
    let problems = load(Some(missing), &[]).unwrap_err().to_string();
    assert_eq!(problems, "/nonexistent/sie-dns-sensor: cannot be read: No such file or directory (os error 2)");
    assert!(load(Some(Path::new("/")), &[]).is_err());
}

#[test]
fn notices_say_what_was_made_of_a_value() {
    let text = "DNSQR_AUTH_ADDRS=192.0.2.53/24 interface=eth0,1522\nrsync=sie-rsync wrapsrv= DNSQR_QUERY_TIMEOUT=060";
    assert_eq!(
        load_text(text, &[]).unwrap().1,
        [
            r#"FILE:1:18: DNSQR_AUTH_ADDRS="192.0.2.53/24": 192.0.2.53/24: host bits set, taken as 192.0.2.0/24"#,
            r#"FILE:1:42: interface="eth0,1522": snap length 1522 of eth0: accepted, unused"#,
            r#"FILE:2:7: rsync="sie-rsync": accepted, unused"#,
            r#"FILE:2:46: DNSQR_QUERY_TIMEOUT="060": leading zero, taken as decimal 60"#,
        ]
    );
}

#[test]
fn old_filters_are_refused_with_the_line_to_write() {
    let said = |text: &str| problems(text, &[]).concat();
    assert_eq!(
        said("bpfpat_src='(src host 192.0.2.1 or src host 2001:db8::1)'"),
        r#"FILE:1:12: bpfpat_src="(src host 192.0.2.1 or src host 2001:db8::1)": replaced by address lists; write DNSQR_RES_ADDRS="192.0.2.1, 2001:db8::1""#
    );
    assert!(said("bpfpat_dst='not host 192.0.2.1'").ends_with(r#"write DNSQR_RES_ADDRS="ADDRESS, ADDRESS""#));
    assert!(said("dnstype=cache").ends_with(r#"write DNSQR_RES_ADDRS="ADDRESS, ADDRESS""#));
    assert!(said("dnstype=auth").ends_with(r#"write DNSQR_AUTH_ADDRS="ADDRESS, ADDRESS""#));
    assert_eq!(settings("dnstype=", &[]), Settings::default());
}

#[test]
fn empty_means_not_set_except_where_it_is_a_value() {
    let text =
        "maxper= DNSQR_PORTS='' DNSQR_CAPTURE_RD=' ' interface=\nmax_spool_size_kbytes= upload= DNSQR_CAPTURE_TCP=";
    let settings = settings(text, &[]);
    let expected = Settings { max_spool_size: None, upload: false, capture_tcp: false, ..Settings::default() };
    assert_eq!(settings, expected);
}

#[test]
fn a_variable_that_the_file_uses_is_its_own_affair() {
    assert_eq!(settings("base=/srv\nspooldir=$base/sie", &[]).spool_dir, Path::new("/srv/sie"));
    assert_eq!(problems("base=/srv\nspooldir=/srv/sie", &[]).len(), 1);
}

#[test]
fn names_come_from_lists_and_files() {
    let many = File::new(&(0..100_000).map(|n| format!("n{n}.example\n")).collect::<String>());
    let text = format!(
        "DNSQR_FILTER_QNAMES_EXCLUDE_FILE={} DNSQR_FILTER_QNAMES_EXCLUDE=local:lan DNSQR_FILTER_QNAMES_INCLUDE=n7.example",
        many.0.display()
    );
    let filter = settings(&text, &[]).name_filter;
    assert!(filter.drops(b"\x01a\x03LAN\0") && filter.drops(b"\x06n99999\x07example\0"));
    assert!(!filter.drops(b"\x02n7\x07example\0"));
}

#[test]
fn a_bad_names_file_is_named() {
    let bad = File::new("fine.example\nb..d\n");
    let said = problems(&format!("DNSQR_FILTER_QNAMES_INCLUDE_FILE={}", bad.0.display()), &[]).concat();
    assert!(said.ends_with(r#":2:1: "b..d" is not a domain name: empty label"#), "{said}");
    let said = problems("DNSQR_FILTER_QNAMES_EXCLUDE_FILE=/nonexistent/n", &[]).concat();
    assert!(
        said.starts_with("FILE:1:34: DNSQR_FILTER_QNAMES_EXCLUDE_FILE=\"/nonexistent/n\": cannot be read"),
        "{said}"
    );
}

#[test]
fn a_names_file_without_an_end_is_not_read_to_it() {
    let said = problems("DNSQR_FILTER_QNAMES_EXCLUDE_FILE=/dev/zero", &[]).concat();
    assert!(said.ends_with(": cannot be read: more than 256 MiB"), "{said}");
}

#[test]
fn a_pipe_is_read_once_and_not_waited_for_again() {
    let pipe = File::new("");
    std::fs::remove_file(&pipe.0).unwrap();
    nix::unistd::mkfifo(&pipe.0, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let path = pipe.0.clone();
    let writer = std::thread::spawn(move || std::fs::write(path, "example.org\n"));
    let sets = |exclude: &str| {
        let set = format!("DNSQR_FILTER_QNAMES_EXCLUDE_FILE={exclude}");
        [set, "interface=eth0".to_owned(), "DNSQR_RES_ADDRS=192.0.2.1".to_owned()]
    };
    let null = Path::new("/dev/null");
    let names = sets(&pipe.0.display().to_string());
    let (first, _) = load_for_run(null, &names).unwrap();
    writer.join().unwrap().unwrap();
    assert!(first.name_filter.drops(b"\x07example\x03org\0"));
    let refused = "cannot be read: a pipe gives what it has once; use a file";
    assert!(load_again(null, &names).unwrap_err().to_string().ends_with(refused));
    assert!(load_again(&pipe.0, &sets("")).unwrap_err().to_string().ends_with(refused));
    assert!(load_again(null, &sets("")).is_ok());
}

#[test]
fn what_others_decide_is_derived() {
    let unset = Settings::default();
    assert_eq!(unset.replay_capture_rd(), CaptureRd::Both);
    assert_eq!(unset.run_capture_rd(), CaptureRd::Only(false));
    assert_eq!((unset.pair_slack_for(1), unset.pair_slack_for(2)), (Duration::ZERO, Duration::from_millis(2)));
    assert_eq!(unset.remote_dir_path(), "up/ch202/");
    let set = settings("spooldir=/s pair_slack_ms=0 remote_dir=x DNSQR_CAPTURE_RD=1", &[]);
    assert_eq!((set.pair_slack_for(2), set.replay_capture_rd()), (Duration::ZERO, CaptureRd::Only(true)));
    assert_eq!(set.upload_key_path(), Path::new("/s/keys/upload"));
    assert_eq!((set.known_hosts_path(), set.remote_dir_path().as_str()), ("/s/keys/known_hosts".into(), "x/"));
}

#[test]
fn the_nearest_name_is_near() {
    assert_eq!(nearest("spoldir"), Some("spooldir"));
    assert_eq!(nearest("dnsqr_res_addr"), Some("DNSQR_RES_ADDRS"));
    assert_eq!(nearest("PATH"), None);
    assert_eq!(nearest(""), None);
    assert_eq!(nearest(&"x".repeat(1_000_000)), None);
    assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("ab", "")), (3, 2, 2));
}

/// What `load_for_run` says of a file with this text: notices, or problems.
fn for_run(text: &str, sets: &[&str]) -> Result<Vec<String>, Vec<String>> {
    let file = File::new(text);
    let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
    let name = file.0.display().to_string();
    let lines = |text: String| text.replace(&name, "FILE").lines().map(str::to_owned).collect::<Vec<_>>();
    match load_for_run(&file.0, &sets) {
        Ok((_, notices)) => Ok(notices.iter().flat_map(|notice| lines(notice.to_string())).collect()),
        Err(problems) => Err(lines(problems.to_string())),
    }
}

#[test]
fn the_sensor_requires_an_interface_and_addresses() {
    assert_eq!(
        for_run("interface=\nmaxper=0", &[]).unwrap_err(),
        [
            r#"FILE: interface: not set; write interface="eth0""#,
            r#"FILE: DNSQR_RES_ADDRS: neither this nor DNSQR_AUTH_ADDRS is set; write DNSQR_RES_ADDRS="ADDRESS, ADDRESS""#,
            r#"FILE:2:8: maxper="0": out of range; write a whole number from 1 to 65536"#,
        ]
    );
    assert!(for_run("interface=lo DNSQR_AUTH_ADDRS=192.0.2.1", &[]).is_ok());
    assert!(for_run("interface=lo", &["DNSQR_RES_ADDRS=192.0.2.1"]).is_ok());
    let bad = for_run("interface=a/b DNSQR_RES_ADDRS=x", &[]).unwrap_err();
    assert_eq!(bad.len(), 2, "what is wrong is not missing as well: {bad:?}");
}

#[test]
fn a_setting_whose_line_is_refused_is_not_missing_as_well() {
    let one = |text: &str| {
        let said = for_run(text, &[]).unwrap_err();
        assert_eq!(said.len(), 1, "{said:?}");
    };
    one("interface=lo\nDNSQR_RES_ADDRS=192.0.2.1;\n");
    one("interface=lo\nDNSQR_AUTH_ADDRS=$ADDRESS\n");
    one("interface = lo\nDNSQR_RES_ADDRS=192.0.2.1\n");
    one("interface=lo\nDNSQR_RES_ADDRS=\"192.0.2.1\n");
    one("interface=\"lo\nlogin=x\nDNSQR_RES_ADDRS=\"192.0.2.1\"\n"); // the last quote opens, and is not closed
    let said = for_run("login=x;\nDNSQR_RES_ADDRS=192.0.2.1", &[]).unwrap_err();
    assert_eq!(said.len(), 2, "what no line sets is missing: {said:?}");
}

#[test]
fn values_that_contradict_each_other_are_refused_where_they_stand() {
    let required = "interface=lo DNSQR_RES_ADDRS=192.0.2.1\n";
    let said = |more: &str| for_run(&format!("{required}{more}"), &[]).unwrap_err().concat();
    assert_eq!(
        said("memory_ulimit_kbytes=65536"),
        "FILE:2:22: memory_ulimit_kbytes=\"65536\": too little memory, 65536 kilobytes of it for capture buffers; \
         write memory_ulimit_kbytes=\"102400\" or capture_buffer_kbytes=\"14336\""
    );
    assert!(
        said("capture_buffer_kbytes=300000").starts_with("FILE:2:23: capture_buffer_kbytes=\"300000\": too little")
    );
    let threads = for_run(&format!("{required}capture_threads=2"), &[]);
    assert_eq!(threads.is_ok(), cfg!(target_os = "linux"), "{threads:?}");
    #[cfg(target_os = "linux")]
    assert_eq!(
        said("interface=a,b,c capture_threads=171 memory_ulimit_kbytes=9999999 capture_buffer_kbytes=1024"),
        "FILE:2:33: capture_threads=\"171\": 513 capture buffers, one for each interface and thread, are more than 512; \
         write fewer of either"
    );
    assert_eq!(
        said("metrics_listen=192.0.2.1:9000"),
        "FILE:2:16: metrics_listen=\"192.0.2.1:9000\": other hosts could read it; write 127.0.0.1:PORT, or \
         metrics_allow_remote=\"yes\""
    );
    assert!(said("metrics_listen=9000").contains("write 127.0.0.1:PORT, [::1]:PORT or /PATH"));
    let remote = "metrics_listen=192.0.2.1:9000 metrics_allow_remote=yes";
    for fine in ["metrics_listen=127.0.0.1:9000", "metrics_listen=/run/sie/metrics.sock", remote] {
        assert_eq!(for_run(&format!("{required}{fine}"), &[]), Ok(vec![]));
    }
}

#[test]
fn a_missing_file_says_what_to_do_and_nothing_that_follows_from_it() {
    let missing = Path::new("/nonexistent/sie-dns-sensor");
    let problems = load_for_run(missing, &["maxper=x".into()]).unwrap_err().to_string();
    assert_eq!(
        problems,
        "/nonexistent/sie-dns-sensor: cannot be read: No such file or directory (os error 2); write it with interface \
         and DNSQR_RES_ADDRS, or name another with --config\n\
         --set maxper=\"x\": not a whole number; write one from 1 to 65536"
    );
    assert_eq!(load_for_run(Path::new("/"), &[]).unwrap_err().iter().count(), 1);
}

#[test]
fn a_file_that_others_can_write_is_noticed() {
    use std::os::unix::fs::PermissionsExt;
    let file = File::new("interface=lo DNSQR_RES_ADDRS=192.0.2.1");
    let said = |mode| {
        std::fs::set_permissions(&file.0, std::fs::Permissions::from_mode(mode)).unwrap();
        load_for_run(&file.0, &[]).unwrap().1.iter().map(|notice| notice.remark.clone()).collect::<Vec<_>>()
    };
    assert_eq!(said(0o644), []);
    assert_eq!(said(0o664), [], "our own group may");
    assert_eq!(said(0o666), [Remark::WorldWritable]);
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    std::os::unix::fs::chown(&file.0, Some(65_534), Some(65_534)).unwrap();
    assert_eq!(said(0o664), [Remark::GroupWritable(65_534), Remark::OwnedBy(65_534)]);
}
