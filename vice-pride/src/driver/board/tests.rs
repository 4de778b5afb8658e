use std::collections::BTreeSet;

use vice_core::Millis;
use vice_core::payload::ReleaseRef;
use vice_core::payload::environment::Direction;
use vice_pride_engine::{Evidence, Failure, FailurePolicy, OpNo, Reason, UnitNo, UnitPlan};

use super::*;

const SCREEN: Area = Area { rows: 24, columns: 80 };

fn release(version: &str) -> ReleaseRef {
    ReleaseRef { version: version.to_owned(), artifact: None, source: String::new(), config: None, recipe: None }
}

/// Units by their name and place.
fn plan(units: impl IntoIterator<Item = (String, Option<String>)>) -> Plan {
    let unit = |(name, place): (String, Option<String>)| UnitPlan {
        name,
        before: Some(release("1")),
        action: UnitAction::Place,
        place,
        class: None,
    };
    Plan {
        planner: 3,
        direction: Direction::Deploy,
        from: Some(release("1")),
        to: release("2"),
        units: units.into_iter().map(unit).collect(),
        waves: Vec::new(),
        limits: Vec::new(),
        exclusions: Vec::new(),
        orders: Vec::new(),
        windows: Vec::new(),
        failures: FailurePolicy::default(),
        tasks: Vec::new(),
        verify: vice_core::manifest::VerifyWhen::Never,
        has_checks: false,
        analysis: None,
        frees_traffic: false,
    }
}

fn flat(count: usize) -> Plan {
    plan((1..=count).map(|number| (format!("h{number}"), None)))
}

/// Two regions with ten racks each, so many hosts in each rack.
fn racks(hosts: usize) -> Plan {
    let racks = ["eu", "us"].into_iter().flat_map(|region| (1..=10).map(move |rack| format!("{region}/r{rack}")));
    plan(racks.flat_map(move |rack| {
        (1..=hosts).map(move |host| (format!("{}.h{host}", rack.replace('/', ".")), Some(rack.clone())))
    }))
}

fn number(unit: usize) -> UnitNo {
    UnitNo(u32::try_from(unit).unwrap())
}

fn starts(board: &mut Board, unit: usize, back: bool) {
    board.take(&EngineNote::UnitStarted { unit: number(unit), op: OpNo(1), back }, None);
}

fn finishes(board: &mut Board, unit: usize, back: bool) {
    board.take(&EngineNote::UnitFinished { unit: number(unit), op: OpNo(1), back, took: Millis(1) }, None);
}

fn fails(board: &mut Board, unit: usize, reason: &str) {
    let note = EngineNote::UnitFailed {
        unit: number(unit),
        op: OpNo(1),
        back: false,
        failure: Failure::Unreachable,
        took: Millis(1),
    };
    board.take(&note, Some(reason));
}

fn turns_back(board: &mut Board) {
    let reason = Reason::Aborted;
    board.take(&EngineNote::Decided { verdict: Verdict::Rollback, reason, evidence: Evidence::default() }, None);
}

fn drawn(board: &mut Board, plan: &Plan, area: Area) -> Vec<String> {
    board.stirred.insert(0);
    let told = board.progress(plan, Some(area));
    assert_eq!((told.len(), told[0].key.as_str()), (1, KEY));
    told[0].text.lines().map(str::to_owned).collect()
}

#[test]
fn a_few_units_have_lines_of_their_own() {
    assert!(Board::of(&flat(SINGLY_MAX)).is_none());
    assert!(Board::of(&flat(SINGLY_MAX + 1)).is_some());
    let mut kept = flat(30);
    kept.units.iter_mut().skip(3).for_each(|unit| unit.action = UnitAction::Keep);
    assert!(Board::of(&kept).is_none(), "what stays as it is needs no line");
}

#[test]
fn what_is_in_like_state_is_one_line_with_counts_and_a_failed_one_has_its_reason() {
    let plan = racks(50);
    let mut board = Board::of(&plan).unwrap();
    for unit in 0..100 {
        starts(&mut board, unit, false);
        finishes(&mut board, unit, false);
    }
    for unit in 100..140 {
        starts(&mut board, unit, false);
    }
    fails(&mut board, 103, "the host eu.r3.h4 did not answer");
    let lines = drawn(&mut board, &plan, Area { rows: 24, columns: 120 });
    assert_eq!(
        lines,
        [
            "units (1000): 100 done · 860 waiting · 39 working: eu.r3.h1 eu.r3.h2 eu.r3.h3 … · 1 failed: eu.r3.h4 the host eu.r3.…",
            "  eu (500): 100 done · 360 waiting · 39 working: eu.r3.h1 eu.r3.h2 eu.r3.h3 … · 1 failed: eu.r3.h4 the host eu.r3.h4…",
            "    r3 (50): 10 waiting · 39 working: eu.r3.h1 eu.r3.h2 eu.r3.h3 … · 1 failed: eu.r3.h4 the host eu.r3.h4 did not an…",
            "    2 places, r1 r2 (100): 100 done",
            "    7 places, r4 r5 r6 r7 r8 r9 r10 (350): 350 waiting",
            "  us (500): 500 waiting",
        ]
    );
}

