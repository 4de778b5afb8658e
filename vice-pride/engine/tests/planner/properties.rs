//! Random small rollouts against brute force. The checker tries every order of the units; it shares no code with the
//! planner and knows nothing of classes, graphs or ranks.

use serde_json::{Value, json};
use vice_core::payload::environment::Direction;
use vice_core::port::target::Inventory;
use vice_pride_engine::{Plan, UnitAction};

use crate::support::{conflict, planned, rollout, running};

/// How many instances are tried; seeds are 1 to this.
const INSTANCES: u64 = 4_000;

/// splitmix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// Some of the units, at least one, as a bit set.
    fn some(&mut self, units: u32) -> u32 {
        1 + u32::try_from(self.below((1 << units) - 1)).unwrap()
    }
}

/// Units are bits: `wanted` lowest bits are wanted, the others are found and not wanted.
#[derive(Debug, Clone, Default)]
struct Instance {
    count: u32,
    wanted: u32,
    kept: u32,
    strategy: &'static str,
    after: Vec<(u32, u32)>,
    order: Vec<u32>,
    start: Option<u32>,
    exclude: Vec<Vec<u32>>,
    zero: bool,
    /// Days, hours from and until, units.
    windows: Vec<(Vec<usize>, u32, u32, u32)>,
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Instance {
    fn random(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let count = 2 + u32::try_from(chance.below(5)).unwrap();
        let wanted = 1 + u32::try_from(chance.below(u64::from(count))).unwrap();
        let mut made = Self { count, wanted, ..Self::default() };
        made.kept = if chance.percent(30) { chance.some(wanted) & !1 } else { 0 };
        made.strategy = ["rolling", "all-at-once", "waves", "rolling"][usize::try_from(chance.below(4)).unwrap()];
        for _ in 0..chance.below(4) {
            // Mostly apart: a set against itself is not very telling.
            let first = chance.some(count);
            let then = chance.some(count) & if chance.percent(85) { !first } else { u32::MAX };
            made.after.extend((then != 0).then_some((first, then)));
        }
        for _ in 0..[0, 0, 1, 2, 3][usize::try_from(chance.below(5)).unwrap()] {
            let set = chance.some(count);
            made.order.extend((!made.order.contains(&set)).then_some(set));
        }
        made.start = chance.percent(30).then(|| chance.some(count));
        for _ in 0..u64::from(chance.percent(25)) {
            let first = chance.some(count);
            let second = chance.some(count) & if chance.percent(70) { !first } else { u32::MAX };
            made.exclude.extend((second != 0).then(|| vec![first, second]));
        }
        made.zero = chance.percent(4);
        for _ in 0..[0, 0, 0, 2][usize::try_from(chance.below(4)).unwrap()] {
            let days = (0..7).filter(|_| chance.percent(40)).collect();
            let from = u32::try_from(chance.below(24)).unwrap();
            let until = u32::try_from(chance.below(24)).unwrap();
            made.windows.push((days, from, until, chance.some(count)));
        }
        made
    }

    fn name(unit: u32) -> String {
        format!("u{unit}")
    }

    fn names(set: u32) -> Vec<String> {
        (0..32).filter(|unit| set >> unit & 1 == 1).map(Self::name).collect()
    }

    fn changing(&self) -> u32 {
        ((1 << self.count) - 1) & !self.kept
    }

    fn placed(&self) -> u32 {
        ((1 << self.wanted) - 1) & !self.kept
    }

    fn spec(&self) -> Value {
        let windows: Vec<Value> = self
            .windows
            .iter()
            .map(|(days, from, until, units)| {
                let days: Vec<&str> = days.iter().map(|day| DAYS[*day]).collect();
                let (from, until) = (format!("{from:02}:00"), format!("{until:02}:00"));
                json!({ "days": days, "from": from, "until": until, "units": Self::names(*units) })
            })
            .collect();
        let after = |(first, then): &(u32, u32)| json!({ "first": Self::names(*first), "then": Self::names(*then) });
        let mut spec = json!({
            "strategy": self.strategy,
            "after": self.after.iter().map(after).collect::<Vec<_>>(),
            "order": self.order.iter().map(|set| Self::names(*set)).collect::<Vec<_>>(),
            "exclude": self.exclude.iter().map(|groups| groups.iter().map(|set| Self::names(*set)).collect::<Vec<_>>()).collect::<Vec<_>>(),
            "window": windows,
            "max_down": u32::from(!self.zero),
        });
        if let Some(start) = self.start {
            spec["start_at"] = json!(Self::names(start));
        }
        spec
    }

    fn plan(&self) -> Result<Plan, vice_core::Fault> {
        let there: Vec<String> = (0..self.count).filter(|unit| self.kept >> unit & 1 == 0).map(Self::name).collect();
        let mut inventory: Inventory = running(there, "1");
        inventory.units.extend(running(Self::names(self.kept), "2").units);
        let units: Vec<String> = (0..self.wanted).map(Self::name).collect();
        planned(&units, None, &inventory, &rollout(&self.spec().to_string()), Direction::Deploy)
    }

    /// Whether there is an order of the changing units that keeps everything.
    fn feasible(&self) -> bool {
        let changing = self.changing();
        if changing == 0 {
            return true;
        }
        if self.zero || !self.windows_meet() {
            return false;
        }
        if self.exclude.iter().any(|groups| groups[0] & groups[1] & changing != 0) {
            return false;
        }
        let units: Vec<u32> = (0..self.count).filter(|unit| changing >> unit & 1 == 1).collect();
        self.extend(&units, &mut Vec::new())
    }

    /// Tries every order by going on with every unit that is not there yet.
    fn extend(&self, units: &[u32], so_far: &mut Vec<u32>) -> bool {
        if so_far.len() == units.len() {
            return true;
        }
        for unit in units {
            if so_far.contains(unit) {
                continue;
            }
            so_far.push(*unit);
            if self.keeps(units, so_far) && self.extend(units, so_far) {
                return true;
            }
            so_far.pop();
        }
        false
    }

    /// Whether the last unit of the order may come where it is.
    fn keeps(&self, units: &[u32], order: &[u32]) -> bool {
        let last = order[order.len() - 1];
        let start_set =
            self.start.map(|start| if self.placed() != 0 { start & self.placed() } else { start & self.changing() });
        if order.len() == 1 && start_set.is_some_and(|start| start >> last & 1 == 0) {
            return false;
        }
        let done = |unit: &u32| order[..order.len() - 1].contains(unit);
        let waits_for = |other: &&u32| {
            let by_after = self.after.iter().any(|(first, then)| then >> last & 1 == 1 && first >> **other & 1 == 1);
            by_after || (**other != last && self.listed_before(**other, last))
        };
        units.iter().filter(waits_for).all(done)
    }

    /// Whether `order` lists one before two; what is placed and what is removed are apart.
    fn listed_before(&self, one: u32, two: u32) -> bool {
        let place = |unit: u32| self.order.iter().position(|set| set >> unit & 1 == 1);
        let same_kind = (self.placed() >> one & 1) == (self.placed() >> two & 1);
        same_kind && matches!((place(one), place(two)), (Some(first), Some(second)) if first < second)
    }

    /// Looks at every half hour of a week, for each unit.
    fn windows_meet(&self) -> bool {
        let open = |window: &(Vec<usize>, u32, u32, u32), half: u32| {
            let (days, from, until, _) = window;
            // A window that ends on the next day is open in the morning after each of its days.
            let length = if until > from { until - from } else { 24 + until - from };
            days.iter().any(|day| {
                let opens = (u32::try_from(*day).unwrap() * 24 + from) * 2;
                let since = (half + 336 - opens) % 336;
                since < length * 2
            })
        };
        let changing = self.changing();
        (0..self.count).filter(|unit| changing >> unit & 1 == 1).all(|unit| {
            let own: Vec<_> = self.windows.iter().filter(|window| window.3 >> unit & 1 == 1).collect();
            (0..336).any(|half| own.iter().all(|window| open(window, half)))
        })
    }

    /// The same without one constraint.
    fn without(&self, key: &str) -> Self {
        let mut less = self.clone();
        let (word, index) = key
            .split_once('[')
            .map_or((key, 0), |(word, rest)| (word, rest.trim_end_matches(']').parse::<usize>().unwrap()));
        match word {
            "after" => drop(less.after.remove(index)),
            "order" => drop(less.order.remove(index)),
            "exclude" => drop(less.exclude.remove(index)),
            "window" => drop(less.windows.remove(index)),
            "start_at" => less.start = None,
            "max_down" => less.zero = false,
            other => panic!("a constraint named {other}"),
        }
        less
    }

    /// The same with nothing but these constraints.
    fn only(&self, keys: &[String]) -> Self {
        let has = |key: String| keys.contains(&key);
        let alone = self.windows.len() == 1;
        let kept = |word: &'static str, count: usize| {
            (0..count).filter(move |index| {
                has(format!("{word}[{index}]")) || (word == "window" && alone && has(word.to_owned()))
            })
        };
        Self {
            after: kept("after", self.after.len()).map(|index| self.after[index]).collect(),
            order: kept("order", self.order.len()).map(|index| self.order[index]).collect(),
            exclude: kept("exclude", self.exclude.len()).map(|index| self.exclude[index].clone()).collect(),
            windows: kept("window", self.windows.len()).map(|index| self.windows[index].clone()).collect(),
            start: self.start.filter(|_| has("start_at".to_owned())),
            zero: self.zero && has("max_down".to_owned()),
            ..self.clone()
        }
    }
}

