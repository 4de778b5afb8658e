//! How a release spreads over a fleet, as two pictures of the same value: a map (rows are parts of the fleet, time goes
//! to the right, each row is filled by the mix of its units) and the fleet at one moment (a tile for each row). Both
//! stand without a script; the script moves the moment.

use std::collections::BTreeMap;

use serde::Serialize;
use vice_core::Millis;
use vice_core::payload::environment::Direction;
use vice_core::payload::propagation::{Propagation, PropagationRow};
use vice_core::payload::rollout::Verdict;
use vice_core::text::sanitize;

use super::chart::diamond;
use super::shape::{Tick, px, short};
use crate::render::axis::{Axis, tick_label};
use crate::view::answer::count_of;
use crate::view::figure::whole;
use crate::view::mix::{self, PHASES};
use crate::view::{lanes, sentence};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 176.0;
const SPAN: u64 = 800;
const RIGHT: f64 = LEFT + SPAN as f64;
const TOP: f64 = 24.0;
const GROUP_CHARS: usize = 11;
const NAME_CHARS: usize = 11;

/// A row that is thinner than this many pixels can't be filled to scale; shades say how much of it has changed.
const THIN: f64 = 9.0;

/// How many shades there are; the last one is everything.
const SHADES: u64 = 6;

/// From the bottom of a row to its top; what was not touched yet is the ground.
const STACK: [usize; 4] = [3, 2, 1, 4];

/// Both pictures with what the script needs.
#[derive(Debug, Serialize)]
pub(super) struct Spread {
    id: String,
    width: u64,
    height: String,
    floor: String,
    text: String,
    ticks: Vec<Tick>,
    names: Vec<Name>,
    brackets: Vec<Line>,
    rows: Vec<RowShape>,
    waves: Vec<WaveShape>,
    traffic: Option<Traffic>,
    marks: Vec<MarkShape>,
    falls: Vec<String>,
    cursor: String,
    right: String,
    tiles: Vec<Tile>,
    tile_names: Vec<Name>,
    tiles_height: String,
    counts: Vec<Count>,
    note: Option<String>,
    shaded: bool,
    moment: String,
    share: Option<String>,
    at: usize,
    last: usize,
    data_times: String,
    data_rows: String,
    data_shares: String,
}

#[derive(Debug, Serialize)]
struct Name {
    class: &'static str,
    x: String,
    y: String,
    anchor: &'static str,
    text: String,
    full: String,
}

#[derive(Debug, Serialize)]
struct Line {
    x: String,
    y1: String,
    y2: String,
}

#[derive(Debug, Serialize)]
struct RowShape {
    y: String,
    h: String,
    title: String,
    layers: Vec<Layer>,
}

#[derive(Debug, Serialize)]
struct Layer {
    class: String,
    d: String,
}

#[derive(Debug, Serialize)]
struct WaveShape {
    class: &'static str,
    x: String,
    y: String,
    w: String,
    title: String,
    label: String,
    label_x: String,
    label_y: String,
}

