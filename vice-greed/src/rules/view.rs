//! What a condition sees of an event. The data is read when a condition first looks into it, and once.

use std::cell::OnceCell;
use std::rc::Rc;

use vice_core::event::Event;

use super::cel::{Doc, Roots, Stop, Val};

/// The names of a condition.
pub(crate) const EVENT_NAMES: [&str; 6] = ["type", "source", "subject", "data", "time", "labels"];

/// The names where a window's result is acted on: those of an event, and the result.
pub(crate) const WINDOW_NAMES: [&str; 10] =
    ["type", "source", "subject", "data", "time", "labels", "value", "count", "key", "late"];

/// The index of `data`.
const DATA: usize = 3;

/// An event as conditions see it.
pub(crate) struct EventView<'e> {
    event: &'e Event,
    data: OnceCell<Option<Doc<'e>>>,
}

impl<'e> EventView<'e> {
    pub(crate) fn new(event: &'e Event) -> Self {
        Self { event, data: OnceCell::new() }
    }

    fn data(&self) -> Result<&Doc<'e>, Stop<'_>> {
        let read = self.data.get_or_init(|| Doc::read(&self.event.data).ok());
        read.as_ref().ok_or(Stop::Wrong("the data of the event is not JSON"))
    }

    /// A field of what the event says of its subject; windows put their result there.
    fn said(&self, name: &'static str) -> Result<Val<'_>, Stop<'_>> {
        let content = self.data()?.get("subject").and_then(|subject| subject.get("content"));
        content.and_then(|content| content.get(name)).map(Val::of).ok_or(Stop::NoField(name))
    }

    fn labels(&self) -> Val<'_> {
        let mut all = vec![
            (Val::text("stream"), Val::text(&self.event.stream)),
            (Val::text("actor"), Val::text(&self.event.actor.id)),
        ];
        if let Some(scope) = &self.event.scope {
            all.push((Val::text("project"), Val::text(scope.project.as_str())));
            all.push((Val::text("env"), Val::text(scope.env.as_str())));
        }
        Val::Map(Rc::new(all))
    }
}

impl Roots for EventView<'_> {
    fn root(&self, index: usize) -> Result<Val<'_>, Stop<'_>> {
        match index {
            0 => Ok(Val::text(&self.event.kind)),
            1 => Ok(Val::text(&self.event.source)),
            2 => Ok(Val::text(&self.event.subject)),
            DATA => self.data().map(Val::of),
            4 => Ok(Val::Time(self.event.time)),
            5 => Ok(self.labels()),
            other => match WINDOW_NAMES.get(other) {
                Some(name) => self.said(name),
                None => Err(Stop::Wrong("there is no such name")),
            },
        }
    }
}
