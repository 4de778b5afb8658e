//! SIGKILL of the built binary at every single point: before and after each append, and before, during and after each call
//! of the target. Then it is resumed, and the oracle is what the target says it did: nothing twice, nothing missing.
//! Pairs of such points, the second one while resuming, are drawn by seed.

use std::process::Command;
use std::sync::OnceLock;

use crate::doomed::{none_is_double, placed, project, runs, vice};
use crate::lab::{Lab, Ran};

/// More of each kind than a deploy of three units has.
const POINTS_MAX: u32 = 80;

/// How often a killed rollout is taken up before the test gives up.
const RESUMES_MAX: usize = 4;

/// A moment at which vice is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    BeforeAppend(u32),
    AfterAppend(u32),
    BeforeCall(u32),
    DuringCall(u32),
    AfterCall(u32),
}

type Make = fn(u32) -> Point;
const KINDS: [Make; 5] =
    [Point::BeforeAppend, Point::AfterAppend, Point::BeforeCall, Point::DuringCall, Point::AfterCall];

impl Point {
    fn variable(self) -> (&'static str, String) {
        match self {
            Self::BeforeAppend(n) => ("VICE_TEST_CRASH", format!("before:{n}")),
            Self::AfterAppend(n) => ("VICE_TEST_CRASH", format!("after:{n}")),
            Self::BeforeCall(n) => ("TEST_DOOM", format!("before:{n}")),
            Self::DuringCall(n) => ("TEST_DOOM", format!("during:{n}")),
            Self::AfterCall(n) => ("TEST_DOOM", format!("after:{n}")),
        }
    }

    fn run(self, lab: &Lab, args: &[&str]) -> Ran {
        let (name, value) = self.variable();
        vice(lab, &[(name, &value)], args)
    }
}

/// How the rollout under test is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Every unit gets the new version.
    Forward,
    /// A task at the end fails, and every unit is taken back.
    Back,
}

const FAILING: &str = "[task.last]\ncommand = [\"false\"]\nrun = \"after\"\n";

/// A project whose version 1 runs, made once a process and copied from then on.
fn begun(way: Way) -> Lab {
    static MADE: OnceLock<Lab> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let lab = Lab::new();
        project(&lab, "", "");
        vice(&lab, &[], &["deploy", "shop@1"]).expect(0);
        lab
    });
    let lab = Lab::new();
    let copied = Command::new("cp").arg("-a").arg(made.root().join(".")).arg(lab.root()).status();
    assert!(copied.expect("cp").success());
    if way == Way::Back {
        let toml = lab.read("vice.toml");
        lab.write("vice.toml", &format!("{toml}{FAILING}"));
    }
    lab
}

/// Whether a rollout is under way.
fn is_open(lab: &Lab) -> bool {
    let status = vice(lab, &[], &["status", "--format", "json"]).expect(0).json();
    status["environments"][0]["active_rollout"].is_string()
}

/// Brings what was left to its end.
fn ends(lab: &Lab, way: Way, case: &str) {
    if !is_open(lab) && placed(lab, "2").is_empty() {
        // It died before anything was begun.
        vice(lab, &[], &["deploy", "shop@2"]);
    }
    for _ in 0..RESUMES_MAX {
        if !is_open(lab) {
            break;
        }
        let resumed = vice(lab, &[], &["pride", "resume", "shop"]);
        // A task that was under way is in doubt, which is asked; saying that it may run again goes on.
        assert!([0, 6, 7].contains(&resumed.status), "{case}: {resumed:?}");
    }
    assert!(!is_open(lab), "{case}: it does not end");
    none_is_double(lab, case);
    let (version, times) = if way == Way::Forward { ("2", 1) } else { ("1", 1) };
    let expected = ["1", "2", "3"].map(|unit| (unit.to_owned(), version.to_owned()));
    assert!(runs(lab).into_iter().eq(expected), "{case}: {:?}", runs(lab));
    let placed = placed(lab, "2");
    assert!(placed.len() == 3 || way == Way::Back, "{case}: an effect is missing: {placed:?}");
    assert!(placed.values().all(|count| *count == times), "{case}: an effect is double: {placed:?}");
    vice(lab, &[], &["greed", "verify"]).expect(0);
}

