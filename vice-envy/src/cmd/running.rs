//! What the units of an environment really run with, beside what the history says: as their target tells it. It compares
//! and puts into words; it asks no unit by itself and changes nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vice_core::id::Scope;
use vice_core::payload::config::ConfigRecorded;
use vice_core::port::target::{CONFIG_FACT, UNREACHABLE, UnitState};
use vice_core::text::{Tone, paint, sanitize};
use vice_core::{Fault, Result};

use super::{Desk, history};

/// How many units are put into words one by one.
const UNITS_SHOWN_MAX: usize = 20;

/// What one unit has in use.
#[derive(Debug, PartialEq, Eq)]
enum Use {
    /// What was recorded.
    Recorded,
    /// Another configuration of the history, with the keys that differ; none when the history does not have it.
    Another { digest: String, changes: Option<Vec<String>> },
    /// Something else than it was given, or it could not be told.
    Said { word: &'static str, how: String },
}

/// What the target says of all units; the reason when it can't be asked.
pub(super) struct Running {
    recorded: Option<String>,
    units: Result<Vec<(String, Use)>>,
}

impl Running {
    /// Asks the target and compares with the configuration that is recorded as deployed.
    pub(super) async fn of(desk: &Desk, scope: &Scope, recorded: Option<&ConfigRecorded>) -> Result<Self> {
        let digest = recorded.map(|recorded| recorded.digest.clone());
        let units = match desk.locator.units(scope).await {
            Ok(units) => Ok(Self::compared(desk, scope, recorded, units).await?),
            Err(fault) => Err(fault),
        };
        Ok(Self { recorded: digest, units })
    }

    async fn compared(
        desk: &Desk,
        scope: &Scope,
        recorded: Option<&ConfigRecorded>,
        units: Vec<UnitState>,
    ) -> Result<Vec<(String, Use)>> {
        let mut earlier: BTreeMap<String, Option<ConfigRecorded>> = BTreeMap::new();
        let mut found = Vec::new();
        for unit in units {
            let other = unit.release.as_ref().and_then(|release| release.config.clone());
            if let Some(digest) = other.filter(|_| !unit.facts.contains_key(UNREACHABLE))
                && recorded.is_none_or(|recorded| recorded.digest != digest)
            {
                if !earlier.contains_key(&digest) {
                    earlier.insert(digest.clone(), history::find(desk, scope, &digest).await?);
                }
                let config = earlier.get(&digest).and_then(Option::as_ref);
                let changes = config.map(|config| history::changes(recorded, config));
                found.push((unit.name, Use::Another { digest, changes }));
            } else {
                let used = used(&unit, recorded.is_some());
                found.push((unit.name, used));
            }
        }
        Ok(found)
    }

