//! Runs against a world that does as it is told.

mod crash;
mod flow;

use serde_json::Value;
use vice_core::Result;

use super::fixture::World;
use super::{Doubt, PARALLEL, resume, start};
use crate::journal::payload::RunId;
use crate::journal::view::{RunView, StepStatus};

async fn begin(world: &World) -> Result<RunView> {
    start(&world.app, &world.project(), "g", None, PARALLEL).await
}

fn first() -> RunId {
    "shop.g.1".parse().unwrap()
}

async fn go_on(world: &World) -> Result<RunView> {
    resume(&world.app, &first(), &Doubt::default()).await
}

fn statuses(view: &RunView) -> Vec<(&str, StepStatus)> {
    view.steps.iter().map(|(name, step)| (name.as_str(), step.status)).collect()
}

fn output<'a>(view: &'a RunView, step: &str, name: &str) -> &'a Value {
    &view.steps[step].outputs[name]
}
