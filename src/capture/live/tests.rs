//! Merging, with sources that need no interface.

use super::*;

/// Time in milliseconds, as frames and clock have it here.
const MILLI: u64 = 1_000_000;

/// Gives what it is told to: frames as (time, size), or its end.
#[derive(Default)]
struct Fake {
    frames: Vec<(u64, usize)>,
    fails: bool,
}

impl Source for Fake {
    fn link_type(&self) -> LinkType {
        LinkType::Raw
    }

    fn read(&mut self, max: usize, mut each: impl FnMut(&Frame)) -> Result<usize, ReadError> {
        let count = self.frames.len().min(max);
        for (time, size) in self.frames.drain(..count) {
            let bytes = vec![0; size];
            let time = Timestamp::from_nanos(time * MILLI);
            each(&Frame { time, link_type: LinkType::Raw, bytes: &bytes, wire_len: size as u32 });
        }
        if self.fails { Err(ReadError::Down("The interface went down".into())) } else { Ok(count) }
    }
}

struct Bench {
    live: Live<Fake>,
    failed: Vec<usize>,
}

impl Bench {
    fn new(sources: usize) -> Bench {
        let sources = (0..sources).map(|_| Fake::default()).collect();
        Bench { live: Live::new(sources, 0), failed: Vec::new() }
    }

    fn source(&mut self, index: usize) -> &mut Fake {
        self.live.sources().nth(index).unwrap().unwrap()
    }

    fn give(&mut self, index: usize, times: &[u64]) {
        self.source(index).frames.extend(times.iter().map(|time| (*time, 100)));
    }

    /// The times of the frames that come out at a time.
    fn at(&mut self, now: u64) -> Vec<u64> {
        let mut times = Vec::new();
        let now = Timestamp::from_nanos(now * MILLI);
        let turn = self.live.read_with(now, 1000, |frame| times.push(frame.time.as_nanos() / MILLI), |_, _| ());
        assert_eq!(turn.frames, times.len());
        self.failed.extend(turn.failed.iter().map(|(index, _)| *index));
        times
    }
}

#[test]
fn frames_of_one_source_go_straight_through() {
    let mut bench = Bench::new(1);
    bench.give(0, &[1000, 900, 5000]);
    assert_eq!(bench.at(1000), [1000, 900, 5000]);
}

#[test]
fn frames_of_several_come_out_by_time_though_one_source_is_read_later() {
    let mut bench = Bench::new(2);
    bench.give(0, &[1000, 1010, 1020]);
    assert_eq!(bench.at(1030), [0; 0], "older ones may come from the other");
    bench.give(1, &[1005, 1015]);
    bench.give(0, &[1030]);
    // What is as old as the last of the other source is safe; 1020 and 1030 are not.
    assert_eq!(bench.at(1040), [1000, 1005, 1010, 1015]);
    bench.give(1, &[1020]);
    assert_eq!(bench.at(1050), [1020, 1020]);
    assert_eq!(bench.live.released_early(), 0);
}

#[test]
fn an_idle_source_is_waited_for_as_long_as_it_may_hold_something_older() {
    let mut bench = Bench::new(3);
    bench.give(2, &[1000]);
    assert_eq!(bench.at(1001), [0; 0]);
    assert_eq!(bench.at(1099), [0; 0]);
    assert_eq!(bench.at(1100), [1000]);
}

#[test]
fn after_a_pause_a_source_that_is_behind_is_waited_for_however_old_the_others_frames_are() {
    let mut bench = Bench::new(2);
    bench.give(0, &[1000]);
    bench.give(1, &[500; 1500]);
    assert_eq!(bench.at(9000), [500; 1000]);
    bench.give(1, &[999]);
    let mut rest = vec![500; 500];
    rest.extend([999, 1000]);
    assert_eq!(bench.at(9001), rest);
}

