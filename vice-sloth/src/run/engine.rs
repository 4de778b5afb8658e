//! The loop of one run: ask the scheduler, write the intent, act, write what came of it. Acts run at once; writing is
//! done by this loop alone. When writing fails, nothing more is done: the run is then as if the process were killed.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::{Map, Value};
use vice_core::app::App;
use vice_core::event::Event;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::command::{CommandSpec, EnvValue, LineSink};
use vice_core::port::config::variable_name;
use vice_core::port::notifier::Severity;
use vice_core::secret::Masker;
use vice_core::text::sanitize;
use vice_core::ui::{Progress, ProgressState};
use vice_core::{Class, Code, Fault, Millis, Result};

use super::attempt::{Act, Happened, backoff, perform, rest};
use crate::graph::reference::{self, Outputs};
use crate::graph::{Graph, Step, When, Work, schema};
use crate::journal::Journal;
use crate::journal::payload::{Ending, RunFinished, RunParked, StepError, StepFinished, StepSkipped, StepStarted};
use crate::journal::view::{RunView, StepStatus};
use crate::schedule::{Decision, Node, Scheduler, State};

/// The most that the outputs of one step may take in the history, in bytes of JSON.
const OUTPUTS_BYTES_MAX: usize = 64 * 1024;

/// The most of an error message that is kept, in characters.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// How often a step was started: ever, and by this process. Retries are counted for each process anew.
#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    ever: u32,
    here: u32,
}

type Underway = FuturesUnordered<BoxFuture<'static, Happened>>;

/// A run that is being worked on.
pub(crate) struct Engine<'a> {
    app: &'a App,
    project: &'a Project,
    graph: Graph,
    journal: Journal<'a>,
    masker: Masker,
    defaults: Map<String, Value>,
    env: Option<EnvName>,
    scheduler: Scheduler,
    outputs: Outputs,
    tries: Vec<Tries>,
    class: Class,
}

impl<'a> Engine<'a> {
    /// A run as its view says.
    pub(crate) fn new(
        app: &'a App,
        project: &'a Project,
        graph: Graph,
        journal: Journal<'a>,
        view: &RunView,
        masker: Masker,
        defaults: Map<String, Value>,
    ) -> Self {
        let node =
            |step: &Step| Node { needs: step.needs.keys().copied().collect(), always: step.when == When::Always };
        let parallel = usize::try_from(view.parallel).unwrap_or(usize::MAX);
        let mut scheduler = Scheduler::new(graph.steps.iter().map(node).collect(), parallel);
        let mut tries = vec![Tries::default(); graph.steps.len()];
        for (index, step) in graph.steps.iter().enumerate() {
            let Some(earlier) = view.steps.get(&step.name) else { continue };
            tries[index].ever = earlier.attempts;
            if earlier.status == StepStatus::Succeeded {
                scheduler.end(index, State::Succeeded);
            }
        }
        let (outputs, env) = (view.outputs(), view.env.clone());
        Self { app, project, graph, journal, masker, defaults, env, scheduler, outputs, tries, class: Class::Done }
    }

    /// Works until the run ends or is parked.
    ///
    /// # Errors
    /// Only what the store says.
    pub(crate) async fn drive(mut self) -> Result<()> {
        let mut underway = Underway::new();
        loop {
            self.schedule(&mut underway).await?;
            match underway.next().await {
                None => break,
                Some(Happened::Ended { index, took, result }) => self.ended(&mut underway, index, took, result).await?,
                Some(Happened::Rested { index }) if self.app.stop.raised().is_some() => self.scheduler.put_back(index),
                Some(Happened::Rested { index }) => {
                    self.begin(&mut underway, &Decision { start: vec![index], skip: Vec::new() }).await?;
                }
            }
        }
        let run = self.journal.run().clone();
        match self.app.stop.raised() {
            Some(reason) if !self.scheduler.ended() => {
                self.journal.write(&RunParked { run, reason: reason.to_string() }).await
            }
            _ => {
                let succeeded = !self.scheduler.failed();
                self.journal.write(&RunFinished { run, succeeded, class: self.class }).await
            }
        }
    }

    /// Starts what may start, unless the process was asked to end.
    async fn schedule(&mut self, underway: &mut Underway) -> Result<()> {
        let mut next = self.scheduler.clone();
        let decision = next.poll(|index| self.graph.steps[index].when.holds(&self.outputs));
        if self.app.stop.raised().is_some() && !decision.start.is_empty() {
            return Ok(());
        }
        self.scheduler = next;
        self.begin(underway, &decision).await
    }

