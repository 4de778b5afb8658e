//! Where a configuration is for: environment, target, host and labels, as far as they are known, and which layers
//! apply there. It reads no files.

use std::collections::BTreeMap;

use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::{EnvSpec, LayerCondition, LayerRef, Project, TargetsSpec, fits};
use vice_core::template::{Vars, names, render};
use vice_core::{Code, Fault, Result};

/// The kind of a target that runs on this machine.
const LOCAL: &str = vice_core::manifest::LOCAL;

/// Where a configuration is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) env: EnvName,
    /// None when the environment has several and none was named.
    pub(crate) target: Option<String>,
    /// None when the environment does not run on this machine and none was named.
    pub(crate) host: Option<String>,
    /// None when units have labels and none were named.
    pub(crate) labels: Option<BTreeMap<String, String>>,
}

/// What the user names of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) target: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether these are all labels that there are.
    pub(crate) whole: bool,
}

/// A layer that does not apply at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) layer: String,
    pub(crate) why: String,
}

/// Whether a layer applies, and under which name.
pub(crate) enum Verdict {
    Applies(String),
    Skipped(Skipped),
}

impl Site {
    /// The site of an environment, with what was named. Where an environment has one target, it needs no name; where
    /// all of it runs on this machine, neither does the host.
    pub(crate) fn new(project: &Project, env: &EnvName, process: &ProcessEnv, named: Named) -> Result<Self> {
        let spec = project.env(env)?;
        let target = match named.target {
            Some(target) => Some(known_target(project, env, spec, target)?),
            None => only_target(spec),
        };
        let here = Some(process.host.clone()).filter(|host| !host.is_empty() && all_local(spec));
        let labels = (named.whole || !named.labels.is_empty() || spec.topology.is_none()).then_some(named.labels);
        Ok(Self { env: env.clone(), target, host: named.host.or(here), labels })
    }

    /// Whether a layer applies here.
    pub(crate) fn judge(&self, project: &Project, layer: &LayerRef) -> Result<Verdict> {
        let written = layer.written();
        if let Some(why) = layer.when().map(|when| self.unmet(project, written, when)).transpose()?.flatten() {
            return Ok(Verdict::Skipped(Skipped { layer: written.to_owned(), why }));
        }
        let known = [
            ("env", Some(self.env.as_str())),
            ("project", Some(project.name().as_str())),
            ("target", self.target.as_deref()),
            ("host", self.host.as_deref()),
        ];
        for name in names(written)? {
            if known.iter().any(|(other, value)| *other == name && value.is_none()) {
                return Err(unknown_fact(written, &name));
            }
        }
        let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        Ok(Verdict::Applies(render(written, &known.collect::<Vars>())?))
    }

    /// The first condition that is not met.
    fn unmet(&self, project: &Project, layer: &str, when: &LayerCondition) -> Result<Option<String>> {
        let facts = [
            ("env", &when.env, Some(self.env.as_str())),
            ("project", &when.project, Some(project.name().as_str())),
            ("target", &when.target, self.target.as_deref()),
            ("host", &when.host, self.host.as_deref()),
        ];
        // What is known may settle it, so that nobody is asked for a fact that makes no difference.
        for (name, wanted, has) in &facts {
            if let (Some(wanted), Some(has)) = (wanted, has)
                && !wanted.0.iter().any(|pattern| fits(pattern, has))
            {
                return Ok(Some(format!("{name} is {has} and not {}", wanted.0.join(" or "))));
            }
        }
        if let Some((name, ..)) = facts.iter().find(|(_, wanted, has)| wanted.is_some() && has.is_none()) {
            return Err(unknown_fact(layer, name));
        }
        match &self.labels {
            _ if when.label.is_empty() => Ok(None),
            None => Err(unknown_fact(layer, "label")),
            Some(labels) => Ok(when.label.iter().find_map(|(label, wanted)| {
                let has = labels.get(label).map(String::as_str);
                if has.is_some_and(|has| wanted.values().any(|pattern| fits(pattern, has))) {
                    return None;
                }
                let all: Vec<&str> = wanted.values().collect();
                Some(match has {
                    Some(has) => format!("label {label} is {has} and not {}", all.join(" or ")),
                    None => format!("label {label} is not set"),
                })
            })),
        }
    }
}

fn only_target(spec: &EnvSpec) -> Option<String> {
    match &spec.target {
        None => Some(LOCAL.to_owned()),
        Some(TargetsSpec::One(one)) => Some(one.kind.clone()),
        Some(TargetsSpec::Several(several)) if several.len() == 1 => several.keys().next().cloned(),
        Some(TargetsSpec::Several(_)) => None,
    }
}

fn all_local(spec: &EnvSpec) -> bool {
    spec.target.as_ref().is_none_or(|targets| targets.kinds().all(|(_, kind)| kind == LOCAL))
}

