//! From the order of the units to waves: one function a strategy.

use vice_core::manifest::{Amount, CanaryStep, RolloutSpec, Share, StepSize, Strategy};
use vice_core::payload::environment::Direction;
use vice_core::{Code, Fault, Millis, Result};

use super::fleet::Fleet;
use super::sequence::Sequence;
use crate::number::UnitNo;
use crate::plan::{Exposure, Wave};

/// The steps of a canary that says none: a twentieth, a quarter, half of the traffic.
const STEPS: [u32; 3] = [500, 2_500, 5_000];

/// How many units a ramp places before it moves traffic. They have to carry what they are given, which is at most half.
const RAMP_FIRST: Amount = Amount::Percent(25);

/// How many times as many units each wave has, where nothing is said.
const GROWTH: f64 = 2.0;

/// How many waves a rollout may have. Each is an entry of the history and a run of the checks: ten thousand of them at
/// a minute each are a week, and whoever has more units than that means larger waves.
const WAVES_MAX: usize = 10_000;

/// The size of the wave after one of this size; sizes are fractions until a wave is cut. Whatever the factor, a wave is larger
/// than the one before it.
#[must_use]
pub fn next_wave(size: f64, growth: f64) -> f64 {
    (size * growth).max(size + 1.0)
}

/// What decides about the waves beside the units' order.
pub(super) struct Shape<'a> {
    pub(super) spec: &'a RolloutSpec,
    pub(super) fleet: &'a Fleet<'a>,
    pub(super) direction: Direction,
    /// Whether live metrics judge.
    pub(super) judged: bool,
}

/// The waves.
pub(super) fn waves(shape: &Shape<'_>, sequence: Sequence) -> Result<Vec<Wave>> {
    if sequence.len() == 0 {
        return Ok(Vec::new());
    }
    let strategy = strategy(shape.spec, shape.fleet, shape.direction);
    shape.check_wave()?;
    match strategy {
        Strategy::Rolling => shape.rolling(&sequence),
        Strategy::AllAtOnce => Ok(shape.all_at_once(sequence)),
        Strategy::Waves => shape.growing(sequence),
        Strategy::Canary => shape.canary(sequence),
        Strategy::Ramp => shape.ramp(sequence),
        Strategy::BlueGreen => shape.blue_green(sequence),
    }
}

/// The strategy that makes sense: there is no comparison without an earlier release or a unit to place, and going back is
/// not tried out in small steps.
pub(super) fn strategy(spec: &RolloutSpec, fleet: &Fleet<'_>, direction: Direction) -> Strategy {
    let compares = fleet.baseline && !fleet.placed.is_empty();
    match (spec.strategy, direction) {
        (asked @ (Strategy::Rolling | Strategy::AllAtOnce), _) => asked,
        (Strategy::BlueGreen, _) if compares => Strategy::BlueGreen,
        (asked, Direction::Deploy) if compares => asked,
        _ => Strategy::AllAtOnce,
    }
}

