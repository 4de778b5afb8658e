//! Scenarios as the journeys of a load: which, how often in relation to each other, and what they are given.

use std::sync::Arc;

use url::Url;
use vice_core::app::App;
use vice_core::{Code, Fault, Result};

use super::load::LoadArgs;
use super::load_checks::is_project;
use super::run::{Asked, ChooseArgs, player, prepare};
use crate::http::parse_url;
use crate::load::Feed;
use crate::play::journey::ScenarioJourneys;
use crate::scenario::Scenario;

/// The largest weight; what differs by more is hardly meant.
const WEIGHT_MAX: f64 = 1e6;

/// The journeys of the scenarios that were named, and the address that they are played against.
///
/// # Errors
/// As [`prepare`]; `Usage` for weights that are none, and when there is nothing to play or nowhere.
pub(super) async fn feed(app: &App, args: &LoadArgs) -> Result<(Url, Feed)> {
    let given = args.scenario.iter().map(|text| weighted(text)).collect::<Result<Vec<_>>>()?;
    let project = is_project(&args.url);
    let choose = ChooseArgs {
        names: given.iter().map(|(name, _)| name.clone()).collect(),
        project: project.then(|| args.url.clone()),
        ..ChooseArgs::default()
    };
    let url = (!project).then_some(args.url.as_str());
    let asked = Asked { choose: &choose, env: args.env.as_ref(), url, var: &args.var };
    let (scenarios, scene) = prepare(app, asked).await?;
    let scenarios = weights(scenarios, &given);
    let here = |scenario: &Scenario| {
        scene.env.as_ref().is_none_or(|env| scenario.only.is_empty() || scenario.only.contains(env))
    };
    if let Some((scenario, _)) = scenarios.iter().find(|(scenario, _)| !here(scenario)) {
        return Err(Fault::new(Code::Usage, format!("The scenario {:?} is not for this environment.", scenario.name))
            .hint("Its key `only` names those that it is for."));
    }
    let Some(text) = scene.values.get("env.url") else {
        return Err(Fault::new(Code::Usage, "It is not known where the scenarios are to be played.")
            .hint("Give a URL instead of the project, or deploy the project first."));
    };
    let url = parse_url(text, false).map_err(|why| Fault::new(Code::Usage, format!("The address {why}.")))?;
    let player = player(app, &scene, 1);
    let (journeys, kinds) = ScenarioJourneys::new(scenarios, scene.values.clone(), &player, args.seed);
    Ok((url, Feed::Journeys { journeys: Arc::new(journeys), kinds: kinds.into() }))
}

/// `NAME` or `NAME=WEIGHT`.
fn weighted(text: &str) -> Result<(String, f64)> {
    let Some((name, weight)) = text.rsplit_once('=') else { return Ok((text.to_owned(), 1.0)) };
    let weight = weight.parse::<f64>().ok().filter(|weight| *weight > 0.0 && *weight <= WEIGHT_MAX);
    match weight {
        Some(weight) if !name.is_empty() => Ok((name.to_owned(), weight)),
        _ => Err(Fault::new(Code::Usage, format!("{text:?} is not a scenario with a weight."))
            .hint("Write for example --scenario wrath/buy.toml=3 --scenario wrath/look.toml=1.")),
    }
}

/// Each scenario with the weight of the name or file that chose it.
fn weights(scenarios: Vec<Scenario>, given: &[(String, f64)]) -> Vec<(Scenario, f64)> {
    let of = |scenario: &Scenario| {
        let chose = |name: &str| name == scenario.name || name == scenario.spot.source.file;
        given.iter().find(|(name, _)| chose(name)).map_or(1.0, |(_, weight)| *weight)
    };
    scenarios.into_iter().map(|scenario| (of(&scenario), scenario)).map(|(weight, it)| (it, weight)).collect()
}
