//! `[env.NAME.model]`: what a person knows or assumes about the world that a rollout meets, for the simulator. It owns
//! the words and their checks; what is left out is assumed by the simulator, which says so. It must not draw or compute.

mod values;

pub use values::{Chance, Hazard, Rate, Spread};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The world that a rollout meets, as far as somebody knows or assumes it. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// How long a unit takes to get rid of its traffic: `"20s"`, `"20s ~ 5s"` (median ~ spread), `"10s..30s"`, `"exp 3s"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Spread>,
    /// How long the new release takes to be put on a unit and started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Spread>,
    /// How long a unit takes to be found healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Spread>,
    /// How long bringing a unit back takes; as the way out when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Spread>,
    /// The chance that a try on one unit fails although the release is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<Chance>,
    /// The chance that a try on one unit gets stuck until a person has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Chance>,
    /// How long that person takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstick: Option<Spread>,
    /// How long one run of the checks takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Spread>,
    /// The chance that the checks fail although the release is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_fails: Option<Chance>,
    /// How long a task takes that is not named under `task`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Spread>,
    /// How long single tasks take, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub task: IndexMap<String, Spread>,
    /// The chance that a task fails although the release is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_fails: Option<Chance>,
    /// How long somebody takes to answer when the rollout asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Spread>,
    /// What comes between the wish to roll out and its begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSpec>,
    /// From a bug's first sign until the rollout is turned back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub react: Option<Spread>,
    /// The traffic of the whole environment, such as `"6000/min"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Rate>,
    /// The share of requests that fail under a good release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<Chance>,
    /// How far the error share swings over a day around its mean, such as `"80%"`; both releases swing together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daily: Option<Chance>,
    /// What time and harm cost, in a unit of your choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostSpec>,
    /// The bugs that the new release may bring, by name.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub bug: IndexMap<String, BugSpec>,
    /// What differs for units of a class of environment, by class.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub class: IndexMap<String, PlaceSpec>,
    /// What differs at a place of the topology, by its path, such as `"eu/dc1"` or `"*/dc1"`. It holds for everything
    /// below; of several that match, a later one wins, and a place wins over a class.
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub at: IndexMap<String, PlaceSpec>,
}

/// What a rollout waits for before it begins; one after the other.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GateSpec {
    /// How long before it begins it has to be announced, such as `"2d"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Spread>,
    /// How long it takes until somebody has agreed to it, such as `"2h ~ 3h"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Spread>,
}

/// What differs at a place or for a class.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceSpec {
    /// As `drain` of the whole environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Spread>,
    /// As `install` of the whole environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Spread>,
    /// As `check` of the whole environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Spread>,
    /// As `undo` of the whole environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Spread>,
    /// As `fails` of the whole environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<Chance>,
    /// As `stuck` of the whole environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Chance>,
    /// As `unstick` of the whole environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstick: Option<Spread>,
}

/// A bug that the new release may bring.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BugSpec {
    /// The chance that the release has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<Chance>,
    /// How often it shows itself, for each server that it can hit: `"0.01/h"`, or `"0.01/h ~ 0.005/h"` (mean ~ standard
    /// deviation of a gamma distribution) when nobody knows how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hazard: Option<Hazard>,
    /// How long a server must have run the release before the bug can show itself there: the scale of a Weibull
    /// distribution with the shape of `appears_shape`; or any other spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appears: Option<Spread>,
    /// The shape of the Weibull distribution of `appears`; without it, `appears` is what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appears_shape: Option<f64>,
    /// It hits only units of this class of environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// The share of the units that it can hit, chosen by chance; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Chance>,
    /// How much of the hazard's uncertainty the regions (first level of the topology) share: `"100%"` is one fate for
    /// all, `"0%"` one for each region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Chance>,
    /// The harm that it does, for each server-hour that it could hit; in the unit of `cost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<f64>,
    /// How many times as many requests fail on a server that it hits; what the judge can see. 1 is nothing to see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<f64>,
    /// The chance that the checks see it, each time that they run after a unit has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Chance>,
}

