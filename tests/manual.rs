//! The manual pages say what the program does: the same subcommands, options, settings and defaults, no more and no less.

use clap::{Arg, Command as Grammar};
use sie_dns_sensor::{
    cli,
    config::{self, Reload, SETTINGS},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

/// One `.It` of a list and the text below it.
struct Item {
    head: String,
    text: String,
}

/// A page by its headings: `SECTION` or `SECTION/subsection`.
struct Page(BTreeMap<String, Vec<String>>);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/man")
}

impl Page {
    fn read(name: &str) -> Page {
        let text = fs::read_to_string(directory().join(name)).unwrap();
        let (mut sections, mut section, mut place) = (BTreeMap::new(), String::new(), String::new());
        for line in text.lines() {
            if let Some(title) = line.strip_prefix(".Sh ") {
                (section, place) = (title.to_owned(), title.to_owned());
            } else if let Some(title) = line.strip_prefix(".Ss ") {
                place = format!("{section}/{title}");
            }
            sections.entry(place.clone()).or_insert_with(Vec::new).push(line.to_owned());
        }
        Page(sections)
    }

    fn lines(&self, place: &str) -> &[String] {
        self.0.get(place).map(Vec::as_slice).unwrap_or_else(|| panic!("no {place}"))
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.0.values().flatten().map(String::as_str)
    }

    /// The subsections of a section.
    fn below<'p>(&'p self, section: &'p str) -> impl Iterator<Item = &'p str> {
        self.0.keys().filter_map(move |place| place.strip_prefix(section)?.strip_prefix('/'))
    }

    /// The items whose first macro is `kind`, of one place.
    fn items(&self, place: &str, kind: &str) -> Vec<Item> {
        let mut items: Vec<Item> = Vec::new();
        for line in self.lines(place) {
            match line.strip_prefix(".It ").filter(|head| head.starts_with(kind)) {
                Some(head) => items.push(Item { head: head.to_owned(), text: String::new() }),
                None => items.iter_mut().last().into_iter().for_each(|item| item.text += &format!("{line} ")),
            }
        }
        items
    }
}

/// What follows a macro wherever it is used in a line.
fn arguments<'l>(line: &'l str, name: &str) -> Vec<&'l str> {
    let words: Vec<&str> = line.split([' ', '.']).filter(|word| !word.is_empty()).collect();
    words.windows(2).filter(|pair| pair[0] == name).map(|pair| pair[1]).collect()
}

/// The subcommands that are not hidden and have none below them, with their paths: "spool list".
fn leaves(grammar: &Grammar, path: &str) -> Vec<(String, Grammar)> {
    let below = grammar.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    let below: Vec<_> = below.flat_map(|command| leaves(command, &format!("{path} {}", command.get_name()))).collect();
    if below.is_empty() { vec![(path.trim().to_owned(), grammar.clone())] } else { below }
}

fn subcommands() -> Vec<(String, Grammar)> {
    let leaves = leaves(&cli::grammar(), "");
    assert!(leaves.len() > 8, "{}", leaves.len());
    leaves
}

/// The options that are not hidden, but for help.
fn options(grammar: &Grammar) -> impl Iterator<Item = &Arg> {
    let shown = grammar.get_arguments().filter(|argument| !argument.is_hide_set() && !argument.is_positional());
    shown.filter(|argument| argument.get_id() != "help")
}

/// As `Fl` writes them, the short one first.
fn names(option: &Arg) -> Vec<String> {
    let short = option.get_short().map(|short| short.to_string());
    short.into_iter().chain(option.get_long().map(|long| format!("-{long}"))).collect()
}

/// Those that one section describes for all subcommands.
fn is_common(option: &Arg) -> bool {
    ["config", "set"].contains(&option.get_id().as_str())
}

