//! The page of `report`: its numbers against those of `replay` and `read`, and the page itself in a browser.

use crate::{
    build::{self, query, resolver, response, server},
    program::{Scratch, run, run_with_input, vectors},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/demo.pcap");
const DEMO_SET: [&str; 2] = ["--set", "DNSQR_RES_ADDRS=192.0.2.53, 2001:db8:53::53"];

/// The page about these files.
fn page_of(files: &[&Path], arguments: &[String]) -> String {
    let mut typed = vec!["report".to_string(), "-q".to_string(), "-o".to_string(), "-".to_string()];
    typed.extend_from_slice(arguments);
    typed.extend(files.iter().map(|file| file.to_str().unwrap().to_string()));
    let ended = run(&typed);
    assert!(ended.code < 2, "{}", ended.stderr);
    String::from_utf8(ended.stdout).unwrap()
}

/// The number of the summary with this key.
fn number(page: &str, key: &str) -> u64 {
    let mark = format!("data-key=\"{key}\" data-v=\"");
    let at = page.find(&mark).unwrap_or_else(|| panic!("no {key} in {page}")) + mark.len();
    page[at..].split('"').next().unwrap().parse().unwrap()
}

/// What of a page does not say where its numbers come from.
fn figures(page: &str) -> &str {
    let from = page.find("</header>").unwrap();
    let to = page.find("<h2>Account of the input</h2>").unwrap();
    &page[from..to]
}

#[test]
fn of_every_capture_the_page_has_the_numbers_of_replay_and_read_and_so_has_the_page_of_its_nmsg() {
    let scratch = Scratch::new();
    let nmsg = scratch.path("out.nmsg");
    for (name, set) in vectors() {
        let capture = crate::program::vector(&name);
        let written = ["replay", "-q", "--summary", "json", "-w", nmsg.to_str().unwrap(), capture.to_str().unwrap()];
        let ended = run(written.into_iter().map(str::to_string).chain(set.iter().cloned()));
        let ledger: serde_json::Value = serde_json::from_str(ended.text()).unwrap();
        let of = |group: &str, counter: &str| ledger[group][counter].as_u64().unwrap();
        let page = page_of(&[&capture], &set);
        let unanswered = ["timed_out", "pushed_out", "connection_closed", "at_exit"];
        assert_eq!(number(&page, "transactions"), of("output", "transactions"), "{name}");
        assert_eq!(number(&page, "answered"), of("queries", "answered"), "{name}");
        let alone = of("messages", "unpaired");
        assert_eq!(number(&page, "unanswered"), unanswered.iter().map(|end| of("queries", end)).sum::<u64>(), "{name}");
        assert_eq!(number(&page, "unsolicited"), of("responses", "unsolicited"), "{name}");
        if alone > 0 {
            assert_eq!(number(&page, "queries-alone") + number(&page, "responses-alone"), alone, "{name}");
        }
        assert_eq!(figures(&page), figures(&page_of(&[&nmsg], &[])), "{name}");

        let screen = run(["read", "--stats", nmsg.to_str().unwrap()]);
        for (line, key) in
            [("payloads", "transactions"), ("TCP", "tcp"), ("fragmented", "fragmented"), ("truncated", "truncated")]
        {
            let said = screen.text().lines().find_map(|text| text.strip_prefix(line)).unwrap();
            let said: u64 = said.split_whitespace().next().unwrap().parse().unwrap();
            assert_eq!(number(&page, key), said, "{name} {key}");
        }
    }
}

#[test]
fn the_account_in_the_page_is_that_of_replay() {
    let page = page_of(&[Path::new(DEMO)], &DEMO_SET.map(str::to_string));
    let replay = run(["replay", "-q", DEMO].into_iter().chain(DEMO_SET)).with_code(0).stderr;
    assert!(replay.starts_with("packets           139"), "{replay}");
    assert!(page.contains(replay.trim_end()), "{replay}\n{page}");
}

#[test]
fn files_are_told_apart_by_what_is_in_them_and_their_numbers_add_up() {
    let scratch = Scratch::new();
    let nmsg = scratch.path("out");
    run(["replay", "-q", "-w", nmsg.to_str().unwrap(), DEMO].into_iter().chain(DEMO_SET)).with_code(0);
    let both = page_of(&[Path::new(DEMO), &nmsg], &DEMO_SET.map(str::to_string));
    assert_eq!((number(&both, "transactions"), number(&both, "answered")), (110, 104));
    for bytes in [fs::read(&nmsg).unwrap(), fs::read(DEMO).unwrap()] {
        let piped = run_with_input(["report", "-q", "-o", "-", "-"].into_iter().chain(DEMO_SET), &bytes).with_code(0);
        assert_eq!(number(piped.text(), "answered"), 52);
    }
}

#[test]
fn bad_input_is_said_here_and_in_the_page_and_what_could_not_be_read_leaves_no_page() {
    let scratch = Scratch::new();
    let cut = scratch.file("cut.pcap", &fs::read(DEMO).unwrap()[..20_000]);
    let page = scratch.path("page.html");
    let typed = |input: &Path| {
        ["report", "-q", "-o", page.to_str().unwrap(), input.to_str().unwrap()].map(str::to_string).to_vec()
    };
    let ended = run(typed(&cut)).with_code(1);
    assert!(ended.stderr.contains("cut off"), "{}", ended.stderr);
    assert!(fs::read_to_string(&page).unwrap().contains("1 places of the input, or files, could not be read"));
    fs::remove_file(&page).unwrap();
    let text = scratch.file("text", "this is no capture");
    let ended = run(typed(&text)).with_code(2);
    assert!(ended.stderr.contains("not a capture file") && ended.stderr.contains("is not written"), "{}", ended.stderr);
    run(typed(&scratch.path("missing"))).with_code(2);
    assert_eq!(scratch.names(), ["cut.pcap", "text"]);
    let ended = run(["report", "-o", cut.to_str().unwrap(), cut.to_str().unwrap()]).with_code(2);
    assert!(ended.stderr.contains("is to be read and written"), "{}", ended.stderr);
    run(["report", DEMO]).with_code(2);
    run(["report", "-o", "-", "--set", "DNSQR_QUERY_TIMEOUT=60s", DEMO]).with_code(78);
}

/// A capture of these packets, raw IP, with their times in microseconds.
fn capture(mut packets: Vec<(u64, Vec<u8>)>) -> Vec<u8> {
    packets.sort_by_key(|(time, _)| *time);
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0]);
    for (time, packet) in packets {
        let len = packet.len() as u64;
        for word in [1_790_000_000 + time / 1_000_000, time % 1_000_000, len, len] {
            file.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// An answered query for each of these names.
pub fn hostile_capture() -> Vec<u8> {
    let exchanges = (1..).zip(HOSTILE).flat_map(|(number, name)| {
        let question = build::udp(resolver(), server(), &query(number, name));
        let answer = build::udp(server(), resolver(), &response(number, name));
        let time = u64::from(number) * 1_000_000;
        [(time, question), (time + 2500, answer)]
    });
    capture(exchanges.collect())
}

/// Ten minutes of a resolver's life: servers near and far, one that seldom answers, one that refuses.
fn ten_minutes() -> Vec<u8> {
    let mut state = 7_u64;
    let mut random = |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut packets = Vec::new();
    for number in 0..6000 {
        let (id, which) = (number as u16, random(8));
        let address = [198, 51, 100, 1 + which as u8].into();
        let from = (resolver().0, 1024 + (number % 60_000) as u16);
        let name = format!("host{}.zone{which}{}.{}", random(90), random(4), ["com", "net", "org"][which as usize % 3]);
        let qtype = [1, 1, 1, 28, 28, 15, 16, 65][random(8) as usize];
        let question = build::question_of(&name, qtype);
        // A quiet begin, and a wave.
        let time = 600_000_000 * number / 6000 + random(20_000_000);
        packets.push((time, build::udp(from, (address, 53), &build::message(id, 0, Some(&question)))));
        let outage = which == 5 && (150_000_000..420_000_000).contains(&time);
        if (which == 3 && random(100) >= 12) || outage {
            continue;
        }
        let rcode = match (which, random(100)) {
            (6, ..70) => 5,
            (_, ..8) => 3,
            (_, 8..10) => 2,
            _ => 0,
        };
        let far = [300, 900, 2_000, 9_000, 15_000, 24_000, 80_000, 160_000][which as usize];
        let delay = far + random(far) * random(4) / 2;
        let answer = build::message(id, build::QR | rcode, Some(&question));
        packets.push((time + delay, build::udp((address, 53), from, &answer)));
    }
    capture(packets)
}

const HOSTILE: [&str; 7] = [
    "<script>document['title']=1</script>.example",
    "\"onmouseover=alert(1) x=\".example",
    "'><img src=x onerror=document['title']=1>.example",
    "</td></table><style>*{display:none}</style>.example",
    "&lt;b&gt;.&#60;.example",
    "\u{202e}gpj.\u{200b}\u{feff}\0\x1b[31m\r\n.example",
    "-->]]></title></script><svg onload=document['title']=1>.example",
];

#[test]
fn hostile_names_are_text_in_the_page() {
    let scratch = Scratch::new();
    let file = scratch.file("<b>\u{202e}\u{1b}&\"'.pcap", hostile_capture());
    let page = page_of(&[&file], &[]);
    assert_eq!((number(&page, "answered"), page.matches("<script").count(), page.matches("<style").count()), (7, 1, 1));
    for forbidden in ["<img", "<b>", "onmouseover=alert(1) x=\"", "\u{202e}", "\u{1b}", "\0", "\u{200b}"] {
        assert!(!page.contains(forbidden), "{forbidden:?}");
    }
    assert!(page.contains("&lt;script&gt;document[&#39;title&#39;]=1&lt;/script&gt;.example."), "{page}");
    // As `read` prints names: what is not visible ASCII is \DDD already.
    assert!(page.contains("\\226\\128\\139\\239\\187\\191\\000\\027[31m\\013\\010.example."), "{page}");
    assert!(page.contains("<code>") && page.contains("/&lt;b&gt;\\u{202e}\\u{1b}&amp;&quot;&#39;.pcap</code>"));
}

/// What a browser made of a page: its document at the end, and what it wrote on its console.
pub struct Shown {
    document: String,
    pub console: Vec<String>,
}

/// The browser, where there is one.
pub fn browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|path| path.join("chromium")).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: needs chromium");
    }
    found
}