#[test]
fn a_source_whose_clock_is_behind_is_waited_for_no_longer_than_the_hold_back() {
    let mut bench = Bench::new(2);
    bench.give(0, &[1000]);
    bench.give(1, &[800]);
    assert_eq!(bench.at(1050), [800]);
    assert_eq!(bench.at(1099), [0; 0]);
    bench.give(1, &[850]);
    assert_eq!(bench.at(1201), [850, 1000]);
}

#[test]
fn a_full_queue_lets_the_oldest_of_all_go_and_counts_them() {
    let mut bench = Bench::new(2);
    bench.give(1, &[999]);
    bench.source(0).frames.extend((0..6).map(|number| (1000 + number, 100_000)));
    // The queue has 512 KiB: five frames fit. The sixth comes before the other source is read.
    assert_eq!(bench.at(1006), [1000, 999]);
    assert_eq!(bench.live.released_early(), 1);
    bench.source(1).frames.push((1010, 100));
    assert_eq!(bench.at(1007), [1001, 1002, 1003, 1004, 1005]);
}

#[test]
fn a_frame_larger_than_a_queue_comes_out_behind_what_was_before_it() {
    let mut bench = Bench::new(2);
    bench.source(0).frames.extend([(1000, 10), (1001, 600_000), (1002, 10)]);
    assert_eq!(bench.at(1003), [1000, 1001]);
    assert_eq!(bench.at(1102), [1002]);
}

#[test]
fn a_clock_that_is_set_neither_keeps_frames_nor_the_order_for_long() {
    let mut bench = Bench::new(2);
    bench.give(0, &[9_000_000]);
    bench.give(1, &[8_999_990]);
    assert_eq!(bench.at(9_000_000), [8_999_990], "the clock is right");
    // Two hours back: the frame of the future goes, and what comes is ordered by the new clock.
    assert_eq!(bench.at(1_800_000), [9_000_000]);
    bench.give(0, &[1_800_020]);
    assert_eq!(bench.at(1_800_021), [0; 0]);
    bench.give(1, &[1_800_010, 1_800_030]);
    assert_eq!(bench.at(1_800_031), [1_800_010, 1_800_020]);
    // An hour ahead.
    assert_eq!(bench.at(5_400_000), [1_800_030]);
    bench.give(0, &[5_400_010]);
    assert_eq!(bench.at(5_400_020), [0; 0]);
    assert_eq!(bench.at(5_400_110), [5_400_010]);
}

#[test]
fn a_source_that_fails_is_told_once_and_the_others_go_on() {
    let mut bench = Bench::new(2);
    bench.give(0, &[1000]);
    bench.give(1, &[1001]);
    bench.source(0).fails = true;
    assert_eq!(bench.at(1002), [1000]);
    assert_eq!(bench.at(1203), [1001]);
    bench.give(1, &[1210]);
    assert_eq!(bench.at(1211), [1210], "nobody is waited for");
    assert_eq!(bench.failed, [0]);
}

#[test]
fn what_the_kernel_kept_back_of_a_source_that_fails_comes_still() {
    let mut bench = Bench::new(2);
    bench.source(0).fails = true;
    assert_eq!(bench.at(1000), [0; 0]);
    bench.give(0, &[999]);
    bench.give(1, &[1050]);
    assert_eq!(bench.at(1100), [999]);
    assert_eq!(bench.failed, [0; 0]);
    assert_eq!(bench.at(1201), [1050]);
    assert_eq!(bench.failed, [0]);
}

#[test]
fn at_the_end_everything_comes_out_in_order() {
    let mut bench = Bench::new(3);
    for (source, times) in [(2, &[1000, 1003][..]), (0, &[1001, 1004]), (1, &[1002])] {
        bench.give(source, times);
    }
    let mut times = bench.at(1005);
    assert_eq!(times, [1000, 1001, 1002]);
    bench.live.flush(|frame| times.push(frame.time.as_nanos() / MILLI));
    assert_eq!(times, [1000, 1001, 1002, 1003, 1004]);
    assert_eq!(bench.live.flush(|_| ()), 0);
}