/// The waves of a plan against the instance.
fn check_waves(instance: &Instance, plan: &Plan, seed: u64) {
    let number = |unit: &vice_pride_engine::UnitNo| plan.units[unit.index()].name[1..].parse::<u32>().unwrap();
    let waves: Vec<Vec<u32>> = plan.waves.iter().map(|wave| wave.units.iter().map(number).collect()).collect();
    let order: Vec<u32> = waves.iter().flatten().copied().collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    let changing: Vec<u32> = (0..instance.count).filter(|unit| instance.changing() >> unit & 1 == 1).collect();
    assert_eq!(sorted, changing, "seed {seed}: each changing unit is in exactly one wave");
    for end in 1..=order.len() {
        assert!(instance.keeps(&changing, &order[..end]), "seed {seed}: {order:?} breaks a rule of {instance:?}");
    }
    if let (Some(start), Some(first)) = (instance.start, waves.first()) {
        assert!(
            first.iter().all(|unit| start >> unit & 1 == 1),
            "seed {seed}: {first:?} is not where it starts: {instance:?}, {waves:?}"
        );
    }
    let removed_first = plan.units.iter().any(|unit| unit.action == UnitAction::Remove)
        && instance.after.is_empty()
        && instance.order.is_empty();
    if removed_first {
        let removal = |unit: &u32| *unit >= instance.wanted;
        assert!(order.is_sorted_by_key(removal), "seed {seed}: units are removed last");
    }
}