/// What time and harm cost, in a unit of your choice.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CostSpec {
    /// One hour of rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hour: Option<f64>,
    /// Bringing back one unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<f64>,
    /// A rollback of a release that was good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub false_rollback: Option<f64>,
}

impl ModelSpec {
    /// What parsing alone can't check: numbers that must be finite and not negative.
    ///
    /// # Errors
    /// The path below `model` and a sentence that says what is wrong with it.
    pub fn check(&self) -> Result<(), (Vec<String>, String)> {
        for (name, bug) in &self.bug {
            let numbers = [("severity", bug.severity), ("errors", bug.errors), ("appears_shape", bug.appears_shape)];
            for (key, value) in numbers {
                plain_number(value).map_err(|why| (vec!["bug".to_owned(), name.clone(), key.to_owned()], why))?;
            }
            if bug.appears_shape.is_some_and(|shape| !(0.1..=20.0).contains(&shape)) {
                let path = vec!["bug".to_owned(), name.clone(), "appears_shape".to_owned()];
                return Err((path, "A Weibull shape lies between 0.1 and 20.".to_owned()));
            }
        }
        let Some(cost) = &self.cost else { return Ok(()) };
        let numbers = [("hour", cost.hour), ("rollback", cost.rollback), ("false_rollback", cost.false_rollback)];
        for (key, value) in numbers {
            plain_number(value).map_err(|why| (vec!["cost".to_owned(), key.to_owned()], why))?;
        }
        Ok(())
    }
}

fn plain_number(value: Option<f64>) -> Result<(), String> {
    match value {
        Some(value) if !value.is_finite() => Err(format!("{value} is not a number to count with.")),
        Some(value) if value < 0.0 => Err(format!("{value} is negative; write 0 or more.")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_reads_as_it_is_written() {
        let text = r#"
            drain = "20s ~ 5s"
            install = "10s..30s"
            check = "exp 3s"
            undo = ["5s", "6s"]
            fails = "1%"
            requests = "6000/min"
            task.migrate = "2m"
            [bug.leak]
            probability = 0.02
            hazard = "1/d ~ 0.5/d"
            class = "gpu"
            [at."eu/dc1"]
            install = "2m"
        "#;
        let model: ModelSpec = toml::from_str(text).unwrap();
        assert_eq!(model.drain, Some("20s ~ 5s".parse().unwrap()));
        assert_eq!(model.bug["leak"].probability, Some(Chance(0.02)));
        assert!(model.check().is_ok());
        let again: ModelSpec = toml::from_str(&toml::to_string(&model).unwrap()).unwrap();
        assert_eq!(again, model);
    }

    #[test]
    fn what_can_not_be_is_refused_with_its_key() {
        for (bad, word) in [
            ("drain = \"-5s\"", "duration"),
            ("drain = \"30s..10s\"", "before"),
            ("drain = \"0s ~ 5s\"", "median"),
            ("drain = []", "empty"),
            ("fails = 1.5", "between"),
            ("fails = nan", "between"),
            ("fails = \"120%\"", "between"),
            ("requests = \"-3/min\"", "rate"),
            ("requests = inf", "rate"),
            ("drains = \"5s\"", "drain"),
            ("[bug.x]\nhazard = \"often\"", "rate"),
        ] {
            let error = toml::from_str::<ModelSpec>(bad).unwrap_err().to_string();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn numbers_that_are_none_are_refused_with_their_path() {
        let mut model = ModelSpec::default();
        model.bug.insert("x".into(), BugSpec { severity: Some(f64::NAN), ..BugSpec::default() });
        assert_eq!(model.check().unwrap_err().0, ["bug", "x", "severity"]);
        model.bug.clear();
        model.cost = Some(CostSpec { hour: Some(-1.0), ..CostSpec::default() });
        assert_eq!(model.check().unwrap_err().0, ["cost", "hour"]);
    }
}
