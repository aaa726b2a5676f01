use super::{draw, live::Live, rows::Sort, *};
use ratatui::style::Color;
use serde_json::{Value, json};

/// A document of a sensor that has run for so many seconds, at 1000 packets and 400 transactions a second.
fn document(seconds: u64) -> Value {
    let (packets, transactions) = (1000 * seconds, 400 * seconds);
    json!({
        "program": "1.0.0",
        "state": "healthy",
        "uptime": seconds,
        "milliseconds": seconds * 1000,
        "processes": [{"role": "supervisor", "pid": 7}],
        "rates": {
            "packets": {"1": 1000.0, "60": 990.0, "3600": null},
            "transactions": {"1": 400.0, "60": 395.0, "3600": null},
            "dropped": {"60": 0.0},
        },
        "ledger": {
            "packets": {"total": packets},
            "messages": {"query": packets / 2, "response": transactions},
            "kernel": {"dropped": 3, "interface_dropped": 0},
            "output": {"transactions": transactions, "dropped_transactions": 0},
        },
        "delay": {"upto": [[500_000, 100 * seconds], [1_000_000, 300 * seconds]], "count": 400 * seconds},
        "rcodes": {"NOERROR": 300 * seconds, "NXDOMAIN": 100 * seconds, "REFUSED": 0},
        "tables": {"queries": {"used": 12, "limit": 131_072}, "datagrams": {"used": 0, "limit": null}},
        "memory": {"used": 1 << 27, "limit": 1 << 29},
        "spool": {
            "free": 1_u64 << 33,
            "new": {"files": 1, "bytes": 1 << 20, "oldest": 1000},
            "waiting": {"files": 0},
            "archive": {"files": 0},
        },
        "upload": {"on": true, "server": "collector.example", "files": 5, "bytes": 3 << 20, "last_success": 990},
    })
}

/// The same with samples: one in the first zone, which fails, three in the other, which is slow.
fn with_samples(seconds: u64) -> Value {
    let mut document = document(seconds);
    let fast = json!(["answered", "198.51.100.1", "a.fast.example.", 1, 2, 1_000_000]);
    let slow = json!(["answered", "2001:db8::2", "b.slow.example.", 1, 0, 250_000_000]);
    document["samples"] = json!({"number": seconds, "transactions": [fast, slow, slow, slow]});
    document
}

fn live(seconds: std::ops::Range<u64>) -> Live {
    let mut live = Live::default();
    seconds.for_each(|second| live.take(with_samples(second)));
    live
}

fn plain(shown: &Shown, size: (u16, u16)) -> String {
    text(shown, &Look { palette: Palette::Plain, ..Look::default() }, size)
}

#[test]
fn a_frame_has_the_numbers_of_the_document() {
    let live = live(100..111);
    let shown = live.shown(Sort::Transactions, false, 1000);
    let frame = plain(&shown, (80, 24));
    for text in [
        "sie-dns-sensor 1.0.0, healthy, up 110 s",
        "packets 1000/s, minute 990, hour -",
        "transactions 400/s, minute 395",
        "delay in ms, last 10 s (4000)",
        "response codes, last 10 s",
        "NOERROR    75.0 %",
        "NXDOMAIN   25.0 %",
        "total       110000 packets, 55000 queries, 44000 responses, 44000 transactions",
        "drops       3 by the kernel, 0 by the interface, 0 transactions not written",
        "tables      12 of 131072 queries, 128.0 MB of 512.0 MB",
        "spool       8.0 GB free, waiting empty, new 1 file 1.0 MB, oldest 0 s, archive",
        "upload      to collector.example, 5 files, 3.0 MB sent, last 10 s ago",
        "zones by transactions, 44 of 4000",
    ] {
        assert!(frame.contains(text), "{text}: {frame}");
    }
    let zone = frame.lines().find(|line| line.starts_with("slow.example.")).unwrap();
    assert!(zone[..39].ends_with("  75.0    250   0    0"), "{frame}");
    assert!(frame.contains("fast.example.      25.0    1.0   0  100"), "{frame}");
    assert!(!frame.contains("REFUSED"), "{frame}");
    let total = plain(&live.shown(Sort::Transactions, true, 1000), (80, 24));
    assert!(total.contains("delay in ms, since the start (44000)"), "{total}");
    assert_eq!(frame.lines().count(), 24);
}

#[test]
fn no_size_is_too_small_and_none_too_large() {
    let live = live(1..200);
    let mut shown = live.shown(Sort::Delay, false, 1000);
    shown.notes = vec!["something is wrong".repeat(9); 12];
    for is_whole in [false, true] {
        shown.packets.is_whole = is_whole;
        for (width, height) in (0..130).flat_map(|width| (0..45).map(move |height| (width, height))) {
            if (width * height) % 7 < 2 || width < 3 || height < 3 {
                let look = Look { helps: width % 2 == 0, is_paused: true, ..Look::default() };
                text(&shown, &look, (width, height));
            }
        }
        text(&shown, &Look::default(), (500, 200));
    }
    let small = plain(&live.shown(Sort::Transactions, false, 1000), (60, 15));
    for text in ["healthy", "packets 1000/s", "drops", "slow.example.", "q quit"] {
        assert!(small.contains(text), "{text}: {small}");
    }
}

