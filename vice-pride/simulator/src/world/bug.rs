//! Bugs: how likely they are, how often they show themselves, and on which units.

use vice_core::manifest::{BugSpec, ModelSpec, Spread};
use vice_core::payload::simulation::AssumptionSource;
use vice_core::{Code, Fault, Result};

use super::Cell;
use super::assumed::{Ledger, source};
use crate::draw::{Luck, Purpose};
use crate::spread::Sampler;

/// A bug that the release may have, ready for drawing and for integrating.
#[derive(Debug, Clone)]
pub struct Bug {
    /// Its name.
    pub name: String,
    /// The chance that the release has it.
    pub probability: f64,
    /// The mean hazard for each server-hour on a unit that it can hit.
    pub hazard: f64,
    /// The hazard's variance over the square of its mean; zero when it is certain.
    pub uncertainty: f64,
    /// The part of that which the regions share.
    pub correlation: f64,
    /// How long a unit must have run it first.
    pub(crate) appears: Option<Sampler>,
    /// For each cell whether it can hit units there.
    pub(crate) hits: Vec<bool>,
    /// The share of those units that it can hit.
    pub share: f64,
    /// The harm for each server-hour.
    pub severity: f64,
    /// How many times as many requests fail.
    pub errors: f64,
    /// The chance that a run of the checks sees it.
    pub checks: f64,
}

/// The bugs of a model; one that is assumed where it has none.
pub(super) fn bugs(spec: &ModelSpec, cells: &[Cell], ledger: &mut Ledger<'_>) -> Result<Vec<Bug>> {
    if spec.bug.is_empty() {
        return Ok(vec![bug("any", &BugSpec::default(), cells, ledger)?]);
    }
    spec.bug.iter().map(|(name, spec)| bug(name, spec, cells, ledger)).collect()
}

fn bug(name: &str, spec: &BugSpec, cells: &[Cell], ledger: &mut Ledger<'_>) -> Result<Bug> {
    let key = |field: &str| format!("model.bug.{name}.{field}");
    let probability = match (spec.probability, ledger.past.bad_release) {
        (None, Some(seen)) => {
            ledger.note(&key("probability"), seen.to_string(), AssumptionSource::History);
            seen.0
        }
        (said, _) => ledger.chance(&key("probability"), said, 0.05),
    };
    // Two signs a day on each server that has it, give or take as much: a bug that a team would call visible.
    let hazard = spec.hazard.or_else(|| "2/d ~ 2/d".parse().ok()).unwrap_or_default();
    ledger.note(&key("hazard"), hazard.to_string(), source(spec.hazard.is_some()));
    let mean = hazard.mean.per_hour;
    let relative = if mean > 0.0 { hazard.deviation.per_hour / mean } else { 0.0 };
    let appears = spec.appears.as_ref().map(|spread| {
        let shown =
            spec.appears_shape.map_or_else(|| spread.to_string(), |shape| format!("{spread}, Weibull shape {shape}"));
        ledger.note(&key("appears"), shown, AssumptionSource::Manifest);
        match (spec.appears_shape, spread) {
            (Some(shape), Spread::Fixed(scale)) => Sampler::weibull(*scale, shape),
            _ => Sampler::new(spread),
        }
    });
    if let Some(class) = &spec.class {
        ledger.note(&key("class"), class.clone(), AssumptionSource::Manifest);
    }
    Ok(Bug {
        name: name.to_owned(),
        probability,
        hazard: mean,
        // Above 20 the gamma distribution is a spike at zero and rare giants; nobody means that.
        uncertainty: (relative * relative).min(20.0),
        correlation: ledger.chance(&key("correlation"), spec.correlation, 1.0),
        appears: appears.filter(|appears| !appears.is_zero()),
        hits: hits(name, spec.class.as_deref(), cells)?,
        share: ledger.chance(&key("share"), spec.share, 1.0),
        severity: ledger.number(&key("severity"), spec.severity, 1.0),
        errors: ledger.number(&key("errors"), spec.errors, 5.0),
        checks: ledger.chance(&key("checks"), spec.checks, 0.0),
    })
}

fn hits(name: &str, class: Option<&str>, cells: &[Cell]) -> Result<Vec<bool>> {
    let Some(class) = class else { return Ok(vec![true; cells.len()]) };
    let hits: Vec<bool> = cells.iter().map(|cell| cell.class.as_deref() == Some(class)).collect();
    let known: Vec<&str> = cells.iter().filter_map(|cell| cell.class.as_deref()).collect();
    if hits.contains(&true) || cells.iter().all(|cell| cell.units == 0) {
        return Ok(hits);
    }
    let message = format!("The bug {name} hits units of the class {class:?}, which no unit has.");
    let fault = Fault::new(Code::ManifestInvalid, message);
    Err(match vice_core::suggest::nearest(class, known.iter().copied()) {
        Some(near) => fault.hint(format!("Did you mean {near}?")),
        None => fault.hint("Classes are given to units in the topology."),
    })
}

impl Bug {
    /// The hazard in each region in one run: mean times what all regions share times what is a region's own. Both
    /// factors are gamma with mean 1 and the variances `correlation` and `1 - correlation` of the uncertainty.
    pub(crate) fn hazards(&self, luck: Luck, regions: usize) -> Vec<f64> {
        let factor = |variance: f64, entity: u32| {
            if variance <= 0.0 {
                return 1.0;
            }
            variance * luck.stream(Purpose::Frailty, entity, 0).gamma(1.0 / variance)
        };
        let all = factor(self.uncertainty * self.correlation, 0);
        let own = |region: usize| {
            let entity = u32::try_from(region).unwrap_or(u32::MAX).saturating_add(1);
            factor(self.uncertainty * (1.0 - self.correlation), entity)
        };
        (0..regions).map(|region| self.hazard * all * own(region)).collect()
    }

    /// Whether it can hit a unit in this run.
    #[inline]
    pub(crate) fn can_hit(&self, luck: Luck, unit: u32, cell: usize) -> bool {
        self.hits[cell] && (self.share >= 1.0 || luck.unit(Purpose::Hit, unit, 0) < self.share)
    }
}