    /// The lines below a comparison.
    pub(super) fn text(&self) -> String {
        let units = match &self.units {
            Ok(units) => units,
            Err(fault) => {
                let line = format!(
                    "The target could not be asked what really runs ({}); what is deployed is what the history says.",
                    sanitize(&fault.chain().join(": "))
                );
                return paint(Tone::Warn, line) + "\n";
            }
        };
        let differing: Vec<_> = units.iter().filter(|(_, used)| *used != Use::Recorded).collect();
        let recorded = self.recorded.as_deref().map_or_else(|| "no configuration".to_owned(), history::short);
        let same = units.len() - differing.len();
        let head = format!(
            "What is deployed is {recorded} by the history; {same} of {} units have it in use, says their target.",
            units.len()
        );
        let mut text = paint(if differing.is_empty() { Tone::Good } else { Tone::Warn }, head) + "\n";
        for (name, used) in differing.iter().take(UNITS_SHOWN_MAX) {
            text.push_str(&format!("  {}\n", paint(Tone::Warn, sanitize(&format!("unit {name} {}", used.words())))));
        }
        if differing.len() > UNITS_SHOWN_MAX {
            text.push_str(&format!("  and {} more\n", differing.len() - UNITS_SHOWN_MAX));
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Value {
        let unit = |(name, used): &(String, Use)| {
            let mut value = used.json();
            value["unit"] = name.as_str().into();
            value
        };
        match &self.units {
            Ok(units) => json!({
                "recorded": self.recorded,
                "source": "target",
                "units": units.iter().map(unit).collect::<Vec<_>>(),
            }),
            Err(fault) => json!({ "recorded": self.recorded, "source": "history", "why": why(fault) }),
        }
    }
}

fn why(fault: &Fault) -> String {
    sanitize(&fault.chain().join(": "))
}

/// What a unit that has no other configuration of the history has in use.
fn used(unit: &UnitState, is_recorded: bool) -> Use {
    if let Some(how) = unit.facts.get(UNREACHABLE) {
        return Use::Said { word: "unknown", how: format!("can't be asked: {how}") };
    }
    match &unit.release {
        None => Use::Said { word: "unknown", how: "runs nothing, or its target can't tell what".to_owned() },
        Some(release) if release.config.is_none() && is_recorded => {
            Use::Said { word: "none", how: "was given no configuration".to_owned() }
        }
        Some(_) => match unit.facts.get(CONFIG_FACT) {
            Some(how) => Use::Said { word: "drifted", how: format!("has another in use than it was given: {how}") },
            None => Use::Recorded,
        },
    }
}

impl Use {
    fn words(&self) -> String {
        match self {
            Self::Recorded => "has what was recorded".to_owned(),
            Self::Another { digest, changes: Some(changes) } => {
                format!("has {}: {}", history::short(digest), changes.join(" "))
            }
            Self::Another { digest, changes: None } => {
                format!("has {}, which is not in this history", history::short(digest))
            }
            Self::Said { how, .. } => how.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Recorded => json!({ "state": "recorded" }),
            Self::Another { digest, changes } => {
                json!({ "state": "another", "config": digest, "changes": changes })
            }
            Self::Said { word, how } => json!({ "state": word, "how": how }),
        }
    }
}

#[cfg(test)]
mod tests {
    use vice_core::Code;
    use vice_core::payload::ReleaseRef;
    use vice_core::port::target::UnitHealth;

    use super::*;

    fn unit(config: Option<&str>, fact: Option<(&str, &str)>) -> UnitState {
        let release = ReleaseRef {
            version: "1".into(),
            artifact: None,
            source: String::new(),
            config: config.map(str::to_owned),
            recipe: None,
        };
        UnitState {
            name: "1".into(),
            release: Some(release),
            health: UnitHealth::Healthy,
            since: None,
            restarts: 0,
            url: None,
            facts: fact.map(|(name, what)| (name.to_owned(), what.to_owned())).into_iter().collect(),
        }
    }

    #[test]
    fn what_a_target_says_of_a_unit_counts() {
        assert_eq!(used(&unit(Some("d"), None), true), Use::Recorded);
        assert_eq!(used(&unit(None, None), false), Use::Recorded);
        for (told, word) in [
            (unit(Some("d"), Some((CONFIG_FACT, "its file was changed"))), "drifted"),
            (unit(Some("d"), Some((UNREACHABLE, "no route"))), "unknown"),
            (unit(None, None), "none"),
            (UnitState { release: None, ..unit(None, None) }, "unknown"),
        ] {
            assert_eq!(used(&told, true).json()["state"], word, "{told:?}");
        }
    }

    #[test]
    fn the_source_of_the_answer_is_said() {
        let digest = "hmac-sha256:0123456789abcdef".to_owned();
        let units = vec![
            ("1".to_owned(), Use::Recorded),
            ("2".to_owned(), Use::Another { digest: "hmac-sha256:ff".into(), changes: Some(vec!["~a".into()]) }),
        ];
        let told = Running { recorded: Some(digest.clone()), units: Ok(units) };
        let text = told.text();
        assert!(
            text.contains("0123456789ab by the history; 1 of 2 units") && text.contains("unit 2 has ff: ~a"),
            "{text}"
        );
        assert_eq!(told.json()["units"][1]["state"], "another");
        let silent = Running { recorded: Some(digest), units: Err(Fault::new(Code::Unreachable, "No answer.")) };
        assert!(silent.text().contains("could not be asked") && silent.json()["source"] == "history");
    }
}
