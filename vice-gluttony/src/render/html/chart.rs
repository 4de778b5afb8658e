//! The timeline as a picture: every coordinate is computed here, the template only writes them down.

use serde::Serialize;
use vice_core::Millis;
use vice_core::payload::environment::Direction;
use vice_core::text::sanitize;

use crate::render::axis::{Axis, tick_label};
use crate::view::lanes::{Bar, BarState, Group, Lane, Mark, MarkKind, Share, Timeline};
use crate::view::rollout::RolloutReport;
use crate::view::{Mood, sentence};

const WIDTH: u64 = 1000;
/// Where the bars begin; names stand left of it.
const LEFT: u64 = 176;
/// How wide the part with the bars is.
const SPAN: u64 = 800;
const TOP: u64 = 26;
const ROW: u64 = 26;
const HEADING: u64 = 24;
const BAR: u64 = 16;
const NAME_CHARS_MAX: usize = 22;
/// A page with more rows than this is no longer read.
const LANES_MAX: usize = 300;
/// A generous width of one character of a label.
const CHAR: u64 = 7;

/// The picture.
#[derive(Debug, Serialize)]
pub(super) struct Chart {
    width: u64,
    height: u64,
    floor: u64,
    text: String,
    stripes: Vec<Stripe>,
    ticks: Vec<Tick>,
    falls: Vec<u64>,
    names: Vec<Name>,
    shares: Vec<ShareShape>,
    bars: Vec<BarShape>,
    marks: Vec<MarkShape>,
}

#[derive(Debug, Serialize)]
struct Stripe {
    y: u64,
    h: u64,
}

#[derive(Debug, Serialize)]
struct Tick {
    x: u64,
    anchor: &'static str,
    label: String,
}

#[derive(Debug, Serialize)]
struct Name {
    class: &'static str,
    x: u64,
    y: u64,
    text: String,
    full: String,
}

#[derive(Debug, Serialize)]
struct ShareShape {
    class: &'static str,
    x: u64,
    y: u64,
    w: u64,
    h: u64,
    title: String,
}

#[derive(Debug, Serialize)]
struct BarShape {
    class: String,
    x: u64,
    y: u64,
    w: u64,
    h: u64,
    title: String,
    label: String,
    label_class: &'static str,
    label_x: u64,
    label_y: u64,
}

#[derive(Debug, Serialize)]
struct MarkShape {
    class: &'static str,
    path: String,
    title: String,
}

impl Chart {
    pub(super) fn new(report: &RolloutReport) -> Self {
        let timeline = &report.timeline;
        let axis = Axis::new(timeline.start, timeline.end, SPAN);
        let mut drawing = Drawing { y: TOP, odd: false, axis, timeline, chart: empty(timeline, &axis) };
        drawing.lanes();
        drawing.traffic(report);
        drawing.marks();
        let mut chart = drawing.chart;
        chart.floor = drawing.y;
        chart.height = drawing.y + 6;
        chart
    }
}

fn empty(timeline: &Timeline, axis: &Axis) -> Chart {
    let tick = |(place, offset): (u64, Millis)| Tick {
        x: LEFT + place,
        anchor: if place > SPAN - 30 { "end" } else { "middle" },
        label: tick_label(offset),
    };
    Chart {
        width: WIDTH,
        height: 0,
        floor: 0,
        text: in_words(timeline),
        stripes: Vec::new(),
        ticks: axis.ticks(8).into_iter().map(tick).collect(),
        falls: Vec::new(),
        names: Vec::new(),
        shares: Vec::new(),
        bars: Vec::new(),
        marks: Vec::new(),
    }
}

/// The picture in words, for those who don't see it.
fn in_words(timeline: &Timeline) -> String {
    let span = Millis::between(timeline.start, timeline.end);
    let mut text = format!("What ran when, over {span}.");
    for lane in timeline.shown(LANES_MAX).0 {
        let bars = lane.bars.iter().map(|bar| {
            let after = Millis::between(timeline.start, bar.from);
            format!("{} {} from +{after} for {}", bar.label, bar.state.word(), bar.took(timeline.end))
        });
        let bars: Vec<String> = bars.collect();
        text.push_str(&format!(" {} {}: {}.", lane.group.title(), lane.name, bars.join(", ")));
    }
    sanitize(&text)
}

struct Drawing<'a> {
    y: u64,
    odd: bool,
    axis: Axis,
    timeline: &'a Timeline,
    chart: Chart,
}