    /// Writes the intents, then acts.
    async fn begin(&mut self, underway: &mut Underway, decision: &Decision) -> Result<()> {
        let mut events = Vec::new();
        for index in &decision.skip {
            let (run, step) = (self.journal.run().clone(), self.graph.steps[*index].name.clone());
            events.push(self.journal.event(&StepSkipped { run, step })?);
        }
        for index in &decision.start {
            events.push(self.intent(*index)?);
        }
        self.journal.append(events).await?;
        for index in &decision.skip {
            self.tell(*index, "skipped", ProgressState::Done);
        }
        for index in &decision.start {
            self.tell(*index, &self.graph.steps[*index].summary(), ProgressState::Running);
            underway.push(Box::pin(perform(*index, self.act(*index))));
        }
        Ok(())
    }

    fn intent(&mut self, index: usize) -> Result<Event> {
        let tries = &mut self.tries[index];
        (tries.ever, tries.here) = (tries.ever + 1, tries.here + 1);
        let (run, step) = (self.journal.run().clone(), self.graph.steps[index].name.clone());
        self.journal.event(&StepStarted { run, step, attempt: self.tries[index].ever })
    }

    fn tell(&self, index: usize, text: &str, state: ProgressState) {
        let name = &self.graph.steps[index].name;
        let text = sanitize(&self.masker.mask(&format!("{name}: {text}")));
        self.app.ui.progress(Progress { key: format!("step/{name}"), text, state, gist: None });
    }

    /// What a step is to do, with its references filled in. A step that runs after failures too finds nothing where
    /// an output is missing.
    fn act(&self, index: usize) -> Result<Act> {
        let step = &self.graph.steps[index];
        let lenient = step.when == When::Always;
        let mut with = Map::new();
        for (key, value) in &step.with {
            let resolved = reference::resolve(value, &self.outputs, lenient)?;
            if !(lenient && resolved.is_null()) {
                with.insert(key.clone(), resolved);
            }
        }
        match &step.work {
            Work::Action { name, input, .. } => {
                let known = schema::properties(input).unwrap_or_default();
                for (key, value) in self.defaults.iter().filter(|(key, _)| known.contains(&key.as_str())) {
                    with.entry(key.clone()).or_insert_with(|| value.clone());
                }
                let missing = || Fault::internal(format!("The action {name} has gone."));
                let action = Arc::clone(self.app.actions.get(name.as_str()).ok_or_else(missing)?);
                Ok(Act::Action { action, input: Value::Object(with), schema: input.clone(), limit: step.timeout })
            }
            Work::Command { argv, out } => {
                let argv = argv.iter().map(|argument| reference::render(argument, &self.outputs, lenient));
                let spec = self.command(step, argv.collect::<Result<_>>()?, &with);
                let (out, root, runner) = (out.clone(), self.project.root.clone(), Arc::clone(&self.app.runner));
                Ok(Act::Command { spec: Box::new(spec), out, root, runner })
            }
        }
    }

    fn command(&self, step: &Step, argv: Vec<String>, with: &Map<String, Value>) -> CommandSpec {
        let told = [
            ("VICE_PROJECT", self.project.name().to_string()),
            ("VICE_GRAPH", self.journal.run().graph.clone()),
            ("VICE_STEP", step.name.clone()),
            ("VICE_RUN", self.journal.run().to_string()),
        ];
        let told = told.into_iter().map(|(name, value)| (name.to_owned(), value));
        let env = self.env.as_ref().map(|env| ("VICE_ENV".to_owned(), env.to_string()));
        let inputs = with.iter().map(|(key, value)| (variable_name(key), reference::as_text(value)));
        let vars = told.chain(env).chain(inputs).map(|(name, value)| (name, EnvValue::Plain(value)));
        let (ui, name) = (Arc::clone(&self.app.ui), step.name.clone());
        let on_line: LineSink = Arc::new(move |_, line: &str| {
            ui.say(Severity::Info, &format!("{name} | {}", sanitize(line)));
        });
        CommandSpec {
            env: vars.collect::<BTreeMap<_, _>>(),
            masker: self.masker.clone(),
            on_line: Some(on_line),
            ..CommandSpec::new(argv, self.project.root.clone(), step.timeout)
        }
    }

