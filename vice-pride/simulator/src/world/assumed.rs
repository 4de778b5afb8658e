//! Defaults, the past, and the book of where each figure comes from.

use vice_core::manifest::{Chance, ModelSpec, Rate, Spread};
use vice_core::payload::simulation::{Assumption, AssumptionSource};

use super::{Base, Cost, assumption};

/// What past rollouts say; better than a default, and weaker than the manifest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// How long units took to change, drain to check, as measured; empty when nothing is known.
    pub changes: Vec<vice_core::Millis>,
    /// The chance that a try fails, by the past of this project and of others.
    pub fails: Option<Chance>,
    /// The chance that a release is bad, by the past of this project and of others.
    pub bad_release: Option<Chance>,
    /// What that rests on, such as `12 rollouts`.
    pub note: String,
}

/// Collects figures with their sources.
pub(crate) struct Ledger<'a> {
    pub(super) past: &'a Past,
    pub(super) entries: Vec<Assumption>,
}

impl<'a> Ledger<'a> {
    pub(crate) const fn new(past: &'a Past) -> Self {
        Self { past, entries: Vec::new() }
    }

    pub(super) fn note(&mut self, key: &str, value: String, source: AssumptionSource) {
        let note = (source == AssumptionSource::History).then(|| self.past.note.clone());
        self.entries.push(assumption(key, value, source, note));
    }

    pub(super) fn spread(&mut self, key: &str, said: Option<&Spread>, default: &str) -> Spread {
        let value = said.cloned().or_else(|| default.parse().ok()).unwrap_or(Spread::Fixed(vice_core::Millis::ZERO));
        self.note(key, value.to_string(), source(said.is_some()));
        value
    }

    pub(super) fn chance(&mut self, key: &str, said: Option<Chance>, default: f64) -> f64 {
        let value = said.unwrap_or(Chance(default));
        self.note(key, value.to_string(), source(said.is_some()));
        value.0
    }

    pub(super) fn number(&mut self, key: &str, said: Option<f64>, default: f64) -> f64 {
        let value = said.unwrap_or(default);
        self.note(key, value.to_string(), source(said.is_some()));
        value
    }

    /// How units change. With a past and no word about durations, the whole change takes what it took.
    pub(crate) fn base(&mut self, spec: &ModelSpec) -> Base {
        let silent = spec.drain.is_none() && spec.install.is_none() && spec.check.is_none();
        let zero = || Spread::Fixed(vice_core::Millis::ZERO);
        let (drain, install, check) = if silent && !self.past.changes.is_empty() {
            let seen = Spread::Listed(self.past.changes.clone());
            self.note("model.install", seen.to_string(), AssumptionSource::History);
            (zero(), seen, zero())
        } else {
            (
                self.spread("model.drain", spec.drain.as_ref(), "10s ~ 5s"),
                self.spread("model.install", spec.install.as_ref(), "30s ~ 15s"),
                self.spread("model.check", spec.check.as_ref(), "5s ~ 3s"),
            )
        };
        if let Some(undo) = &spec.undo {
            self.note("model.undo", undo.to_string(), AssumptionSource::Manifest);
        }
        let fails = match (spec.fails, self.past.fails) {
            (None, Some(seen)) => {
                self.note("model.fails", seen.to_string(), AssumptionSource::History);
                seen
            }
            (said, _) => Chance(self.chance("model.fails", said, 0.001)),
        };
        let stuck = Chance(self.chance("model.stuck", spec.stuck, 0.0));
        let unstick = match &spec.unstick {
            None if stuck.0 == 0.0 => zero(),
            said => self.spread("model.unstick", said.as_ref(), "30m ~ 30m"),
        };
        Base { drain, install, check, undo: spec.undo.clone(), unstick, fails, stuck }
    }

    /// Says which places and classes differ.
    pub(super) fn overrides(&mut self, spec: &ModelSpec) {
        let classes = spec.class.iter().map(|(name, place)| (format!("model.class.{name}"), place));
        let places = spec.at.iter().map(|(name, place)| (format!("model.at.{name}"), place));
        for (key, place) in classes.chain(places) {
            let durations = [
                ("drain", &place.drain),
                ("install", &place.install),
                ("check", &place.check),
                ("undo", &place.undo),
                ("unstick", &place.unstick),
            ];
            let chances = [("fails", place.fails), ("stuck", place.stuck)];
            for (name, value) in
                durations.into_iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
            {
                self.note(&format!("{key}.{name}"), value.to_string(), AssumptionSource::Manifest);
            }
            for (name, value) in chances.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))) {
                self.note(&format!("{key}.{name}"), value.to_string(), AssumptionSource::Manifest);
            }
        }
    }

    /// Requests an hour, error share, daily swing.
    pub(super) fn traffic(&mut self, spec: &ModelSpec) -> (f64, f64, f64) {
        let requests = spec.requests.unwrap_or(Rate { per_hour: 360_000.0 });
        self.note("model.requests", format!("{}/min", requests.per_hour / 60.0), source(spec.requests.is_some()));
        let errors = self.chance("model.errors", spec.errors, 0.001);
        let daily = self.chance("model.daily", spec.daily, 0.0);
        (requests.per_hour, errors, daily)
    }

    pub(super) fn cost(&mut self, spec: &ModelSpec) -> Cost {
        let said = spec.cost.clone().unwrap_or_default();
        Cost {
            hour: self.number("model.cost.hour", said.hour, 1.0),
            rollback: self.number("model.cost.rollback", said.rollback, 0.0),
            false_rollback: self.number("model.cost.false_rollback", said.false_rollback, 0.0),
        }
    }
}

pub(super) const fn source(said: bool) -> AssumptionSource {
    if said { AssumptionSource::Manifest } else { AssumptionSource::Assumed }
}