#[test]
fn the_order_is_that_which_was_asked_for() {
    let live = live(1..20);
    let first = |sort| {
        let shown = live.shown(sort, false, 0);
        (shown.zones[0].name.clone(), shown.servers[0].name.clone(), shown.slowest[0].name.clone())
    };
    let of = |zone: &str, server: &str| (format!("{zone}.example."), server.to_owned(), "slow.example.".to_owned());
    assert_eq!(first(Sort::Transactions), of("slow", "2001:db8::2"));
    assert_eq!(first(Sort::Delay), of("slow", "2001:db8::2"));
    assert_eq!(first(Sort::Failures), of("fast", "198.51.100.1"));
    assert_eq!(Sort::Failures.next(), Sort::Transactions);
}

#[test]
fn zones_are_those_of_lately_and_one_answer_counts_once() {
    let mut live = live(1..100);
    let sampled = |live: &Live| live.shown(Sort::Transactions, false, 0).basis;
    let before = sampled(&live);
    live.take(with_samples(99));
    assert_eq!(sampled(&live), before);
    let parts: Vec<u64> = before.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [samples, transactions, seconds] = parts[..] else { panic!("{before}") };
    assert!((30..=60).contains(&seconds), "{before}");
    assert_eq!((samples, transactions), (4 * seconds, 400 * seconds), "{before}");
    // A sensor that was started anew counts from zero.
    live.take(with_samples(3));
    assert_eq!(sampled(&live), "4 of 4, 0 s");
    assert_eq!(live.shown(Sort::Transactions, false, 0).packets.points.len(), 1);
}

#[test]
fn who_is_gone_is_said_to_be_and_what_was_known_stays() {
    let mut live = live(1..5);
    live.lose("no sensor is running: \u{1b}[2J".to_owned());
    let frame = plain(&live.shown(Sort::Transactions, false, 1000), (80, 24));
    assert!(frame.contains("gone, up 4 s") && frame.contains("slow.example."), "{frame}");
    assert!(frame.contains("asked again every second: no sensor is running: \\u{1b}[2J"), "{frame}");
    live.take(with_samples(5));
    assert!(plain(&live.shown(Sort::Transactions, false, 1000), (80, 24)).contains("healthy, up 5 s"));
}

#[test]
fn hostile_texts_move_no_cursor_and_what_is_no_document_does_no_harm() {
    let hostile = "x\u{1b}[2J\r\n\u{7}y";
    let mut document = with_samples(5);
    for place in ["/program", "/state", "/upload/server"] {
        *document.pointer_mut(place).unwrap() = json!(hostile);
    }
    document["reasons"] = json!([{"reason": hostile, "text": hostile}]);
    document["upload"]["last_error"] = json!({"time": 1000, "text": hostile});
    document["rcodes"] = json!({hostile: 5});
    document["tables"] = json!({hostile: {"used": 5, "limit": 6}});
    let names = ["a\u{1b}[2J.example.", "a\\027[2J.example.", "\u{202e}.example."];
    let samples: Vec<Value> =
        names.iter().map(|name| json!(["answered", "192.0.2.1", name, null, 0, u64::MAX])).collect();
    document["samples"] = json!({"number": 1, "transactions": samples});
    let mut live = Live::default();
    live.take(document.clone());
    let frame = plain(&live.shown(Sort::Transactions, false, 1000), (120, 48));
    assert!(!frame.chars().any(|c| c.is_control() && c != '\n'), "{frame:?}");
    assert!(!frame.contains('\u{202e}') && frame.contains("x\\u{1b}[2J"), "{frame}");
    // A sensor of another kind, or somebody in its place.
    let wrong = [
        Value::Null,
        json!([]),
        json!({"samples": {"transactions": 7}, "rates": []}),
        json!({"ledger": 7, "delay": {"upto": [1, [2], "x"], "count": -1}, "rcodes": [], "milliseconds": u64::MAX}),
        json!({"processes": 1, "milliseconds": 1, "delay": {"upto": vec![[u64::MAX, u64::MAX]; 999]}}),
    ];
    for document in wrong {
        live.take(document);
        plain(&live.shown(Sort::Delay, false, u64::MAX), (120, 48));
    }
}

#[test]
fn without_colours_there_are_none() {
    let shown = live(1..5).shown(Sort::Transactions, false, 1000);
    let coloured = |palette| {
        let Ok(mut terminal) = Terminal::new(TestBackend::new(80, 24));
        let Ok(_) = terminal.draw(|frame| draw::draw(frame, &shown, &Look { palette, ..Look::default() }));
        terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(coloured(Palette::Colours) && !coloured(Palette::Plain));
}