/// Every option has its item, with both names and its values, and no other has.
fn check_items(place: &str, items: &[Item], options: &[&Arg]) {
    let documented: BTreeSet<Vec<&str>> = items.iter().map(|item| arguments(&item.head, "Fl")).collect();
    let names: Vec<Vec<String>> = options.iter().map(|option| names(option)).collect();
    let there: BTreeSet<Vec<&str>> = names.iter().map(|names| names.iter().map(String::as_str).collect()).collect();
    assert_eq!(documented, there, "{place}");
    for option in options {
        let long = format!("-{}", option.get_long().unwrap());
        let item = items.iter().find(|item| arguments(&item.head, "Fl").contains(&long.as_str())).unwrap();
        let takes_value = option.get_action().takes_values();
        assert_eq!(item.head.contains(" Ar "), takes_value, "{place}: {long}");
        let values = if takes_value { option.get_possible_values() } else { vec![] };
        for value in values.iter().map(|value| value.get_name()) {
            assert!(arguments(&item.text, "Cm").contains(&value), "{place}: {long} {value}");
        }
    }
}

#[test]
fn the_manual_has_every_subcommand_and_option_and_no_other() {
    let page = Page::read("sie-dns-sensor.8");
    let there: BTreeSet<String> = subcommands().into_iter().map(|(path, _)| path).collect();
    let described = page.below("DESCRIPTION").filter(|title| !["Common options", "Signals"].contains(title));
    assert_eq!(described.map(str::to_owned).collect::<BTreeSet<_>>(), there);
    for (path, grammar) in subcommands() {
        let own: Vec<&Arg> = options(&grammar).filter(|option| path == "read" || !is_common(option)).collect();
        check_items(&path, &page.items(&format!("DESCRIPTION/{path}"), "Fl"), &own);
    }
    let (_, run) = subcommands().into_iter().find(|(path, _)| path == "run").unwrap();
    let common: Vec<&Arg> = options(&run).filter(|option| is_common(option)).collect();
    check_items("common", &page.items("DESCRIPTION/Common options", "Fl"), &common);
}

#[test]
fn the_synopsis_has_every_option_once() {
    let page = Page::read("sie-dns-sensor.8");
    let mut synopsis: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut path = String::new();
    for line in page.lines("SYNOPSIS") {
        // What follows a bar are values, not subcommands.
        if let Some(command) = line.strip_prefix(".Cm ").filter(|line| !line.contains(" | ")) {
            path = command.to_owned();
            synopsis.insert(path.clone(), vec![]);
        } else if let Some(options) = synopsis.get_mut(&path) {
            options.extend(arguments(line, "Fl"));
        }
    }
    assert_eq!(synopsis.len(), subcommands().len());
    for (path, grammar) in subcommands() {
        let mut written = synopsis.remove(&path).unwrap_or_else(|| panic!("{path}"));
        for option in options(&grammar) {
            let first = names(option).remove(0);
            let place = written.iter().position(|name| *name == first);
            written.remove(place.unwrap_or_else(|| panic!("{path}: {first}")));
        }
        assert_eq!(written, [""; 0], "{path}");
    }
}

#[test]
fn the_manual_of_sie_gen_key_has_its_options() {
    let page = Page::read("sie-gen-key.8");
    let (_, grammar) = subcommands().into_iter().find(|(path, _)| path == "gen-key").unwrap();
    let options: Vec<&Arg> = options(&grammar).collect();
    check_items("sie-gen-key", &page.items("DESCRIPTION", "Fl"), &options);
    for option in options {
        let first = names(option).remove(0);
        assert!(page.lines("SYNOPSIS").iter().any(|line| arguments(line, "Fl") == [first.as_str()]), "{first}");
    }
}

#[test]
fn no_page_speaks_of_options_or_settings_that_are_not_there() {
    let mut flags: BTreeSet<String> = ["h", "-help", "V", "-version"].map(str::to_owned).into();
    flags.extend(subcommands().iter().flat_map(|(_, grammar)| options(grammar).flat_map(names).collect::<Vec<_>>()));
    let old = ["interval", "rsync", "wrapsrv", "dnstype", "bpfpat", "bpfpat_src", "bpfpat_dst"];
    for name in ["sie-dns-sensor.8", "sie-gen-key.8", "sie-dns-sensor.conf.5"] {
        let page = Page::read(name);
        for line in page.all().filter(|line| line.starts_with('.')) {
            for flag in arguments(line, "Fl") {
                assert!(flags.contains(flag), "{name}: {line}");
            }
            for setting in arguments(line, "Va") {
                let is_there = SETTINGS.iter().any(|row| row.name == setting) || old.contains(&setting);
                assert!(is_there, "{name}: {line}");
            }
        }
    }
}