/// How a page is looked at.
#[derive(Clone, Copy)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

/// Opens `page`, which is in the scratch directory, with these further arguments. The console's lines are those of the page.
pub fn open(browser: &Path, scratch: &Scratch, page: &Path, screen: Screen, arguments: &[String]) -> Shown {
    let profile = scratch.path("profile");
    let (out, log) = (scratch.path("document"), scratch.path("console"));
    let mut command = Command::new(browser);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]);
    command.args(["--no-first-run", "--disable-background-networking", "--enable-logging=stderr"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.arg(format!("--window-size={},{}", screen.width, screen.height));
    command.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!screen.dark)));
    command.args(arguments).arg(format!("file://{}", page.display()));
    command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if begun.elapsed() > Duration::from_secs(120) => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let log = fs::read_to_string(&log).unwrap();
    let _ = fs::remove_dir_all(&profile);
    assert!(status.is_some_and(|status| status.success()), "{status:?} {log}");
    let console = log.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_string).collect();
    Shown { document: fs::read_to_string(&out).unwrap(), console }
}

/// `page` with another script at its end, which the policy lets run if it is `allowed`.
fn with_script(page: &str, script: &str, allowed: bool) -> String {
    let hash = format!("'sha256-{}'", STANDARD.encode(openssl::sha::sha256(script.as_bytes())));
    let page = match allowed {
        true => page.replacen("script-src ", &format!("script-src {hash} "), 1),
        false => page.to_string(),
    };
    page.replacen("</body>", &format!("<script>{script}</script></body>"), 1)
}

