//! The model as it stands in a file: kinds of requests, and personas who go from one to the next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vice_core::suggest::nearest;
use vice_core::{Code, Context, Fault, Result};

/// What stands for the end of a session among the kinds that may follow.
pub(crate) const END: &str = "end";

/// The largest file of a model, in bytes.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most kinds of requests; beyond it, paths were not told apart from ids.
pub(super) const KINDS_MAX: usize = 2000;

/// A kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    /// The method.
    #[serde(default = "get")]
    pub(crate) method: String,
    /// Paths with queries, of which one is drawn each time.
    pub(crate) targets: Vec<String>,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

fn get() -> String {
    "GET".to_owned()
}

/// How long somebody thinks after an answer, in seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Think {
    /// On average; exponentially distributed.
    Mean(f64),
    /// The quantiles at even distances, from the shortest to the longest.
    Quantiles(Vec<f64>),
}

/// Somebody who uses the system.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Persona {
    /// How often sessions are theirs, in relation to the other personas.
    #[serde(default = "one")]
    pub(crate) weight: f64,
    /// What sessions begin with, with weights.
    pub(crate) start: BTreeMap<String, f64>,
    /// What follows what, with weights. What has no row ends the session.
    #[serde(default)]
    pub(crate) next: BTreeMap<String, BTreeMap<String, f64>>,
    /// How long they think after what; not at all where nothing is said.
    #[serde(default)]
    pub(crate) think: BTreeMap<String, Think>,
}

const fn one() -> f64 {
    1.0
}

/// A model of traffic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Kinds of requests by name.
    pub(crate) kind: BTreeMap<String, Kind>,
    /// Personas by name.
    pub(crate) persona: BTreeMap<String, Persona>,
}

impl Model {
    /// Reads a model and looks whether it makes sense.
    ///
    /// # Errors
    /// `Usage` that names the place.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if text.len() > FILE_BYTES_MAX {
            return Err(bad("The model is larger than 64 MiB.".to_owned()));
        }
        let model: Self = toml::from_str(text).context(Code::Usage, || "The model can't be read.".to_owned())?;
        model.check()?;
        Ok(model)
    }

    /// The model as text.
    ///
    /// # Errors
    /// `Internal` when it does not serialise.
    pub(crate) fn text(&self) -> Result<String> {
        toml::to_string(self).context(Code::Internal, || "The model can't be written.".to_owned())
    }

    fn check(&self) -> Result<()> {
        if self.kind.is_empty() || self.persona.is_empty() {
            return Err(bad("A model needs a kind of request and a persona.".to_owned()));
        }
        if self.kind.len() > KINDS_MAX {
            return Err(bad(format!("A model may have {KINDS_MAX} kinds of requests.")));
        }
        if self.kind.contains_key(END) {
            return Err(bad(format!("A kind of request can't be named {END:?}: that is the end of a session.")));
        }
        for (name, kind) in &self.kind {
            kind.check(name)?;
        }
        for (name, persona) in &self.persona {
            self.check_persona(name, persona)?;
        }
        let weight: f64 = self.persona.values().map(|persona| persona.weight).sum();
        if weight > 0.0 { Ok(()) } else { Err(bad("No persona has any weight.".to_owned())) }
    }

    fn check_persona(&self, name: &str, persona: &Persona) -> Result<()> {
        let weight = persona.weight;
        if !weight.is_finite() || weight < 0.0 {
            return Err(bad(format!("The persona {name:?} has the weight {weight}.")));
        }
        self.check_row(name, "start", &persona.start, false)?;
        for (from, row) in &persona.next {
            self.known(name, from)?;
            self.check_row(name, from, row, true)?;
        }
        for (after, think) in &persona.think {
            self.known(name, after)?;
            let times = match think {
                Think::Mean(mean) => std::slice::from_ref(mean),
                Think::Quantiles(all) => all.as_slice(),
            };
            let proper = times.iter().all(|time| time.is_finite() && (0.0..=86_400.0).contains(time));
            if !proper || times.is_empty() || !times.is_sorted() {
                return Err(bad(format!(
                    "The persona {name:?} thinks after {after:?} for what is no time, or no rising list of times."
                )));
            }
        }
        Ok(())
    }

    fn check_row(&self, persona: &str, from: &str, row: &BTreeMap<String, f64>, may_end: bool) -> Result<()> {
        for (to, weight) in row {
            if !(may_end && to == END) {
                self.known(persona, to)?;
            }
            if !weight.is_finite() || *weight < 0.0 {
                return Err(bad(format!("The persona {persona:?} goes from {from:?} to {to:?} with {weight}.")));
            }
        }
        if row.values().sum::<f64>() > 0.0 {
            return Ok(());
        }
        Err(bad(format!("The persona {persona:?} can't go anywhere from {from:?}."))
            .hint("Name `end` to end the session."))
    }

    fn known(&self, persona: &str, kind: &str) -> Result<()> {
        if self.kind.contains_key(kind) {
            return Ok(());
        }
        let fault = bad(format!("The persona {persona:?} names the kind {kind:?}, which does not exist."));
        Err(match nearest(kind, self.kind.keys().map(String::as_str)) {
            Some(near) => fault.hint(format!("Did you mean {near:?}?")),
            None => fault,
        })
    }
}

