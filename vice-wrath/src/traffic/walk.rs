//! Sessions by chance: who comes, where they begin, where they go next, and how long they think before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use rand::{Rng, RngExt};
use rand_pcg::Pcg64Mcg;
use vice_core::rng::Streams;
use vice_core::{Code, Context, Result};

use super::model::{END, Model, Persona, Think};
use crate::load::{Prepared, Walk, Walker, exponential};

/// The longest session, in requests: a model can go in circles.
const STEPS_MAX: usize = 10_000;

/// Weighted choices, summed up.
#[derive(Debug, Clone)]
struct Choice {
    /// The sum of weights up to each place.
    sums: Vec<f64>,
    /// The kind at each place; none is the end.
    kinds: Vec<Option<usize>>,
}

impl Choice {
    fn new(row: &BTreeMap<String, f64>, numbers: &BTreeMap<&str, usize>) -> Self {
        let mut sum = 0.0;
        let mut choice = Self { sums: Vec::new(), kinds: Vec::new() };
        for (name, weight) in row {
            sum += weight;
            choice.sums.push(sum);
            choice.kinds.push(if name == END { None } else { numbers.get(name.as_str()).copied() });
        }
        choice
    }

    fn draw(&self, chance: &mut impl Rng) -> Option<usize> {
        let place = chance.random::<f64>() * self.sums.last().copied().unwrap_or(0.0);
        let index = self.sums.partition_point(|sum| *sum <= place);
        self.kinds.get(index).copied().flatten()
    }
}

struct Ready {
    start: Choice,
    next: Vec<Option<Choice>>,
    think: Vec<Option<Think>>,
}

impl Ready {
    fn new(persona: &Persona, numbers: &BTreeMap<&str, usize>) -> Self {
        let names = || numbers.keys().copied();
        Self {
            start: Choice::new(&persona.start, numbers),
            next: names().map(|name| persona.next.get(name).map(|row| Choice::new(row, numbers))).collect(),
            think: names().map(|name| persona.think.get(name).cloned()).collect(),
        }
    }
}

impl Think {
    fn draw(&self, chance: &mut impl Rng) -> f64 {
        match self {
            Self::Mean(mean) => mean * exponential(chance),
            Self::Quantiles(all) => {
                let place = chance.random::<f64>() * (all.len() - 1) as f64;
                let below = place.floor() as usize;
                let above = (below + 1).min(all.len() - 1);
                all[below] + (all[above] - all[below]) * place.fract()
            }
        }
    }
}

/// A model that is ready to be walked.
pub(crate) struct Sessions {
    personas: Vec<Ready>,
    /// The sum of weights up to each persona.
    weights: Vec<f64>,
    streams: Streams,
    prepared: Vec<Vec<Arc<Prepared>>>,
}

impl Sessions {
    /// Gets the requests of a model ready for a server.
    ///
    /// # Errors
    /// `Usage` for what can't be sent.
    pub(crate) fn new(model: &Model, origin: &str, common: &HeaderMap, seed: u64) -> Result<Self> {
        let numbers: BTreeMap<&str, usize> =
            model.kind.keys().enumerate().map(|(number, name)| (name.as_str(), number)).collect();
        let mut prepared = Vec::new();
        for (number, (name, kind)) in model.kind.iter().enumerate() {
            let unusable = || format!("The kind {name:?} can't be sent.");
            let mut headers = common.clone();
            for (name, value) in &kind.headers {
                let name = HeaderName::try_from(name.as_str()).context(Code::Usage, unusable)?;
                headers.insert(name, HeaderValue::from_str(value).context(Code::Usage, unusable)?);
            }
            let method = Method::from_bytes(kind.method.as_bytes()).context(Code::Usage, unusable)?;
            let body = Bytes::from(kind.body.clone().unwrap_or_default());
            let of = |target: &String| {
                let uri: Uri = format!("{origin}{target}").parse().context(Code::Usage, unusable)?;
                Ok(Arc::new(Prepared::new(number, &method, &uri, &headers, body.clone())))
            };
            prepared.push(kind.targets.iter().map(of).collect::<Result<Vec<_>>>()?);
        }
        let mut sum = 0.0;
        let weights = model.persona.values().map(|persona| {
            sum += persona.weight;
            sum
        });
        Ok(Self {
            weights: weights.collect(),
            personas: model.persona.values().map(|persona| Ready::new(persona, &numbers)).collect(),
            streams: Streams::new(seed),
            prepared,
        })
    }

    /// The kinds of one session in order, with the pauses before them in seconds.
    pub(super) fn walk(&self, number: u64) -> Steps<'_> {
        let mut chance = self.streams.stream("traffic/session", number);
        let place = chance.random::<f64>() * self.weights.last().copied().unwrap_or(0.0);
        let persona = self.weights.partition_point(|sum| *sum <= place).min(self.personas.len() - 1);
        Steps { persona: &self.personas[persona], at: At { persona, chance, kind: None, steps: 0 } }
    }
}

/// Where a session is.
struct At {
    persona: usize,
    chance: Pcg64Mcg,
    kind: Option<usize>,
    steps: usize,
}

impl At {
    fn step(&mut self, persona: &Ready) -> Option<(f64, usize)> {
        if self.steps >= STEPS_MAX {
            return None;
        }
        self.steps += 1;
        let (pause, next) = match self.kind {
            None => (0.0, persona.start.draw(&mut self.chance)?),
            Some(kind) => {
                let next = persona.next[kind].as_ref()?.draw(&mut self.chance)?;
                let pause = persona.think[kind].as_ref().map_or(0.0, |think| think.draw(&mut self.chance));
                (pause, next)
            }
        };
        self.kind = Some(next);
        Some((pause, next))
    }
}

/// The steps of one session.
pub(super) struct Steps<'s> {
    persona: &'s Ready,
    at: At,
}

impl Steps<'_> {
    /// Whose session it is, as a place among the personas.
    pub(super) const fn persona(&self) -> usize {
        self.at.persona
    }
}

impl Iterator for Steps<'_> {
    type Item = (f64, usize);

    fn next(&mut self) -> Option<(f64, usize)> {
        self.at.step(self.persona)
    }
}

/// A session that is sent.
struct Visitor {
    sessions: Arc<Sessions>,
    at: At,
}

impl Walker for Visitor {
    fn step(&mut self) -> Option<(Duration, Arc<Prepared>)> {
        let (pause, kind) = self.at.step(&self.sessions.personas[self.at.persona])?;
        let targets = &self.sessions.prepared[kind];
        let target = self.at.chance.random_range(0..targets.len());
        Some((Duration::from_secs_f64(pause), Arc::clone(&targets[target])))
    }
}

/// The sessions of a model, shared by all threads of a load.
pub(crate) struct SharedSessions(pub(crate) Arc<Sessions>);

impl Walk for SharedSessions {
    fn session(&self, number: u64) -> Box<dyn Walker> {
        let at = self.0.walk(number).at;
        Box::new(Visitor { sessions: Arc::clone(&self.0), at })
    }
}