impl Shape<'_> {
    /// `wave` belongs to some strategies only.
    fn check_wave(&self) -> Result<()> {
        let Some(wave) = self.spec.wave else { return Ok(()) };
        let word = self.spec.strategy.word();
        let (why, hint) = match self.spec.strategy {
            Strategy::Rolling | Strategy::Canary | Strategy::Ramp => return Ok(()),
            Strategy::AllAtOnce => ("has one wave with every unit", "Remove `wave`, or use the strategy rolling."),
            Strategy::Waves => ("has waves that grow", "Use `wave_first` and `wave_growth`."),
            Strategy::BlueGreen => ("places every new unit at once", "Remove `wave`."),
        };
        let message = format!("`rollout.wave` is {wave}, but the strategy {word} {why}.");
        Err(Fault::new(Code::ManifestInvalid, message).hint(hint).detail("key", "wave"))
    }

    fn bake(&self) -> Millis {
        self.spec.bake.unwrap_or(Millis::ZERO)
    }

    /// A wave that traffic follows; it is not judged.
    fn plain(&self, units: Vec<UnitNo>) -> Wave {
        Wave { bake: self.bake(), ..Wave::of(units) }
    }

    /// A wave of a strategy that grows with evidence.
    fn watched(&self, units: Vec<UnitNo>) -> Wave {
        Wave { judged: self.judged, ..self.plain(units) }
    }

    fn enough(&self, key: &str, amount: Option<Amount>) -> Result<u32> {
        enough(key, amount, self.fleet.count, self.fleet.changes())
    }

    /// One wave; two where it has to start somewhere.
    fn all_at_once(&self, mut sequence: Sequence) -> Vec<Wave> {
        let mut parts = sequence.removed.into_iter();
        // What `start_at` does not select stays out of the first wave, also when it is removed.
        let alone = self.spec.start_at.is_some() && sequence.placed.len() == 1;
        if let Some(last) = sequence.placed.last_mut().filter(|_| !alone) {
            parts.by_ref().for_each(|mut removed| last.append(&mut removed));
        }
        sequence.placed.extend(parts);
        sequence.placed.into_iter().map(|units| self.plain(units)).collect()
    }

    /// Wave after wave of the same size. Metrics judge where the rollout names them.
    fn rolling(&self, sequence: &Sequence) -> Result<Vec<Wave>> {
        let size = self.enough("wave", self.spec.wave)? as usize;
        let parts = sequence.placed.iter().chain(&sequence.removed);
        self.few_enough(parts.map(|part| part.len().div_ceil(size)).sum(), size)?;
        let judged = self.judged && !self.spec.metrics.is_empty() && self.fleet.baseline;
        let wave = |units: &[UnitNo]| Wave { judged, ..self.plain(units.to_vec()) };
        let mut first = self.fleet.down.len().min(sequence.coverage) as usize;
        let mut placed = Vec::new();
        for part in &sequence.placed {
            let (begin, rest) = part.split_at(if first > size { first.min(part.len()) } else { 0 });
            placed.extend((!begin.is_empty()).then(|| wave(begin)));
            placed.extend(rest.chunks(size).map(wave));
            first = 0;
        }
        let removed = sequence.removed.iter().flat_map(|part| part.chunks(size));
        let removed = removed.map(|units| self.plain(units.to_vec()));
        Ok(placed.into_iter().chain(removed).collect())
    }

    /// Each wave has `wave_growth` times as many units as the one before it; the first one covers the classes.
    fn growing(&self, sequence: Sequence) -> Result<Vec<Wave>> {
        let first = self.enough("wave_first", self.spec.wave_first)?.max(sequence.coverage);
        let growth = self.spec.wave_growth.unwrap_or(GROWTH);
        let mut size = f64::from(first);
        let mut waves = Vec::new();
        for part in &sequence.placed {
            let mut rest = part.as_slice();
            while !rest.is_empty() {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a size is at least 1, and one that is too large for the type takes all units"
                )]
                let (now, later) = rest.split_at((size.floor() as usize).clamp(1, rest.len()));
                waves.push(self.watched(now.to_vec()));
                rest = later;
                size = next_wave(size, growth);
            }
        }
        // Nothing is left to compare with when the last wave is done.
        if let Some(last) = waves.last_mut() {
            last.judged = false;
        }
        Ok(self.with_removals(waves, sequence.removed))
    }

    /// Step after step, as many units as the share needs; then the rest.
    fn canary(&self, sequence: Sequence) -> Result<Vec<Wave>> {
        let default = || STEPS.iter().filter_map(|points| Share::of(*points));
        let steps: Vec<CanaryStep> = match self.spec.steps.is_empty() {
            true => default().map(|share| CanaryStep { size: StepSize::Share(share), bake: None }).collect(),
            false => self.spec.steps.clone(),
        };
        let first = self.enough("wave_first", self.spec.wave_first)?.max(sequence.coverage);
        let mut cursor = Cursor::new(&sequence, self.most(&sequence, "canary")?);
        let mut waves = Vec::new();
        for (index, step) in steps.iter().enumerate() {
            let (wanted, exposure, name) = self.step(step, index)?;
            let wanted = if index == 0 { wanted.max(first) } else { wanted };
            let bake = step.bake.unwrap_or_else(|| self.bake());
            let parts = cursor.up_to(wanted);
            let last = parts.len().saturating_sub(1);
            for (part, units) in parts.into_iter().enumerate() {
                let watched = part == last;
                waves.push(Wave {
                    name: Some(name.clone()),
                    units,
                    exposure,
                    bake: if watched { bake } else { Millis::ZERO },
                    judged: watched && self.judged,
                });
            }
        }
        self.rest(waves, &cursor.rest(), sequence.removed)
    }

    /// How many units a step wants in all, what it exposes, and its name.
    fn step(&self, step: &CanaryStep, index: usize) -> Result<(u32, Exposure, String)> {
        let remaining = self.fleet.remaining();
        Ok(match step.size {
            StepSize::Share(share) => {
                let points = u64::from(share.basis_points());
                // No unit carries more than its part: the units follow the share, rounded up.
                let units = (u64::from(remaining) * points).div_ceil(10_000);
                let exposure = Exposure::Share { basis_points: share.basis_points() };
                (u32::try_from(units).unwrap_or(remaining), exposure, format!("canary {share}"))
            }
            StepSize::Units(_) if self.fleet.pairs().is_some() => return Err(no_share()),
            StepSize::Units(amount) => {
                let key = format!("steps[{index}]");
                let units = enough(&key, Some(amount), remaining, self.fleet.changes())?;
                (units, Exposure::Units, format!("canary of {units}"))
            }
        })
    }

    /// Some units first, whose share of the traffic the budget moves; then the rest.
    fn ramp(&self, sequence: Sequence) -> Result<Vec<Wave>> {
        let first = self.enough("wave_first", Some(self.spec.wave_first.unwrap_or(RAMP_FIRST)))?;
        let mut cursor = Cursor::new(&sequence, self.most(&sequence, "ramp")?);
        let parts = cursor.up_to(first.max(sequence.coverage));
        let last = parts.len().saturating_sub(1);
        let ramp = |(part, units)| {
            let (exposure, name) = (Exposure::Ramp, Some("ramp".to_owned()));
            match part == last {
                true => Wave { name, exposure, ..self.watched(units) },
                // Until all units of the ramp are there, none of them gets traffic.
                false => Wave { exposure: Exposure::Share { basis_points: 0 }, ..Wave::of(units) },
            }
        };
        let waves = parts.into_iter().enumerate().map(ramp).collect();
        self.rest(waves, &cursor.rest(), sequence.removed)
    }

    /// How many units may be placed before the rest: one of the earlier release has to stay, to compare with. Where units
    /// are there twice, all those stay that get a release when it is proven.
    fn most(&self, sequence: &Sequence, word: &str) -> Result<u32> {
        if let Some(pairs) = self.fleet.pairs() {
            let placed = sequence.placed.iter().map(Vec::len).sum::<usize>();
            return Ok(u32::try_from(placed).unwrap_or(u32::MAX).saturating_sub(pairs.stables.len()));
        }
        match self.fleet.remaining() {
            0 | 1 => Err(Fault::new(
                Code::ManifestInvalid,
                format!("The strategy {word} compares new units with old ones, and there is only one unit."),
            )
            .hint("Set `instances` to at least 2, or use the strategy blue-green.")
            .detail("key", "strategy")),
            units => Ok(units - 1),
        }
    }

    /// The units that are left when the new release has proven itself.
    fn rest(&self, mut waves: Vec<Wave>, rest: &[UnitNo], removed: Vec<Vec<UnitNo>>) -> Result<Vec<Wave>> {
        let size = match self.spec.wave {
            Some(_) => self.enough("wave", self.spec.wave)? as usize,
            None => rest.len().max(1),
        };
        self.few_enough(rest.len().div_ceil(size), size)?;
        waves.extend(rest.chunks(size).map(|units| self.plain(units.to_vec())));
        Ok(self.with_removals(waves, removed))
    }

    fn few_enough(&self, waves: usize, size: usize) -> Result<()> {
        if waves <= WAVES_MAX {
            return Ok(());
        }
        let units = self.fleet.changes();
        let each = if size == 1 { "one unit".to_owned() } else { format!("{size} units") };
        let message = format!("There would be {waves} waves of {each}; {WAVES_MAX} is the limit.");
        let fault = Fault::new(Code::ManifestInvalid, message).detail("key", "wave");
        let hint =
            format!("{units} units change. Set `wave` under `rollout`, such as \"1%\", or use the strategy waves.");
        Err(fault.hint(hint))
    }

    fn with_removals(&self, mut waves: Vec<Wave>, removed: Vec<Vec<UnitNo>>) -> Vec<Wave> {
        waves.extend(removed.into_iter().map(|units| self.plain(units)));
        waves
    }

    /// The new set without traffic, the switch in one or more steps, the old set removed.
    fn blue_green(&self, sequence: Sequence) -> Result<Vec<Wave>> {
        let placed: Vec<UnitNo> = sequence.placed.into_iter().flatten().collect();
        let quiet = Exposure::Share { basis_points: 0 };
        let mut waves = vec![Wave { name: Some("new set".to_owned()), exposure: quiet, ..Wave::of(placed) }];
        for step in self.spec.steps.iter().filter(|_| self.direction == Direction::Deploy) {
            let StepSize::Share(share) = step.size else {
                let message = "`rollout.steps` has an amount of units, and blue-green moves only traffic.";
                return Err(Fault::new(Code::ManifestInvalid, message)
                    .hint("Write shares, such as \"5%\".")
                    .detail("key", "steps"));
            };
            waves.push(Wave {
                name: Some(format!("switch {share}")),
                units: Vec::new(),
                exposure: Exposure::Share { basis_points: share.basis_points() },
                bake: step.bake.unwrap_or_else(|| self.bake()),
                judged: self.judged && share < Share::ALL,
            });
        }
        let all = Exposure::Share { basis_points: Share::ALL.basis_points() };
        waves.push(Wave { name: Some("switch".to_owned()), exposure: all, ..self.plain(Vec::new()) });
        // The old set must get no traffic back while it goes.
        let old = |units| Wave { name: Some("old set".to_owned()), exposure: all, ..Wave::of(units) };
        waves.extend(sequence.removed.into_iter().map(old));
        Ok(waves)
    }
}