/// What a browser shows of `page` when `script` has run in it. The page is in a frame, as a window is 500 pixels wide at
/// least.
fn look(browser: &Path, page: &str, script: &str, allowed: bool, screen: Screen) -> Shown {
    let scratch = Scratch::new();
    scratch.file("page.html", with_script(page, script, allowed));
    let frame = format!(
        "<!doctype html><meta name=color-scheme content='light dark'><link rel=icon href='data:,'><iframe src=page.html \
         width={} height={} style=border:0></iframe><script>onload = () => {{ document.documentElement.innerHTML = \
         frames[0].document.documentElement.innerHTML; }}</script>",
        screen.width, screen.height
    );
    let file = scratch.file("frame.html", frame);
    open(browser, &scratch, &file, screen, &["--dump-dom".to_string(), "--allow-file-access-from-files".to_string()])
}

/// Clicks every column of every table twice, and looks at what a reader and a keyboard would notice. Writes each complaint,
/// and a line at the end.
const INSPECT: &str = r#"
const said = [];
const check = (holds, what) => { if (!holds) said.push("WRONG " + what); };
let clicks = 0;
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")];
  const names = () => [...table.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const all = names().sort().join();
  check(names().length > 1, table.id + " has rows");
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    button.focus();
    check(document.activeElement === button, "focus of " + button.textContent);
    const before = head.getAttribute("aria-sort");
    const expected = head.className === "n" && before !== "descending" ? ["descending", "ascending"] : ["ascending", "descending"];
    for (const direction of expected) {
      button.click();
      clicks++;
      check(head.getAttribute("aria-sort") === direction, direction + " by " + button.textContent);
      check(table.querySelectorAll("[aria-sort]").length === 1, "one column sorts");
      const cells = [...table.tBodies[0].rows].map((row) => row.cells[column]);
      const values = cells.map((cell) => cell.dataset.v ?? cell.textContent);
      const filled = values.filter((value) => value !== "");
      check(values.slice(0, filled.length).every((value) => value !== ""), "what has no value is last");
      const sign = direction === "descending" ? -1 : 1;
      const ordered = filled.every((value, index) => index === 0 || (head.className === "n"
        ? sign * (Number(value) - Number(filled[index - 1])) >= 0
        : sign * (value > filled[index - 1] ? 1 : value < filled[index - 1] ? -1 : 0) >= 0));
      check(ordered, "order by " + button.textContent + ": " + filled.join(" "));
      check(names().sort().join() === all, "no row is lost");
    }
  });
}
const attributes = [...document.querySelectorAll("*")].flatMap((element) => [...element.attributes]);
check(attributes.every((attribute) => !attribute.name.startsWith("on")), "inline handlers");
check(attributes.every((attribute) => attribute.name !== "style"), "inline styles");
check(performance.getEntriesByType("resource").length === 0, "nothing is fetched");
check(document.scripts.length === 2 && document.images.length === 0, "only the page's script and this one");
check(document.title === "DNS report", "title");
check(document.documentElement.scrollWidth <= window.innerWidth, "width " + document.documentElement.scrollWidth);
for (const text of document.querySelectorAll("svg text")) {
  const box = text.getBoundingClientRect();
  check(box.left >= -1 && box.right <= window.innerWidth + 1, "in sight: " + text.textContent);
  check(parseFloat(getComputedStyle(text).fontSize) >= 11, "readable: " + text.textContent);
}
check([...document.querySelectorAll("svg.plot rect.answered")].some((bar) => bar.getBoundingClientRect().height > 50), "bars");
const colour = getComputedStyle(document.body).backgroundColor;
document.body.textContent = `INSPECTED ${clicks} clicks, ${window.innerWidth} wide, ${colour}\n` + said.join("\n") + "\nEND";
"#;