#[test]
fn the_manual_has_every_setting_with_its_default_and_when_it_takes_effect() {
    let page = Page::read("sie-dns-sensor.conf.5");
    let sections: Vec<&str> = page.below("SETTINGS").collect();
    let items: Vec<Item> =
        sections.iter().flat_map(|section| page.items(&format!("SETTINGS/{section}"), "Va")).collect();
    assert_eq!(items.len(), SETTINGS.len(), "it has what is no setting, or one twice");
    for setting in SETTINGS {
        let head = match setting.default {
            "" => format!("Va {}", setting.name),
            // FreeBSD's default of one is said in its text.
            default => format!("Va {} Ns = Ns Qq {}", setting.name, default.replace("/var/run/", "/run/")),
        };
        let item = items.iter().find(|item| item.head == head).unwrap_or_else(|| panic!("{head}"));
        assert_eq!(item.text.contains(".Pq restart "), setting.reload == Reload::Restart, "{head}");
        assert_eq!(item.text.contains(".Pq new capture "), setting.reload == Reload::NewChild, "{head}");
        let unit = setting.values.split([',', ';']).next().unwrap();
        if ["kilobytes", "seconds", "milliseconds", "minutes", "days"].contains(&unit) {
            assert!(item.text.to_lowercase().contains(unit), "{head} in {unit}");
        }
        let range = setting.values.split([',', ';', ' ']).collect::<Vec<_>>();
        for range in range.windows(3).filter(|words| words[1] == "to").map(|words| words.join(" ")) {
            assert!(item.text.contains(&format!("{range}.")), "{head} has not {range}: {}", item.text);
        }
        if setting.values.contains(" or ") && !setting.values.contains(':') && !setting.values.contains(" to ") {
            assert!(item.text.contains(setting.values), "{head} has not {}", setting.values);
        }
    }
}

#[test]
fn the_manual_replaces_old_settings_as_the_program_does() {
    let page = Page::read("sie-dns-sensor.conf.5");
    let mut refused = BTreeSet::new();
    let mut unused = BTreeSet::new();
    for item in page.items("SETTINGS OF OLD", "Va") {
        let name = arguments(&item.head, "Va")[0];
        let value = item.head.split_once(" Ns = Ns Qq ").map_or("60", |(_, value)| value);
        let loaded = config::load(None, &[format!("{name}={value}")]);
        match item.text.trim().split_once(".Dl ") {
            Some((_, line)) => {
                let said = loaded.unwrap_err().to_string();
                let line = line.split(" .").next().unwrap();
                assert!(said.ends_with(&format!("write {line}")), "{line}: {said}");
                refused.insert(name.to_owned());
            }
            None => {
                let (_, notices) = loaded.unwrap_or_else(|problems| panic!("{problems}"));
                assert!(notices[0].to_string().ends_with("accepted, unused"), "{name}");
                unused.insert(name.to_owned());
            }
        }
    }
    assert_eq!(refused, ["bpfpat", "bpfpat_dst", "bpfpat_src", "dnstype"].map(str::to_owned).into());
    assert_eq!(unused, ["interval", "rsync", "wrapsrv"].map(str::to_owned).into());
}

/// Runs a formatter on a page; what it has to say, unless it is not there.
fn complaints(program: &str, args: &[&str], page: &Path) -> Option<String> {
    match Command::new(program).args(args).arg(page).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            eprintln!("skipped: needs {program}");
            None
        }
        output => {
            let output = output.unwrap();
            Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
        }
    }
}

#[test]
fn the_pages_are_clean_for_mandoc_and_groff() {
    let pages = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> = pages.collect();
    assert_eq!(pages.len(), 3);
    for page in pages {
        // Style is about other pages that may not be installed.
        let complaints = [
            complaints("mandoc", &["-T", "lint", "-W", "warning"], &page),
            complaints("groff", &["-ww", "-z", "-mdoc", "-T", "utf8"], &page),
        ];
        for complaint in complaints.into_iter().flatten() {
            assert_eq!(complaint, "", "{}", page.display());
        }
    }
}
