//! Worlds and random plans for the tests.

use jiff::Timestamp;
use vice_core::Millis;
use vice_core::manifest::{ModelSpec, Weekday};
use vice_pride_engine::{
    Course, Exclusion, FailurePolicy, Group, Limit, Plan, Precedence, UnitNo, UnitSet, Wave, Window,
};
use vice_pride_simulator::fleet::Fleet;
use vice_pride_simulator::{Layout, Past, Setting, Stream, World};

pub(crate) fn world(model: &str, layout: Layout) -> World {
    let spec: ModelSpec = toml::from_str(model).unwrap();
    World::new(&spec, layout, &Past::default()).unwrap()
}

/// A Monday at eight.
pub(crate) fn monday() -> Timestamp {
    "2026-01-05T08:00:00Z".parse().unwrap()
}

pub(crate) fn setting<'w>(world: &'w World, course: &'w Course, seed: u64) -> Setting<'w> {
    Setting { world, course, start: monday(), seed }
}

pub(crate) fn pick(chance: &mut Stream, below: u32) -> u32 {
    u32::try_from(chance.bits() % u64::from(below.max(1))).unwrap()
}

/// A random fleet of 2 to 40 units with random limits, exclusions, orders and perhaps a window; and its waves.
pub(crate) fn random_plan(seed: u64) -> (Plan, u32) {
    let mut chance = Stream::new(seed);
    let units = 2 + pick(&mut chance, 39);
    let fleet = Fleet { layout: Layout::flat(units), limits: Vec::new() };
    let mut order: Vec<UnitNo> = (0..units).map(UnitNo).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, pick(&mut chance, u32::try_from(at).unwrap() + 1) as usize);
    }
    let mut waves = Vec::new();
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let size = (1 + pick(&mut chance, units) as usize).min(rest.len());
        let bake = Millis(u64::from(pick(&mut chance, 3)) * 20_000);
        waves.push(Wave { bake, ..Wave::of(rest[..size].to_vec()) });
        rest = &rest[size..];
    }
    let mut plan = fleet.plan(waves, FailurePolicy { retries: 50, tolerate: 0 });
    for number in 0..pick(&mut chance, 5) {
        let members = random_set(&mut chance, units);
        if members.is_empty() {
            continue;
        }
        let max_down = 1 + pick(&mut chance, 4);
        plan.limits.push(Limit { name: format!("limit {number}"), members, max_down, down_before: 0 });
    }
    exclusions_and_orders(&mut plan, &mut chance, units);
    if pick(&mut chance, 4) == 0 {
        let window = Window {
            name: "office".into(),
            members: None,
            days: vec![Weekday::Mon, Weekday::Tue, Weekday::Wed],
            from: "09:00".into(),
            until: "11:30".into(),
            zone: "UTC".into(),
        };
        plan.windows.push(window);
    }
    (plan, units)
}

fn random_set(chance: &mut Stream, units: u32) -> UnitSet {
    let low = pick(chance, units);
    let every = 1 + pick(chance, 3);
    UnitSet::from_units((low..units).step_by(every as usize).take(2 + pick(chance, 20) as usize).map(UnitNo))
}

fn group(name: &str, low: u32, high: u32) -> Group {
    Group { name: name.to_owned(), members: UnitSet::range(low, high) }
}

fn exclusions_and_orders(plan: &mut Plan, chance: &mut Stream, units: u32) {
    if units < 6 {
        return;
    }
    let third = units / 3;
    if pick(chance, 2) == 0 {
        let groups = vec![group("bar", 0, third), group("potato", third, 2 * third)];
        plan.exclusions.push(Exclusion { name: "never at once".into(), groups });
    }
    if pick(chance, 2) == 0 {
        // Only what is in an earlier or the same wave can come first, else the plan could not end.
        let wave_of = |unit: u32| plan.waves.iter().position(|wave| wave.units.contains(&UnitNo(unit))).unwrap();
        let (one, two) = (pick(chance, units), pick(chance, units));
        if one != two {
            let (first, then) = if wave_of(one) <= wave_of(two) { (one, two) } else { (two, one) };
            let (first, then) = (group("db", first, first + 1), group("web", then, then + 1));
            plan.orders.push(Precedence { name: "db before web".into(), first, then });
        }
    }
}