    async fn ended(
        &mut self,
        underway: &mut Underway,
        index: usize,
        took: Millis,
        result: Result<Map<String, Value>>,
    ) -> Result<()> {
        let stopped = self.app.stop.raised();
        let result = result.and_then(|outputs| self.bounded(index, outputs));
        let ending = self.ending(index, result.as_ref().err());
        let tries = self.tries[index];
        let again = matches!(ending, Ending::Failed | Ending::InDoubt) && tries.here <= self.graph.steps[index].retry;
        let retry_in = (again && stopped.is_none()).then(|| backoff(tries.here));
        let class = result.as_ref().err().map(Fault::class);
        let (outputs, error) = match result {
            Ok(outputs) => (outputs, None),
            Err(fault) => (Map::new(), Some(self.error(&fault))),
        };
        let (run, step) = (self.journal.run().clone(), self.graph.steps[index].name.clone());
        let attempt = tries.ever;
        let told = error.as_ref().map_or_else(|| format!("done in {took}"), |error| error.message.clone());
        let finished = StepFinished { run, step, attempt, ending, took, outputs, error, retry_in };
        self.journal.write(&finished).await?;
        match (ending, retry_in) {
            (Ending::Succeeded, _) => {
                self.outputs.insert(finished.step, finished.outputs);
                self.scheduler.end(index, State::Succeeded);
                self.tell(index, &told, ProgressState::Done);
            }
            (_, Some(wait)) => {
                self.tell(index, &format!("{told} Trying again in {wait}."), ProgressState::Waiting);
                underway.push(Box::pin(rest(index, wait, Arc::clone(&self.app.stop))));
            }
            (ending, None) if ending == Ending::Interrupted || (again && stopped.is_some()) => {
                self.scheduler.put_back(index);
                self.tell(index, &told, ProgressState::Waiting);
            }
            _ => {
                self.scheduler.end(index, State::Failed);
                self.class = graver(self.class, class.unwrap_or(Class::Failed));
                self.tell(index, &told, ProgressState::Failed);
            }
        }
        Ok(())
    }

    fn ending(&self, index: usize, fault: Option<&Fault>) -> Ending {
        let Some(fault) = fault else { return Ending::Succeeded };
        let asked = self.app.stop.raised().is_some();
        match fault.code() {
            Code::Interrupted | Code::Terminated if asked => Ending::Interrupted,
            // A command that takes too long is killed with everything that it started. An action may have acted elsewhere.
            _ if fault.class() == Class::InDoubt && matches!(self.graph.steps[index].work, Work::Action { .. }) => {
                Ending::InDoubt
            }
            _ => Ending::Failed,
        }
    }

    /// The outputs as they are written and handed on: those that the action's schema names, masked, and of those too
    /// large only the ones that are used.
    fn bounded(&self, index: usize, mut outputs: Map<String, Value>) -> Result<Map<String, Value>> {
        if let Work::Action { output, .. } = &self.graph.steps[index].work {
            outputs.retain(|key, _| schema::gives(output, key));
        }
        for value in outputs.values_mut() {
            mask(&self.masker, value);
        }
        let size = |outputs: &Map<String, Value>| {
            outputs.iter().map(|(key, value)| key.len() + value.to_string().len() + 4).sum::<usize>()
        };
        if size(&outputs) > OUTPUTS_BYTES_MAX {
            let used = self.graph.used_outputs(index);
            outputs.retain(|key, _| used.contains(key.as_str()));
        }
        if size(&outputs) > OUTPUTS_BYTES_MAX {
            let message = format!("The outputs that later steps use have more than {OUTPUTS_BYTES_MAX} bytes.");
            return Err(Fault::new(Code::GraphFailed, message).hint("Write a file, and hand on its path."));
        }
        Ok(outputs)
    }

    fn error(&self, fault: &Fault) -> StepError {
        let clean = |text: &str| self.masker.mask(text).chars().take(MESSAGE_CHARS_MAX).collect::<String>();
        StepError {
            code: fault.code().to_string(),
            class: fault.class(),
            message: clean(&joined(&fault.chain())),
            hints: fault.hints().iter().map(|hint| clean(hint)).collect(),
        }
    }
}

/// The facts of a chain in one line.
fn joined(chain: &[String]) -> String {
    let (last, before) = chain.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut text: String = before.iter().map(|fact| format!("{}: ", fact.trim_end_matches('.'))).collect();
    text.push_str(last);
    text
}

fn mask(masker: &Masker, value: &mut Value) {
    match value {
        Value::String(text) => *text = masker.mask(text),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(masker, item)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mask(masker, field)),
        _ => {}
    }
}

/// Of several failures, what the run means: the one that most needs somebody to look.
fn graver(one: Class, two: Class) -> Class {
    let rank = |class: Class| match class {
        Class::Done | Class::Changes => 0,
        Class::Failed => 1,
        Class::Usage => 2,
        Class::Interrupted | Class::Terminated => 3,
        Class::Refused => 4,
        Class::Waiting => 5,
        Class::Verification => 6,
        Class::RolledBack => 7,
        Class::InDoubt => 8,
        Class::NotRestored => 9,
    };
    if rank(two) > rank(one) { two } else { one }
}