/// What [`INSPECT`] wrote.
fn inspected(shown: &Shown) -> Vec<&str> {
    let from = shown.document.find("INSPECTED").unwrap_or_else(|| panic!("{:?}\n{}", shown.console, shown.document));
    let to = from + shown.document[from..].find("\nEND").unwrap();
    shown.document[from..to].lines().filter(|line| !line.is_empty()).collect()
}

#[test]
fn in_a_browser_the_page_sorts_fits_both_screens_and_both_schemes_and_says_nothing_on_the_console() {
    let Some(browser) = browser() else { return };
    let page = page_of(&[Path::new(DEMO)], &DEMO_SET.map(str::to_string));
    for (width, dark) in [(1280, false), (1280, true), (380, false), (380, true)] {
        let shown = look(&browser, &page, INSPECT, true, Screen { width, height: 1000, dark });
        let colour = if dark { "rgb(20, 24, 27)" } else { "rgb(251, 251, 250)" };
        assert_eq!(inspected(&shown), [format!("INSPECTED 42 clicks, {width} wide, {colour}")]);
        assert_eq!(shown.console, Vec::<String>::new());
    }
}

#[test]
fn in_a_browser_hostile_names_are_text() {
    let Some(browser) = browser() else { return };
    let scratch = Scratch::new();
    let file = scratch.file("<img src=x onerror=document.title='owned'>.pcap", hostile_capture());
    let names = "const rows = [...document.querySelectorAll('#zones tbody th')].map((cell) => cell.textContent);
        document.body.textContent = [document.title, document.scripts.length, ...rows, 'END'].join('\\n');";
    let page = page_of(&[&file], &[]);
    let shown = look(&browser, &page, names, true, Screen { width: 1280, height: 800, dark: false });
    let body = shown.document.split("<body>").nth(1).unwrap().split("\nEND").next().unwrap();
    assert!(body.starts_with("DNS report\n2\n"), "{body}");
    assert!(body.contains("\n&lt;script&gt;document['title']=1&lt;/script&gt;.example.\n"), "{body}");
    assert!(body.contains("\n&amp;#60;.example."), "{body}");
    assert_eq!(shown.console, Vec::<String>::new());
}

