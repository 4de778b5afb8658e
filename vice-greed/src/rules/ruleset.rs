//! The rules of a project, found by an event's type. Which rules a type concerns is worked out once for each type, so that
//! a rule costs nothing for events that it is not about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use vice_core::event::Event;
use vice_core::id::ProjectName;
use vice_core::manifest::{Project, RuleSpec};
use vice_core::{Code, Fault, Result};

use super::cel::Stop;
use super::rule::{Rule, Then, Wrong};
use super::view::EventView;

/// The most rules of a project.
const RULES_MAX: usize = 500;

/// So many types are remembered; a sender that makes types up must not fill the memory.
const KINDS_MAX: usize = 10_000;

/// What the source of every event begins with that a rule made.
pub(crate) const RULE_SOURCE: &str = "/vice/rules/";

/// Streams whose events no rule looks at: what is kept of other events, and the bookkeeping of those who read the log.
const UNSEEN: [&str; 6] = ["rules/", "dead/", "kept/", "late/", "outbox/", "receipts/"];

/// The rules of a project.
#[derive(Debug)]
pub struct Ruleset {
    pub(crate) project: ProjectName,
    pub(crate) rules: Vec<Rule>,
    by_kind: Mutex<HashMap<String, Arc<[usize]>>>,
}

/// A rule in a list.
pub(crate) struct Line<'r> {
    pub(crate) name: &'r str,
    pub(crate) kinds: String,
    pub(crate) window: bool,
    pub(crate) then: &'static str,
}

/// What a rule says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    No,
    /// The condition has no answer for this event.
    Unclear(String),
    /// The condition cost too much.
    Stopped(String),
}

impl Ruleset {
    /// The rules of a project.
    ///
    /// # Errors
    /// `ManifestInvalid` at the first rule that makes no sense.
    pub fn of(project: &Project) -> Result<Self> {
        let specs = &project.manifest.rule;
        if specs.len() > RULES_MAX {
            return Err(
                project.invalid(&["rule"], format!("There are {} rules; {RULES_MAX} is the limit.", specs.len()))
            );
        }
        let mut rules: Vec<Rule> = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let rule = Rule::of(spec).map_err(|wrong| invalid(project, index, spec, &wrong))?;
            if rules.iter().any(|earlier| earlier.name == rule.name) {
                let wrong = Wrong { key: vec!["name"], why: "Another rule has this name.".to_owned() };
                return Err(invalid(project, index, spec, &wrong));
            }
            rules.push(rule);
        }
        Ok(Self { project: project.name().clone(), rules, by_kind: Mutex::default() })
    }

    /// Whether there is anything to do at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What there is to say of each rule.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.rules.iter().map(|rule| Line {
            name: &rule.name,
            kinds: rule.kinds.to_string(),
            window: rule.window.is_some(),
            then: rule.then.word(),
        })
    }

    /// How many rules fit an event.
    #[must_use]
    pub fn fitting(&self, event: &Event) -> usize {
        let mut fitting = 0;
        self.judge(event, &EventView::new(event), |_, verdict| fitting += usize::from(verdict == Verdict::Fits));
        fitting
    }

    /// Whether the rules of this project are about an event at all: its own, and those that belong to no project.
    pub(crate) fn concerns(&self, event: &Event) -> bool {
        let own = event.scope.as_ref().is_none_or(|scope| scope.project == self.project);
        let made_by = event.source.strip_prefix(RULE_SOURCE).and_then(|rest| rest.split('/').next());
        own && made_by.is_none_or(|project| project == self.project.as_str())
            && !UNSEEN.iter().any(|prefix| event.stream.starts_with(prefix))
    }

    /// Tells what each rule says whose types fit, in order; after one that drops, no other is asked.
    pub(crate) fn judge<'r>(&'r self, event: &Event, view: &EventView<'_>, mut told: impl FnMut(&'r Rule, Verdict)) {
        let own = event.source.strip_prefix(RULE_SOURCE).and_then(|rest| rest.strip_prefix(self.project.as_str()));
        let maker = own.and_then(|rest| rest.strip_prefix('/'));
        for index in self.candidates(&event.kind).iter() {
            let rule = &self.rules[*index];
            // A rule that answered itself would never end.
            if maker == Some(rule.name.as_str()) {
                continue;
            }
            let verdict = rule.verdict(view);
            let dropped = verdict == Verdict::Fits && matches!(rule.then, Then::Drop);
            told(rule, verdict);
            if dropped {
                return;
            }
        }
    }

    /// The rule that made an event, where it is the result of a window.
    pub(crate) fn maker_of(&self, event: &Event) -> Option<&Rule> {
        let rest = event.source.strip_prefix(RULE_SOURCE)?.strip_prefix(self.project.as_str())?;
        let name = rest.strip_prefix('/')?;
        self.rules.iter().find(|rule| rule.name == name)
    }

    pub(crate) fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }

    fn candidates(&self, kind: &str) -> Arc<[usize]> {
        let mut known = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(kind) {
            return Arc::clone(found);
        }
        let fitting = self.rules.iter().enumerate().filter(|(_, rule)| rule.kinds.fits(kind));
        let found: Arc<[usize]> = fitting.map(|(index, _)| index).collect();
        if known.len() >= KINDS_MAX {
            known.clear();
        }
        known.insert(kind.to_owned(), Arc::clone(&found));
        found
    }
}

impl Rule {
    pub(crate) fn verdict(&self, view: &EventView<'_>) -> Verdict {
        let Some(when) = &self.when else { return Verdict::Fits };
        match when.holds(view) {
            Ok(true) => Verdict::Fits,
            Ok(false) => Verdict::No,
            Err(stop @ Stop::Cost) => Verdict::Stopped(stop.to_string()),
            Err(stop) => Verdict::Unclear(stop.to_string()),
        }
    }
}

fn invalid(project: &Project, index: usize, spec: &RuleSpec, wrong: &Wrong) -> Fault {
    let index = index.to_string();
    let path: Vec<&str> = ["rule", index.as_str()].into_iter().chain(wrong.key.iter().copied()).collect();
    let key = wrong.key.join(".");
    let name: String = spec.name.chars().take(80).collect();
    let message = format!("The rule {name:?} makes no sense in `{key}`: {}", wrong.why);
    let place = project.place(&path, "").or_else(|| project.place(&["rule"], ""));
    Fault::new(Code::ManifestInvalid, message).at(place).hint("`vice greed rules lint` shows all that is wrong.")
}