#[test]
fn a_fleet_of_any_shape_and_state_fits_the_terminal() {
    let shapes = [flat(1_000), racks(50), racks(1), plan((0..1_000).map(|n| (format!("h{n}"), Some(format!("p{n}")))))];
    // A fixed seed, so that a failure repeats.
    let mut draw = 20_260_714_u64;
    let mut below = |most: usize| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(draw >> 33).unwrap() % most
    };
    for plan in shapes {
        let mut board = Board::of(&plan).unwrap();
        for step in 0..2_000 {
            let unit = below(plan.units.len());
            match below(4) {
                0 => finishes(&mut board, unit, false),
                1 => fails(
                    &mut board,
                    unit,
                    "a reason that is longer than a line of a terminal has room for, and goes on",
                ),
                _ => starts(&mut board, unit, false),
            }
            if step % 50 == 0 {
                for area in [SCREEN, Area { rows: 10, columns: 40 }, Area { rows: 3, columns: 20 }] {
                    let lines = drawn(&mut board, &plan, area);
                    let most = area.rows.saturating_sub(ROWS_LEFT).clamp(1, ROWS_MAX);
                    assert!(lines.len() <= most, "{} lines in {area:?}: {lines:#?}", lines.len());
                    assert!(lines.iter().all(|line| line.width() < area.columns), "{area:?}: {lines:#?}");
                }
            }
        }
        let whole = &board.places[0].tally;
        assert_eq!(whole.total(), plan.units.len(), "nobody is counted twice or not at all");
        let failed: BTreeSet<u32> =
            (0..board.units.len()).filter(|unit| board.units[*unit].1 == Stand::Failed).map(|u| number(u).0).collect();
        assert_eq!(whole.failed, failed);
    }
}

#[test]
fn places_that_do_not_fit_are_one_line_and_those_with_trouble_come_first() {
    let plan = plan((0..100).flat_map(|rack| (0..10).map(move |n| (format!("h{rack}-{n}"), Some(format!("r{rack}"))))));
    let mut board = Board::of(&plan).unwrap();
    for rack in 0..100 {
        starts(&mut board, rack * 10, false);
    }
    fails(&mut board, 990, "it is gone");
    let lines = drawn(&mut board, &plan, SCREEN);
    assert_eq!(lines.len(), ROWS_MAX);
    assert!(lines[16].starts_with("  r99 (10): 9 waiting · 1 failed: h99-0 it is gone"), "{lines:#?}");
    assert!(lines[17].starts_with("  84 places more, r15 r16"), "{lines:#?}");
}

#[test]
fn going_back_counts_what_was_begun() {
    let plan = flat(100);
    let mut board = Board::of(&plan).unwrap();
    (0..12).for_each(|unit| starts(&mut board, unit, false));
    (0..10).for_each(|unit| finishes(&mut board, unit, false));
    fails(&mut board, 10, "it answered 500");
    turns_back(&mut board);
    finishes(&mut board, 11, false);
    assert_eq!(drawn(&mut board, &plan, SCREEN), ["units (12): 11 to take back · 1 failed: h11 it answered 500"]);
    (0..12).for_each(|unit| starts(&mut board, unit, true));
    (0..12).for_each(|unit| finishes(&mut board, unit, true));
    assert_eq!(drawn(&mut board, &plan, SCREEN), ["units (12): 12 taken back"]);
    assert_eq!(board.end(&plan, false, Some(SCREEN)).unwrap().state, ProgressState::Failed);
    // An operator has it tried again instead.
    let mut board = Board::of(&plan).unwrap();
    (0..3).for_each(|unit| starts(&mut board, unit, false));
    (0..2).for_each(|unit| finishes(&mut board, unit, false));
    fails(&mut board, 2, "x");
    turns_back(&mut board);
    starts(&mut board, 2, false);
    assert_eq!(drawn(&mut board, &plan, SCREEN), ["units (100): 2 done · 97 waiting · 1 working: h3"]);
}

/// The lines that are kept: what is said again only with another gist, and every end.
fn kept(plan: &Plan, in_flight: usize) -> Vec<String> {
    let mut board = Board::of(plan).unwrap();
    let (mut gists, mut lines) = (BTreeMap::new(), Vec::new());
    let mut say = |board: &mut Board| {
        for told in board.progress(plan, None) {
            let done = told.state == ProgressState::Done;
            if gists.insert(told.key.clone(), told.gist.clone()) != Some(told.gist) || done {
                lines.push(told.text);
            }
        }
    };
    for unit in 0..plan.units.len() + in_flight {
        if unit < plan.units.len() {
            starts(&mut board, unit, false);
        }
        if unit >= in_flight {
            finishes(&mut board, unit - in_flight, false);
        }
        say(&mut board);
    }
    lines
}

#[test]
fn where_lines_are_kept_a_thousand_hosts_take_some_dozens() {
    let lines = kept(&flat(1_000), 20);
    assert!((15..=30).contains(&lines.len()), "{} lines: {lines:#?}", lines.len());
    assert_eq!(lines[0], "units (1000): 999 waiting · 1 working: h1");
    assert_eq!(lines.last().unwrap(), "units (1000): 1000 done");
    let lines = kept(&racks(50), 20);
    assert!((10..=60).contains(&lines.len()), "{} lines: {lines:#?}", lines.len());
    assert!(lines.contains(&"us (500): 500 done".to_owned()), "{lines:#?}");
    let small = kept(&plan((0..12).map(|n| (format!("h{n}"), Some(format!("r{}", n / 4))))), 1);
    assert_eq!(small.iter().filter(|line| line.contains("4 done")).count(), 3, "{small:#?}");
}

#[test]
fn names_that_a_terminal_would_obey_are_shown() {
    let mut plan = flat(20);
    plan.units[0].name = "h\u{1b}[2J".to_owned();
    let mut board = Board::of(&plan).unwrap();
    starts(&mut board, 0, false);
    starts(&mut board, 1, false);
    fails(&mut board, 1, "bad\u{7}\nunits (20): 20 done");
    let lines = drawn(&mut board, &plan, Area { rows: 24, columns: 200 });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(!lines[0].contains(['\u{1b}', '\u{7}']), "{lines:#?}");
}