#[test]
fn a_script_that_is_not_the_page_s_own_does_not_run_and_the_console_says_so() {
    let Some(browser) = browser() else { return };
    let page = page_of(&[Path::new(DEMO)], &DEMO_SET.map(str::to_string));
    let script = "document.title = 'owned'";
    let shown = look(&browser, &page, script, false, Screen { width: 1280, height: 800, dark: false });
    assert!(shown.document.contains("<title>DNS report</title>"), "{}", shown.document);
    assert!(shown.console.iter().any(|line| line.contains("Content Security Policy")), "{:?}", shown.console);
}

/// Where REPORT_PICTURE names a directory the pictures are left there, for the README.
#[test]
fn in_a_browser_pictures_can_be_taken_of_the_page() {
    let Some(browser) = browser() else { return };
    let scratch = Scratch::new();
    let captured = scratch.file("resolver.pcap", ten_minutes());
    let page = scratch.path("page.html");
    let mut report = Command::new(crate::program::SENSOR);
    report.args(["report", "-q", "-o", "page.html", "resolver.pcap"]).current_dir(captured.parent().unwrap());
    assert!(report.status().unwrap().success());
    for (name, width, height, dark) in [("report.png", 1280, 1080, false), ("report-380-dark.png", 380, 3000, true)] {
        let picture = scratch.path(name);
        let screen = Screen { width, height, dark };
        let shown = open(&browser, &scratch, &page, screen, &[format!("--screenshot={}", picture.display())]);
        assert_eq!(shown.console, Vec::<String>::new());
        let bytes = fs::read(&picture).unwrap();
        let size = [bytes[16..20].try_into().unwrap(), bytes[20..24].try_into().unwrap()].map(u32::from_be_bytes);
        assert_eq!(size, [width, height]);
        if let Some(directory) = std::env::var_os("REPORT_PICTURE") {
            fs::copy(&picture, Path::new(&directory).join(name)).unwrap();
        }
    }
}

#[test]
fn what_is_wrong_with_servers_stands_out() {
    let scratch = Scratch::new();
    let page = page_of(&[&scratch.file("resolver.pcap", ten_minutes())], &[]).replace('\u{202f}', " ");
    for finding in
        ["Server 198.51.100.4 answered 1", "Server 198.51.100.7 said REFUSED in ", "Server 198.51.100.6 answered "]
    {
        assert!(page.contains(&format!("<li>{finding}")), "{finding}: {page}");
    }
    assert!(!page.contains("<li>Server 198.51.100.1 "), "{page}");
}