fn known_target(project: &Project, env: &EnvName, spec: &EnvSpec, named: String) -> Result<String> {
    let known: Vec<String> = match &spec.target {
        None => vec![LOCAL.to_owned()],
        Some(TargetsSpec::One(one)) => vec![one.kind.clone()],
        Some(TargetsSpec::Several(several)) => several.keys().cloned().collect(),
    };
    if known.contains(&named) {
        return Ok(named);
    }
    let message = format!("The environment {env} of {} has no target {named:?}.", project.name());
    Err(Fault::new(Code::UnknownName, message).hint(format!("It has: {}.", known.join(", "))))
}

fn unknown_fact(layer: &str, fact: &str) -> Fault {
    let (what, flag) = match fact {
        "target" => ("the target, and the environment has several", "--target NAME"),
        "host" => ("the host, and the environment does not run on this machine alone", "--host NAME"),
        _ => ("labels of a unit, and which unit is meant is not known", "--label NAME=VALUE"),
    };
    Fault::new(Code::ConfigInvalid, format!("The layer {layer} depends on {what}."))
        .hint(format!("Name it to look at one configuration: {flag}."))
        .hint("A rollout gives each unit its own.")
        .detail("layer", layer)
        .detail("fact", fact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(env: &str) -> Project {
        let text = format!("name = \"shop\"\nartifact = \"x\"\ncommand = [\"./x\"]\n{env}");
        Project::parse("/p".into(), "vice.toml".into(), text).unwrap()
    }

    fn process() -> ProcessEnv {
        ProcessEnv { host: "box1".into(), ..ProcessEnv::default() }
    }

    fn judged(project: &Project, named: Named, layer: &str) -> Result<String, String> {
        #[derive(serde::Deserialize)]
        struct One {
            layer: LayerRef,
        }
        let layer: One = toml::from_str(&format!("layer = {layer}")).unwrap();
        let site = Site::new(project, &"prod".parse().unwrap(), &process(), named).unwrap();
        match site.judge(project, &layer.layer) {
            Ok(Verdict::Applies(name)) => Ok(name),
            Ok(Verdict::Skipped(skipped)) => Err(skipped.why),
            Err(fault) => Err(format!("{fault} {}", fault.hints().join(" "))),
        }
    }

    const SEVERAL: &str = "[env.prod]\ntarget.eu = { kind = \"local\" }\ntarget.us = { kind = \"local\" }\n";

    #[test]
    fn one_local_target_needs_no_names() {
        let project = project("[env.prod]\n");
        let plain = |layer: &str| judged(&project, Named::default(), layer);
        assert_eq!(plain("'c/{{env}}-{{project}}-{{target}}-{{host}}.toml'").unwrap(), "c/prod-shop-local-box1.toml");
        assert_eq!(plain("{ from = 'a', when = { host = ['x', 'box*'], env = 'prod' } }").unwrap(), "a");
        assert_eq!(
            plain("{ from = 'a', when = { env = ['dev', 'int'] } }").unwrap_err(),
            "env is prod and not dev or int"
        );
        assert_eq!(plain("{ from = 'a', when = { label.region = 'eu' } }").unwrap_err(), "label region is not set");
        let named = Named { labels: [("region".into(), "eu1".into())].into(), ..Named::default() };
        assert_eq!(judged(&project, named, "{ from = 'a', when = { label.region = ['us', 'eu*'] } }").unwrap(), "a");
        assert!(plain("'c/{{hots}}.toml'").unwrap_err().contains("Did you mean {{host}}?"));
    }

    #[test]
    fn what_differs_among_units_has_to_be_named() {
        let project = project(SEVERAL);
        for layer in ["'c/{{target}}.toml'", "{ from = 'a', when = { target = 'eu' } }"] {
            let said = judged(&project, Named::default(), layer).unwrap_err();
            assert!(said.contains("depends on the target") && said.contains("--target"), "{said}");
            let eu = Named { target: Some("eu".into()), ..Named::default() };
            judged(&project, eu, layer).unwrap();
        }
        let settled = judged(&project, Named::default(), "{ from = 'a', when = { target = 'eu', env = 'dev' } }");
        assert_eq!(settled.unwrap_err(), "env is prod and not dev");
        let wrong = Named { target: Some("asia".into()), ..Named::default() };
        let fault = Site::new(&project, &"prod".parse().unwrap(), &process(), wrong).unwrap_err();
        assert_eq!(fault.hints(), ["It has: eu, us."]);
    }

    #[test]
    fn labels_of_a_fleet_have_to_be_named() {
        let project = project("[env.prod]\ntopology.fleet = \"region[2] > server[2]\"\n");
        let said = judged(&project, Named::default(), "{ from = 'a', when = { label.region = 'eu' } }").unwrap_err();
        assert!(said.contains("--label"), "{said}");
    }
}