#[derive(Debug, Serialize)]
struct Traffic {
    y: String,
    h: String,
    d: String,
    label_y: String,
    top_y: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct MarkShape {
    class: &'static str,
    path: String,
    title: String,
}

#[derive(Debug, Serialize)]
struct Tile {
    x: String,
    y: String,
    w: String,
    h: String,
    title: String,
    parts: Vec<Part>,
}

#[derive(Debug, Serialize)]
struct Part {
    class: &'static str,
    y: String,
    h: String,
}

#[derive(Debug, Serialize)]
struct Count {
    class: &'static str,
    word: &'static str,
    value: String,
}

impl Spread {
    /// The pictures; `number` tells several on one page apart.
    pub(super) fn new(drawn: &Propagation, number: usize) -> Self {
        let end = drawn.times_ms.last().copied().unwrap_or(0).max(1);
        let at = mix::interesting(drawn);
        let mut drawing =
            Drawing { y: TOP, axis: Axis::over(Millis(end), SPAN * 10), drawn, at, out: empty(drawn, number) };
        drawing.out.ticks = drawing.ticks();
        drawing.waves();
        drawing.rows();
        drawing.traffic();
        drawing.marks();
        drawing.tiles();
        drawing.out.floor = px(drawing.y);
        drawing.out.height = px(drawing.y + 8.0);
        drawing.out
    }
}

fn empty(drawn: &Propagation, number: usize) -> Spread {
    let at = mix::interesting(drawn);
    let end = drawn.times_ms.last().copied().unwrap_or(0).max(1);
    let at_ms = drawn.times_ms.get(at).copied().unwrap_or(0);
    let totals = mix::of_all(drawn, at);
    let count = |(index, (class, word)): (usize, &(&'static str, &'static str))| Count {
        class,
        word,
        value: whole(totals[index]),
    };
    let place = Axis::over(Millis(end), SPAN * 10).place_of(Millis(at_ms));
    Spread {
        id: format!("spread-{number}"),
        width: WIDTH as u64,
        height: String::new(),
        floor: String::new(),
        text: in_words(drawn),
        ticks: Vec::new(),
        names: Vec::new(),
        brackets: Vec::new(),
        rows: Vec::new(),
        waves: Vec::new(),
        traffic: None,
        marks: Vec::new(),
        falls: Vec::new(),
        cursor: px(LEFT + place as f64 / 10.0),
        right: px(RIGHT),
        tiles: Vec::new(),
        tile_names: Vec::new(),
        tiles_height: String::new(),
        counts: PHASES.iter().enumerate().map(count).collect(),
        shaded: false,
        note: drawn.aggregated.as_deref().map(sanitize),
        moment: format!("+{}", Millis(at_ms)),
        share: mix::share_at(drawn, at_ms).map(sentence::percent),
        at,
        last: drawn.times_ms.len().saturating_sub(1),
        data_times: joined(drawn.times_ms.iter(), ","),
        data_rows: joined(
            drawn.rows.iter().map(|row| joined(row.changes.iter().map(|change| joined(change.iter(), ",")), ";")),
            "|",
        ),
        data_shares: joined(drawn.shares.iter().map(|share| format!("{},{}", share.at_ms, share.basis_points)), ";"),
    }
}

fn joined<T: ToString>(parts: impl Iterator<Item = T>, between: &str) -> String {
    parts.map(|part| part.to_string()).collect::<Vec<_>>().join(between)
}

/// The picture in words, for those who don't see it.
fn in_words(drawn: &Propagation) -> String {
    let last = drawn.times_ms.len().saturating_sub(1);
    let moments = [last / 4, last / 2, last * 3 / 4, last];
    let moments = moments.into_iter().filter_map(|at| Some((at, drawn.times_ms.get(at)?)));
    let said = moments.map(|(at, time)| format!("after {}: {}", Millis(*time), mix::in_words(mix::of_all(drawn, at))));
    format!("How many units are on which release. {}.", said.collect::<Vec<_>>().join("; "))
}

/// The heights of the parts of a stack, from the bottom, where each that exists can be seen.
fn heights(counts: [u32; 5], height: f64) -> [f64; 4] {
    let units = counts.iter().map(|count| f64::from(*count)).sum::<f64>().max(1.0);
    let least = (height / 5.0).min(1.5);
    let exact = STACK.map(|phase| f64::from(counts[phase]) / units * height);
    let seen = exact.map(|exact| if exact > 0.0 { exact.max(least) } else { 0.0 });
    let sum: f64 = seen.iter().sum();
    if sum > height { seen.map(|seen| seen * height / sum) } else { seen }
}

struct Drawing<'a> {
    y: f64,
    axis: Axis,
    drawn: &'a Propagation,
    at: usize,
    out: Spread,
}