/// A step without a share, where a canary gets nothing else.
fn no_share() -> Fault {
    let message =
        "`rollout.steps` has an amount of units, and where a target splits its traffic a canary gets only its share.";
    Fault::new(Code::ManifestInvalid, message).hint("Write shares, such as \"5%\".").detail("key", "steps")
}

/// Takes units from the beginning.
struct Cursor<'a> {
    parts: &'a [Vec<UnitNo>],
    taken: u32,
    /// So many may be taken before the rest.
    most: u32,
}

impl<'a> Cursor<'a> {
    fn new(sequence: &'a Sequence, most: u32) -> Self {
        Self { parts: &sequence.placed, taken: 0, most }
    }

    /// The units until so many are taken in all, in one piece or in two where a part ends; one empty piece when there
    /// is none to take.
    fn up_to(&mut self, wanted: u32) -> Vec<Vec<UnitNo>> {
        let (mut from, until) = (self.taken, wanted.min(self.most).max(self.taken));
        let (mut pieces, mut start) = (Vec::new(), 0_u32);
        for part in self.parts {
            let end = start + u32::try_from(part.len()).unwrap_or(u32::MAX);
            let high = until.min(end);
            if from < high {
                pieces.push(part[(from - start) as usize..(high - start) as usize].to_vec());
                from = high;
            }
            start = end;
        }
        self.taken = from;
        if pieces.is_empty() {
            pieces.push(Vec::new());
        }
        pieces
    }

    fn rest(&self) -> Vec<UnitNo> {
        self.parts.iter().flatten().copied().skip(self.taken as usize).collect()
    }
}

/// The number of units that an amount of the manifest means; one when absent; refused when none could ever change.
pub(super) fn enough(key: &str, amount: Option<Amount>, units: u32, changes: u32) -> Result<u32> {
    let amount = amount.unwrap_or(Amount::Count(1));
    match amount.of(units) {
        0 => Err(Fault::new(
            Code::ManifestInvalid,
            format!("`rollout.{key}` is {amount}, so no unit may change, but {changes} of {units} units have to."),
        )
        .hint(format!("Set `{key}` to at least 1, or remove it."))
        .detail("key", key.split('[').next().unwrap_or(key))),
        count => Ok(count),
    }
}