/// Kills a deploy at a point; false when it ended before.
fn dies_at(point: Point, way: Way) -> bool {
    let lab = begun(way);
    let died = point.run(&lab, &["deploy", "shop@2"]);
    let case = format!("{way:?} {point:?}");
    if died.status != 137 {
        died.expect(if way == Way::Forward { 0 } else { 6 });
        return false;
    }
    ends(&lab, way, &case);
    true
}

fn every_point(way: Way, kind: Make) -> usize {
    (1..POINTS_MAX).take_while(|n| dies_at(kind(*n), way)).count()
}

#[test]
fn forward_before_each_append() {
    assert!((8..70).contains(&every_point(Way::Forward, Point::BeforeAppend)));
}

#[test]
fn forward_after_each_append() {
    assert!((8..70).contains(&every_point(Way::Forward, Point::AfterAppend)));
}

// One fence, three units.

#[test]
fn forward_before_each_call() {
    assert_eq!(every_point(Way::Forward, Point::BeforeCall), 4);
}

#[test]
fn forward_during_each_call() {
    assert_eq!(every_point(Way::Forward, Point::DuringCall), 4);
}

#[test]
fn forward_after_each_call() {
    assert_eq!(every_point(Way::Forward, Point::AfterCall), 4);
}

#[test]
fn back_before_each_append() {
    assert!((10..75).contains(&every_point(Way::Back, Point::BeforeAppend)));
}

#[test]
fn back_after_each_append() {
    assert!((10..75).contains(&every_point(Way::Back, Point::AfterAppend)));
}

// One fence, three units there and back.

#[test]
fn back_before_each_call() {
    assert_eq!(every_point(Way::Back, Point::BeforeCall), 7);
}

#[test]
fn back_during_each_call() {
    assert_eq!(every_point(Way::Back, Point::DuringCall), 7);
}

#[test]
fn back_after_each_call() {
    assert_eq!(every_point(Way::Back, Point::AfterCall), 7);
}

/// A few numbers from a seed, with a generator of our own so that a seed means the same for ever (SplitMix64).
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn below(&mut self, most: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(most)).expect("small")
    }

    fn point(&mut self) -> Point {
        let kind = KINDS[self.below(5) as usize];
        kind(1 + self.below(16))
    }
}

fn pair(seed: u64) {
    let mut draw = Draw(seed);
    let way = if draw.below(2) == 0 { Way::Forward } else { Way::Back };
    let (first, second) = (draw.point(), draw.point());
    let lab = begun(way);
    let died = first.run(&lab, &["deploy", "shop@2"]);
    if died.status == 137 && is_open(&lab) {
        second.run(&lab, &["pride", "resume", "shop"]);
    }
    ends(&lab, way, &format!("seed {seed}: {way:?}, {first:?}, {second:?}"));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn pairs(from: u64, count: u64) {
    for seed in from..from + count {
        let held = std::panic::catch_unwind(|| pair(seed)).is_ok();
        assert!(
            held,
            "Seed {seed} failed. Replay it: VICE_TEST_PAIR_SEED={seed} cargo nextest run -p vice-cli -E 'test(=crash_matrix::pairs_by_seed)'"
        );
    }
}

/// Any pair, or any number of them: how `bench/crash` draws as many as are wanted, and how one is replayed.
#[test]
fn pairs_by_seed() {
    if let Some(seed) = number("VICE_TEST_PAIR_SEED") {
        return pair(seed);
    }
    pairs(number("VICE_TEST_PAIRS_FROM").unwrap_or(1), number("VICE_TEST_PAIRS").unwrap_or(6));
}

// Three hundred pairs, in portions that run beside each other.

#[test]
fn pairs_portion_1() {
    pairs(1_001, 50);
}

#[test]
fn pairs_portion_2() {
    pairs(1_051, 50);
}

#[test]
fn pairs_portion_3() {
    pairs(1_101, 50);
}

#[test]
fn pairs_portion_4() {
    pairs(1_151, 50);
}

#[test]
fn pairs_portion_5() {
    pairs(1_201, 50);
}

#[test]
fn pairs_portion_6() {
    pairs(1_251, 50);
}

/// Each call reaches the target twice, there and back: the second one finds its marker.
#[test]
fn each_action_and_each_undo_may_come_twice() {
    for way in [Way::Forward, Way::Back] {
        let lab = begun(way);
        vice(&lab, &[("TEST_REPEAT", "1")], &["deploy", "shop@2"]).expect(if way == Way::Forward { 0 } else { 6 });
        ends(&lab, way, &format!("{way:?} repeated"));
    }
}