#[test]
fn plans_exist_exactly_where_an_order_exists() {
    let (mut feasible, mut sizes) = (0_u64, [0_u64; 8]);
    for seed in 1..=INSTANCES {
        let instance = Instance::random(seed);
        match instance.plan() {
            Ok(plan) => {
                assert!(instance.feasible(), "seed {seed}: planned, but no order keeps {instance:?}");
                check_waves(&instance, &plan, seed);
                feasible += 1;
            }
            Err(fault) => {
                assert!(!instance.feasible(), "seed {seed}: {fault}, but there is an order for {instance:?}");
                let keys = conflict(&fault);
                sizes[keys.len()] += 1;
                assert!(!instance.only(&keys).feasible(), "seed {seed}: {keys:?} do not contradict each other");
                for key in &keys {
                    let others: Vec<String> = keys.iter().filter(|other| *other != key).cloned().collect();
                    assert!(instance.only(&others).feasible(), "seed {seed}: {keys:?} is not smallest without {key}");
                }
                // Taking away what is named is progress: another contradiction may be left, but not this one.
                let less = instance.without(&keys[0]);
                if let Err(next) = less.plan() {
                    assert!(conflict(&next) != keys || keys[0].contains('['), "seed {seed}");
                }
            }
        }
    }
    // The corpus is telling only if it has both, and contradictions of one, two and more constraints.
    assert!(feasible > INSTANCES / 4 && feasible < INSTANCES * 3 / 4, "{feasible} of {INSTANCES} are feasible");
    assert!(sizes[1] > 50 && sizes[2] > 50 && sizes[3..].iter().sum::<u64>() > 20, "{sizes:?}");
}

#[test]
fn the_same_request_gives_the_same_plan() {
    for seed in 1..=200 {
        let instance = Instance::random(seed);
        let (one, two) = (instance.plan(), instance.plan());
        match (one, two) {
            (Ok(one), Ok(two)) => assert_eq!(one.hash(), two.hash()),
            (one, two) => assert_eq!(one.unwrap_err().to_string(), two.unwrap_err().to_string()),
        }
    }
}