impl Kind {
    fn check(&self, name: &str) -> Result<()> {
        if http::Method::from_bytes(self.method.as_bytes()).is_err() {
            return Err(bad(format!("The kind {name:?} has the method {:?}.", self.method)));
        }
        if self.targets.is_empty() {
            return Err(bad(format!("The kind {name:?} has no target.")));
        }
        match self.targets.iter().find(|target| !target.starts_with('/') || target.parse::<http::Uri>().is_err()) {
            Some(target) => Err(bad(format!("The kind {name:?} has the target {target:?}, which is no path."))),
            None => Ok(()),
        }
    }
}

fn bad(why: String) -> Fault {
    Fault::new(Code::Usage, why).hint("docs/load.md has an example of a model.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = r#"
        [kind.home]
        targets = ["/"]
        [kind.item]
        targets = ["/items/1", "/items/2"]
        [persona.customer]
        start = { home = 1 }
        next.home = { item = 3, end = 1 }
        next.item = { home = 1, end = 1 }
        think = { home = 0.5, item = [0.1, 0.2, 1.0] }
        [persona.robot]
        weight = 0.1
        start = { item = 1 }
    "#;

    #[test]
    fn a_model_comes_back_as_it_was() {
        let model = Model::parse(SHOP).unwrap();
        assert_eq!(model.kind["home"].method, "GET");
        assert_eq!(Model::parse(&model.text().unwrap()).unwrap(), model);
    }

    #[test]
    fn nonsense_is_named() {
        for (from, to, why) in [
            ("start = { home = 1 }", "start = { hone = 1 }", "hone"),
            ("end = 1 }", "end = -1 }", "-1"),
            ("[0.1, 0.2, 1.0]", "[0.3, 0.2]", "rising"),
            ("targets = [\"/\"]", "targets = [\"home\"]", "no path"),
            ("targets = [\"/\"]", "targets = []", "no target"),
            ("weight = 0.1", "weight = nan", "weight"),
            ("[kind.home]", "[kind.end]\ntargets = [\"/\"]\n[kind.home]", "end of a session"),
            ("next.item = { home = 1, end = 1 }", "next.item = { home = 0 }", "anywhere"),
        ] {
            let text = SHOP.replacen(from, to, 1);
            assert_ne!(text, SHOP, "{from}");
            let fault = Model::parse(&text).unwrap_err();
            assert!(fault.to_string().contains(why), "{fault:?}");
        }
        assert!(Model::parse("nonsense").is_err() && Model::parse("").is_err());
    }
}