impl Drawing<'_> {
    /// Takes the next row and writes its name; every second row has a stripe.
    fn row(&mut self, name: &str, indent: u64) -> u64 {
        let y = self.y;
        self.y += ROW;
        self.odd = !self.odd;
        if self.odd {
            self.chart.stripes.push(Stripe { y, h: ROW });
        }
        let full = sanitize(name);
        let text = match full.char_indices().nth(NAME_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &full[..end]),
            None => full.clone(),
        };
        self.chart.names.push(Name { class: "name", x: 8 + indent, y: y + 17, text, full });
        y
    }

    fn lanes(&mut self) {
        let timeline = self.timeline;
        let mut group: Option<Group> = None;
        let (lanes, hidden) = timeline.shown(LANES_MAX);
        for lane in lanes {
            let alone = matches!(lane.group, Group::Waves | Group::Checks);
            if group.replace(lane.group) != Some(lane.group) && !alone {
                let text = lane.group.title().to_uppercase();
                self.chart.names.push(Name { class: "group", x: 8, y: self.y + 16, full: text.clone(), text });
                self.y += HEADING;
                self.odd = false;
            }
            let y = if alone { self.row(lane.group.title(), 0) } else { self.row(&lane.name, 8) };
            for (index, bar) in lane.bars.iter().enumerate() {
                let shape = self.bar(lane, bar, lane.bars.get(index + 1), y);
                self.chart.bars.push(shape);
            }
        }
        self.more(hidden);
    }

    fn more(&mut self, hidden: usize) {
        if hidden > 0 {
            let text = format!("… and {hidden} more");
            self.chart.names.push(Name { class: "soft", x: 16, y: self.y + 16, full: text.clone(), text });
            self.y += HEADING;
        }
    }

    fn bar(&self, lane: &Lane, bar: &Bar, next: Option<&Bar>, y: u64) -> BarShape {
        let end = bar.to.unwrap_or(self.timeline.end);
        let x = LEFT + self.axis.place(bar.from);
        // A bar that is too short to be seen is still something that happened.
        let w = (self.axis.place(end) + LEFT).saturating_sub(x).max(3);
        let back = bar.direction == Direction::Rollback;
        let sign = match (bar.state, back) {
            (BarState::Bad, _) => "✗ ",
            (_, true) => "↩ ",
            _ => "",
        };
        let label = format!("{sign}{}", sanitize(&bar.label));
        let needs = u64::try_from(label.chars().count()).unwrap_or(WIDTH) * CHAR + 8;
        let free_until = next.map_or(LEFT + SPAN + 24, |next| LEFT + self.axis.place(next.from));
        let (label, label_class, label_x) = if needs <= w {
            (label, "inside", x + 6)
        } else if x + w + needs <= free_until {
            (label, "outside soft", x + w + 5)
        } else {
            (String::new(), "outside", 0)
        };
        let class = format!("{}{}", state_class(bar.state), if back { " back" } else { "" });
        let title = self.bar_title(lane, bar);
        BarShape { class, x, y: y + 5, w, h: BAR, title, label, label_class, label_x, label_y: y + 17 }
    }

    fn bar_title(&self, lane: &Lane, bar: &Bar) -> String {
        let after = Millis::between(self.timeline.start, bar.from);
        let took = bar.took(self.timeline.end);
        let detail = bar.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
        sanitize(&format!("{}, {}: {} after {took}, from +{after}{detail}", lane.name, bar.label, bar.state.word()))
    }

    fn traffic(&mut self, report: &RolloutReport) {
        let timeline = self.timeline;
        if timeline.weights.is_empty() {
            return;
        }
        let y = self.row("Traffic", 0);
        for (index, weights) in timeline.weights.iter().enumerate() {
            let until = timeline.weights.get(index + 1).map_or(timeline.end, |next| next.at);
            let x = LEFT + self.axis.place(weights.at);
            let w = (LEFT + self.axis.place(until)).saturating_sub(x).max(1);
            let mut from = y + 3;
            for share in &weights.shares {
                let h = u64::from(share.basis_points.min(10_000)) * (ROW - 6) / 10_000;
                let class = share_class(share, report);
                let title = sanitize(&format!("{}: {}", share.version, sentence::percent(share.basis_points)));
                self.chart.shares.push(ShareShape { class, x, y: from, w, h, title });
                from += h;
            }
        }
    }

    fn marks(&mut self) {
        let timeline = self.timeline;
        if timeline.marks.is_empty() {
            return;
        }
        let y = self.row("Decisions", 0);
        for mark in &timeline.marks {
            let x = LEFT + self.axis.place(mark.at);
            if mark.mood == Mood::Bad {
                self.chart.falls.push(x);
            }
            self.chart.marks.push(MarkShape {
                class: mark.mood.name(),
                path: sign(mark, x, y + 13),
                title: sanitize(&mark.text),
            });
        }
    }
}

const fn state_class(state: BarState) -> &'static str {
    match state {
        BarState::Good => "good",
        BarState::Bad => "bad",
        BarState::Cut => "cut",
        BarState::Open => "open",
    }
}

fn share_class(share: &Share, report: &RolloutReport) -> &'static str {
    if report.to.is_called(&share.version) {
        "new"
    } else if report.from.as_ref().is_some_and(|from| from.is_called(&share.version)) {
        "old"
    } else {
        "other"
    }
}

fn sign(mark: &Mark, x: u64, y: u64) -> String {
    match mark.kind {
        MarkKind::Decision => diamond(x, y, 7),
        MarkKind::Hold | MarkKind::Operator => format!("M{x} {} l7 13 h-14 z", y.saturating_sub(7)),
    }
}

/// A diamond around a point.
pub(super) fn diamond(x: u64, y: u64, r: u64) -> String {
    format!("M{x} {} l{r} {r} l-{r} {r} l-{r} -{r} z", y.saturating_sub(r))
}