impl Drawing<'_> {
    fn x_ms(&self, at_ms: u64) -> f64 {
        LEFT + self.axis.place_of(Millis(at_ms)) as f64 / 10.0
    }

    fn x(&self, moment: u32) -> f64 {
        self.drawn.times_ms.get(moment as usize).map_or(RIGHT, |time| self.x_ms(*time))
    }

    fn ticks(&self) -> Vec<Tick> {
        let tick = |(place, offset): (u64, Millis)| {
            let x = LEFT + place as f64 / 10.0;
            Tick { x: px(x), anchor: if x > RIGHT - 30.0 { "end" } else { "middle" }, label: tick_label(offset) }
        };
        self.axis.ticks(8).into_iter().map(tick).collect()
    }

    fn name(&mut self, class: &'static str, (x, y): (f64, f64), text: &str, most: usize) {
        let name = Name { class, x: px(x), y: px(y), anchor: "start", text: short(text, most), full: sanitize(text) };
        self.out.names.push(name);
    }

    fn waves(&mut self) {
        if self.drawn.waves.is_empty() {
            return;
        }
        let y = self.y;
        self.name("soft", (8.0, y + 11.0), "Waves", GROUP_CHARS);
        let end = self.drawn.times_ms.last().copied().unwrap_or(0);
        // A rollout of thousands of waves shows them as one band; numbers only where there is room.
        for wave in self.drawn.waves.iter().take(2_000) {
            let x = self.x_ms(wave.start_ms);
            let w = (self.x_ms(wave.end_ms.unwrap_or(end)) - x).max(1.0);
            let back = wave.direction == Direction::Rollback;
            let number = wave.wave.to_string();
            let fits = w > 7.0 * number.len() as f64 + 6.0;
            let until = wave.end_ms.map_or_else(|| "not ended".to_owned(), |end| format!("to +{}", Millis(end)));
            let way = if back { ", on the way back" } else { "" };
            self.out.waves.push(WaveShape {
                class: if back { "wave back" } else { "wave" },
                x: px(x),
                y: px(y),
                w: px((w - 1.0).max(0.8)),
                title: format!("Wave {number}{way}: from +{} {until}", Millis(wave.start_ms)),
                label: if fits { number } else { String::new() },
                label_x: px(x + w / 2.0 - 0.5),
                label_y: px(y + 11.0),
            });
        }
        self.y += 20.0;
    }

    fn rows(&mut self) {
        let drawn = self.drawn;
        let pitch = (560.0 / drawn.rows.len().max(1) as f64).floor().clamp(5.0, 26.0);
        let gap = if pitch < 12.0 { 1.0 } else { 3.0 };
        self.out.shaded = pitch - gap < THIN;
        let mut group: Option<(&[String], f64)> = None;
        for row in &drawn.rows {
            let parent = row.path.split_last().map_or(&[][..], |(_, parent)| parent);
            if group.is_none_or(|(seen, _)| seen != parent) {
                if let Some((seen, top)) = group {
                    self.group(seen, top);
                    self.y += if pitch < 12.0 { 5.0 } else { 8.0 };
                }
                group = Some((parent, self.y));
            }
            self.row(row, pitch, pitch - gap, parent.is_empty());
        }
        if let Some((seen, top)) = group {
            self.group(seen, top);
        }
        self.y += 4.0;
    }

    fn group(&mut self, parent: &[String], top: f64) {
        if parent.is_empty() {
            return;
        }
        self.name("group", (8.0, top + 9.0), &parent.join("/"), GROUP_CHARS);
        self.out.brackets.push(Line { x: px(LEFT - 4.0), y1: px(top), y2: px(self.y - 1.0) });
    }

    fn row(&mut self, row: &PropagationRow, pitch: f64, height: f64, alone: bool) {
        let y = self.y;
        let name = row.path.last().map(String::as_str).unwrap_or_default();
        if pitch >= 12.0 {
            let (x, most) = if alone { (8.0, NAME_CHARS * 2) } else { (92.0, NAME_CHARS) };
            self.name(if pitch < 18.0 { "small" } else { "name" }, (x, y + height / 2.0 + 4.0), name, most);
        }
        let end = mix::of_row(row, self.drawn.times_ms.len());
        let said = mix::in_words(end.map(u64::from));
        let title = sanitize(&format!("{}: at the end {said}", row.path.join("/")));
        let layers = if height < THIN {
            self.shades(row, (y, height))
        } else {
            (0..STACK.len()).filter_map(|layer| self.layer(row, layer, (y, height))).collect()
        };
        self.out.rows.push(RowShape { y: px(y), h: px(height), title, layers });
        self.y += pitch;
    }

    /// A thin row over time: a shade for how much of it is new, or back; above it what is changing, below it what has
    /// failed.
    fn shades(&self, row: &PropagationRow, (y, height): (f64, f64)) -> Vec<Layer> {
        let mut areas: BTreeMap<(u8, &'static str, u64), String> = BTreeMap::new();
        let ends = row.changes.iter().skip(1).map(|change| self.x(change[0])).chain([RIGHT]);
        for (change, end) in row.changes.iter().zip(ends) {
            let &[moment, old, changing, new, failed, back] = change;
            let units = u64::from(old) + u64::from(changing) + u64::from(new) + u64::from(failed) + u64::from(back);
            let (x, end) = (self.x(moment), end.max(self.x(moment) + 0.6));
            let mut add = |key, top: f64, high: f64| {
                let d = format!("M{} {}H{}v{}H{}z", px(x), px(top), px(end), px(high), px(x));
                areas.entry(key).or_default().push_str(&d);
            };
            let shade = |count: u32| (u64::from(count) * SHADES).div_ceil(units.max(1));
            if back > 0 && back >= new {
                add((0, "back", shade(back)), y, height);
            } else if new > 0 {
                add((0, "new", shade(new)), y, height);
            }
            if changing > 0 {
                add((1, "changing", SHADES), y, height * 0.5);
            }
            if failed > 0 {
                add((2, "failed", SHADES), y + height * 0.62, height * 0.38);
            }
        }
        areas.into_iter().map(|((_, class, shade), d)| Layer { class: format!("{class} s{shade}"), d }).collect()
    }

    /// One phase of a row over time: an area for each stretch in which there is any of it.
    fn layer(&self, row: &PropagationRow, layer: usize, (y, height): (f64, f64)) -> Option<Layer> {
        let mut d = String::new();
        let mut stretch: Vec<(f64, f64, f64)> = Vec::new();
        for change in &row.changes {
            let &[moment, old, changing, new, failed, back] = change;
            let parts = heights([old, changing, new, failed, back], height);
            let x = self.x(moment);
            // What went back hangs from the top, everything else stands on the ground.
            let (low, high) = match layer {
                3 => (y + parts[3], y),
                _ => {
                    let below: f64 = parts[..layer].iter().sum();
                    (y + height - below, y + height - below - parts[layer])
                }
            };
            if parts[layer] > 0.0 {
                stretch.push((x, low, high));
            } else {
                area(&mut d, &stretch, x);
                stretch.clear();
            }
        }
        area(&mut d, &stretch, RIGHT);
        (!d.is_empty()).then(|| Layer { class: PHASES[STACK[layer]].0.to_owned(), d })
    }

    fn traffic(&mut self) {
        let drawn = self.drawn;
        if drawn.shares.is_empty() {
            return;
        }
        const HEIGHT: f64 = 44.0;
        let (y, floor) = (self.y + 6.0, self.y + 6.0 + HEIGHT);
        let mut d = format!("M{} {}", px(self.x_ms(drawn.shares[0].at_ms)), px(floor));
        for share in &drawn.shares {
            let top = floor - f64::from(share.basis_points.min(10_000)) / 10_000.0 * HEIGHT;
            d.push_str(&format!("H{}V{}", px(self.x_ms(share.at_ms)), px(top)));
        }
        d.push_str(&format!("H{}V{}z", px(RIGHT), px(floor)));
        self.name("soft", (8.0, y + HEIGHT / 2.0 + 4.0), "Traffic share", 16);
        let most = drawn.shares.iter().map(|share| share.basis_points).max().unwrap_or(0);
        let text = format!("The new release's share of the traffic; at most {}.", sentence::percent(most));
        let (label_y, top_y) = (px(floor), px(y + 9.0));
        self.out.traffic = Some(Traffic { y: px(y), h: px(HEIGHT), d, label_y, top_y, text });
        self.y = floor + 6.0;
    }

    fn marks(&mut self) {
        let drawn = self.drawn;
        if drawn.decisions.is_empty() {
            return;
        }
        let y = self.y + 12.0;
        self.name("soft", (8.0, y + 4.0), "Decisions", 16);
        let mut last = None;
        for decision in &drawn.decisions {
            let x = self.x_ms(decision.at_ms);
            let mood = lanes::verdict_mood(decision.verdict);
            // Holds in a row lie on each other; one is enough to see that it held.
            let place = (x.round() as u64, mood.name());
            if last.replace(place) == Some(place) {
                continue;
            }
            if decision.verdict == Verdict::Rollback {
                self.out.falls.push(px(x));
            }
            let word = sentence::verdict_word(decision.verdict);
            let title = sanitize(&format!("+{}: {word}: {}", Millis(decision.at_ms), decision.reason));
            let path = diamond(x.round() as u64, y.round() as u64, 6);
            self.out.marks.push(MarkShape { class: mood.name(), path, title });
        }
        self.y += 26.0;
    }

    fn tiles(&mut self) {
        let rows = &self.drawn.rows;
        let (w, h, gap) = match rows.len() {
            0..=6 => (128.0, 52.0, 10.0),
            7..=24 => (92.0, 40.0, 9.0),
            25..=60 => (58.0, 32.0, 8.0),
            _ => (34.0, 24.0, 6.0),
        };
        let label = 15.0;
        let (mut x, mut y) = (LEFT, 2.0);
        let mut group: Option<&[String]> = None;
        for row in rows {
            let parent = row.path.split_last().map_or(&[][..], |(_, parent)| parent);
            let fresh = group != Some(parent);
            if x + w > RIGHT + 1.0 || (fresh && group.is_some()) {
                (x, y) = (LEFT, y + h + label + if fresh { 6.0 } else { 0.0 });
            }
            if fresh {
                group = Some(parent);
                self.tile_name("group", (8.0, y + 12.0), ("start", &parent.join("/"), 22));
            }
            let name = row.path.last().map(String::as_str).unwrap_or_default();
            let name = if row.nodes > 1 { first_of(name) } else { name.to_owned() };
            self.tile_name("tiny", (x + w / 2.0, y + h + 10.0), ("middle", &name, (w / 4.8) as usize));
            let tile = tile(row, self.at, (x, y), (w, h));
            self.out.tiles.push(tile);
            x += w + gap;
        }
        self.out.tiles_height = px(y + h + label);
    }

    fn tile_name(
        &mut self,
        class: &'static str,
        (x, y): (f64, f64),
        (anchor, text, most): (&'static str, &str, usize),
    ) {
        if !text.is_empty() {
            let name = Name { class, x: px(x), y: px(y), anchor, text: short(text, most), full: sanitize(text) };
            self.out.tile_names.push(name);
        }
    }
}

/// Of neighbours that were put together the first, and that there are more.
fn first_of(name: &str) -> String {
    format!("{}+", name.split_once(" … ").map_or(name, |(first, _)| first))
}

fn tile(row: &PropagationRow, at: usize, (x, y): (f64, f64), (w, h): (f64, f64)) -> Tile {
    let parts = heights(mix::of_row(row, at), h);
    let mut below = 0.0;
    let mut shapes = Vec::with_capacity(parts.len());
    for (index, height) in parts.into_iter().enumerate() {
        let top = if index == 3 { y } else { y + h - below - height };
        below += height;
        shapes.push(Part { class: PHASES[STACK[index]].0, y: px(top), h: px(height) });
    }
    let title = sanitize(&format!("{}: {}", row.path.join("/"), count_of(u64::from(row.units), "unit", "units")));
    Tile { x: px(x), y: px(y), w: px(w), h: px(h), title, parts: shapes }
}

/// Adds the area of a stretch, given as its left edges with bottom and top, up to its end.
fn area(d: &mut String, stretch: &[(f64, f64, f64)], end: f64) {
    let Some((x, low, high)) = stretch.first() else { return };
    d.push_str(&format!("M{} {}V{}", px(*x), px(*low), px(*high)));
    for (x, _, high) in &stretch[1..] {
        d.push_str(&format!("H{}V{}", px(*x), px(*high)));
    }
    // A stretch at the very end still has a width.
    let end = end.max(stretch.last().map_or(end, |(x, _, _)| x + 0.8));
    d.push_str(&format!("H{}", px(end)));
    for (x, low, _) in stretch.iter().rev() {
        d.push_str(&format!("V{}H{}", px(*low), px(*x)));
    }
    d.push('z');
}
