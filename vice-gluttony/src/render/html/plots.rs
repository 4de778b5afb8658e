//! Plots of a simulation: distributions, time against impact, intervals on a common axis. Every coordinate is computed
//! here, the templates only write them down.

use serde::Serialize;
use vice_core::payload::simulation::{
    ComparedFigure, Histogram, Pareto, ParetoPoint, Quantiles, SimulationReport, Story, StoryKind,
};
use vice_core::text::sanitize;

use super::shape::{Scale, Tick, px, short};
use crate::view::figure::{duration, named, number, time_of};

/// Points that a person can tell apart; of more, those on the front come first.
const POINTS_MAX: usize = 500;
/// Bars: more are thinner than a pixel.
const BARS_MAX: usize = 200;

/// One figure of every story over the runs, below each other on one axis.
#[derive(Debug, Serialize)]
pub(super) struct Distribution {
    title: &'static str,
    width: u64,
    height: String,
    floor: String,
    ticks: Vec<Tick>,
    tick_y: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Serialize)]
struct Panel {
    class: &'static str,
    name: String,
    name_y: String,
    floor: String,
    bars: Vec<Bar>,
    median_x: String,
    top: String,
    label: String,
}

#[derive(Debug, Serialize)]
struct Bar {
    x: String,
    y: String,
    w: String,
    h: String,
    title: String,
}

/// How a story is coloured, everywhere.
pub(super) const fn story_class(kind: StoryKind) -> &'static str {
    match kind {
        StoryKind::Healthy => "healthy",
        StoryKind::Unhealthy => "unhealthy",
    }
}

const DIST_WIDTH: f64 = 490.0;
const PANEL: f64 = 84.0;

impl Distribution {
    fn new(report: &SimulationReport, what: Shown, of: fn(&Story) -> Option<(&Histogram, &Quantiles)>) -> Option<Self> {
        let found = report.stories.iter().filter_map(|story| Some((story, of(story)?)));
        let found: Vec<_> = found.filter(|(_, (histogram, _))| sound(histogram)).collect();
        let edges = found.iter().flat_map(|(_, (histogram, _))| histogram.edges.iter().copied());
        let (low, high) = edges.fold((f64::MAX, f64::MIN), |(low, high), edge| (low.min(edge), high.max(edge)));
        if found.is_empty() {
            return None;
        }
        let low = if low < high * 0.4 { low.min(0.0) } else { low };
        let scale = Scale::even((low, high), (8.0, DIST_WIDTH - 12.0));
        let panel = |(index, (story, figures)): (usize, &(&Story, (&Histogram, &Quantiles)))| {
            panel(story, *figures, (&scale, what), 4.0 + index as f64 * PANEL)
        };
        let floor = 4.0 + found.len() as f64 * PANEL;
        let values = if what == Shown::Time { scale.duration_ticks(6) } else { scale.ticks(6.0) };
        let tick = |value: f64| {
            let x = scale.place(value);
            Tick { x: px(x), anchor: if x < 24.0 { "start" } else { "middle" }, label: what.axis(value) }
        };
        Some(Self {
            title: what.title(),
            width: DIST_WIDTH as u64,
            height: px(floor + 20.0),
            floor: px(floor),
            ticks: values.into_iter().map(tick).collect(),
            tick_y: px(floor + 15.0),
            panels: found.iter().enumerate().map(panel).collect(),
        })
    }

    /// Those of which there is anything to see.
    pub(super) fn all(report: &SimulationReport) -> Vec<Self> {
        let time = Self::new(report, Shown::Time, times_of);
        let exposure = Self::new(report, Shown::Hours, exposure_of);
        time.into_iter().chain(exposure).collect()
    }
}

fn times_of(story: &Story) -> Option<(&Histogram, &Quantiles)> {
    Some((story.total_ms_histogram.as_ref()?, &story.total_ms))
}

fn exposure_of(story: &Story) -> Option<(&Histogram, &Quantiles)> {
    Some((story.exposure_server_hours_histogram.as_ref()?, story.exposure_server_hours.as_ref()?))
}

/// What is distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Time,
    Hours,
}

impl Shown {
    const fn title(self) -> &'static str {
        match self {
            Self::Time => "Total time",
            Self::Hours => "Exposure until the end, in server-hours",
        }
    }

    fn axis(self, value: f64) -> String {
        match self {
            Self::Time => axis_duration(value),
            Self::Hours => format!("{} h", number(value)),
        }
    }
}

/// A duration on an axis.
fn axis_duration(ms: f64) -> String {
    crate::render::axis::tick_label(crate::view::figure::millis(ms))
}

/// Whether it can be drawn: someone else filled it.
fn sound(histogram: &Histogram) -> bool {
    let bars = histogram.counts.len();
    (1..=BARS_MAX).contains(&bars)
        && histogram.edges.len() == bars + 1
        && histogram.edges.iter().all(|edge| edge.is_finite())
        && histogram.edges.windows(2).all(|pair| pair[0] <= pair[1])
}

fn panel(
    story: &Story,
    (histogram, quantiles): (&Histogram, &Quantiles),
    (scale, what): (&Scale, Shown),
    top: f64,
) -> Panel {
    let floor = top + PANEL - 8.0;
    let most = histogram.counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let all = histogram.counts.iter().sum::<u64>().max(1) as f64;
    let bar = |(index, count): (usize, &u64)| {
        let (from, to) = (histogram.edges[index], histogram.edges[index + 1]);
        let (x, end) = (scale.place(from), scale.place(to));
        let height = *count as f64 / most * (PANEL - 28.0);
        let height = if *count > 0 { height.max(1.5) } else { 0.0 };
        let share = crate::view::figure::percent(*count as f64 / all);
        let title = format!("{} to {}: {share} of the runs", what.axis(from), what.axis(to));
        Bar { x: px(x), y: px(floor - height), w: px((end - x - 0.6).max(0.8)), h: px(height), title }
    };
    let bars = histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0).map(bar).collect();
    let last = histogram.edges.last().copied().unwrap_or(quantiles.p50);
    // Runs that were not over are not drawn; a median among them lies beyond what is.
    let median = scale.place(quantiles.p50.min(last));
    let full = |value: f64| match what {
        Shown::Time => time_of(value, story.unfinished.as_ref()),
        Shown::Hours => what.axis(value),
    };
    Panel {
        class: story_class(story.kind),
        name: short(&story.name, 40),
        name_y: px(top + 12.0),
        floor: px(floor),
        bars,
        median_x: px(median),
        top: px(top + 16.0),
        label: format!("median {}, 95 % {}", full(quantiles.p50), full(quantiles.p95)),
    }
}

/// Time against impact.
#[derive(Debug, Serialize)]
pub(super) struct ParetoPlot {
    width: u64,
    height: u64,
    text: String,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<YTick>,
    y_title: String,
    x_title: &'static str,
    points: Vec<Dot>,
    front: String,
    labels: Vec<Label>,
    best: Option<Sign>,
    current: Option<Sign>,
    law: Option<Sign>,
    law_words: Option<String>,
    hidden: Option<String>,
    rows: Vec<[String; 5]>,
}

#[derive(Debug, Serialize)]
struct YTick {
    y: String,
    label_y: String,
    label: String,
}

#[derive(Debug, Serialize)]
struct Dot {
    class: &'static str,
    x: String,
    y: String,
    title: String,
}

#[derive(Debug, Serialize)]
struct Label {
    x: String,
    y: String,
    text: String,
}

#[derive(Debug, Serialize)]
struct Sign {
    path: String,
    title: String,
    x: String,
    y: String,
    anchor: &'static str,
    words: &'static str,
}

const P_WIDTH: f64 = 1000.0;
const P_HEIGHT: f64 = 400.0;

impl ParetoPlot {
    /// The plot; none without points.
    pub(super) fn new(pareto: &Pareto) -> Option<Self> {
        let finite = |point: &&ParetoPoint| point.time_ms.is_finite() && point.impact.is_finite();
        let mut points: Vec<&ParetoPoint> = pareto.points.iter().filter(finite).collect();
        if points.is_empty() {
            return None;
        }
        points.sort_by(|one, two| one.efficient.cmp(&two.efficient).reverse());
        let hidden = points.len().saturating_sub(POINTS_MAX);
        points.truncate(POINTS_MAX);
        let marked: Vec<&ParetoPoint> = pareto.best.iter().chain(&pareto.current).filter(finite).collect();
        let law = pareto.square_root_law.as_ref();
        let all = || points.iter().chain(&marked);
        let times = all().map(|point| point.time_ms).chain(law.and_then(|law| law.time_ms));
        let impacts = all().map(|point| point.impact).chain(law.and_then(|law| law.impact));
        let x = Scale::of(times, (70.0, P_WIDTH - 24.0));
        let y = Scale::of(impacts, (P_HEIGHT - 44.0, 16.0));
        let unit = sanitize(pareto.impact_unit.as_deref().unwrap_or("units of impact"));
        let mut front: Vec<&ParetoPoint> = points.iter().copied().filter(|point| point.efficient).collect();
        front.sort_by(|one, two| one.time_ms.total_cmp(&two.time_ms));
        let place = |point: &ParetoPoint| (x.place(point.time_ms), y.place(point.impact));
        let sign = |point: &ParetoPoint, words, shape: fn(f64, f64) -> String| {
            sign(place(point), (words, said(point, &unit)), shape)
        };
        Some(Self {
            width: P_WIDTH as u64,
            height: P_HEIGHT as u64,
            text: in_words(&front, pareto, &unit),
            x_ticks: x_ticks(&x),
            y_ticks: y_ticks(&y),
            y_title: format!("Mean impact of a bad release, in {unit}{}", if y.log { " (by powers)" } else { "" }),
            x_title: if x.log {
                "Median time of a healthy release (by powers)"
            } else {
                "Median time of a healthy release"
            },
            points: points.iter().map(|point| dot(point, place(point), &unit)).collect(),
            front: front_path(&front, &place),
            labels: labels(&front, &marked, &place),
            best: pareto.best.as_ref().map(|best| sign(best, "least whole cost", star)),
            current: pareto.current.as_ref().map(|current| sign(current, "this plan", ring)),
            law: law.and_then(|law| {
                let at = (x.place(law.time_ms?), y.place(law.impact?));
                Some(self::sign(at, ("square-root law", law_words(law)), triangle))
            }),
            law_words: law.map(law_words),
            hidden: (hidden > 0).then(|| format!("{hidden} more points are not drawn, none of them on the front.")),
            rows: front.iter().take(40).map(|point| table_row(point)).collect(),
        })
    }
}

fn law_words(law: &vice_core::payload::simulation::SquareRootLaw) -> String {
    let numeric = law.numeric_growth_per_hour.map_or_else(String::new, |g| format!(" (by search: {})", number(g)));
    let time = law.time_ms.map_or_else(String::new, |time| format!(", {} in all", duration(time)));
    let impact = law.impact.map_or_else(String::new, |impact| format!(", impact {}", number(impact)));
    format!(
        "The square-root law puts the best ramp at e^({} t) with t in hours{numeric}{time}{impact}.",
        number(law.growth_per_hour)
    )
}

fn table_row(point: &ParetoPoint) -> [String; 5] {
    [
        format!("x{}", number(point.growth)),
        duration(point.bake_ms),
        duration(point.time_ms),
        number(point.impact),
        number(point.impact_p99),
    ]
}

fn x_ticks(x: &Scale) -> Vec<Tick> {
    let tick = |value: f64| Tick { x: px(x.place(value)), anchor: "middle", label: axis_duration(value) };
    x.duration_ticks(8).into_iter().map(tick).collect()
}

fn y_ticks(y: &Scale) -> Vec<YTick> {
    let tick = |value: f64| YTick { y: px(y.place(value)), label_y: px(y.place(value) + 4.0), label: number(value) };
    y.ticks(5.0).into_iter().map(tick).collect()
}

fn dot(point: &ParetoPoint, (x, y): (f64, f64), unit: &str) -> Dot {
    Dot { class: if point.efficient { "efficient" } else { "beaten" }, x: px(x), y: px(y), title: said(point, unit) }
}

fn said(point: &ParetoPoint, unit: &str) -> String {
    let [growth, bake, time, impact, p99] = table_row(point);
    format!("waves {growth}, bake {bake}: {time}, {impact} {unit} (99 %: {p99})")
}

/// Whoever is faster than a point of the front and not as harmful as its neighbour does not exist: a stair.
fn front_path(front: &[&ParetoPoint], place: &impl Fn(&ParetoPoint) -> (f64, f64)) -> String {
    let mut d = String::new();
    for (index, point) in front.iter().enumerate() {
        let (x, y) = place(point);
        d.push_str(&if index == 0 { format!("M{} {}", px(x), px(y)) } else { format!("H{}V{}", px(x), px(y)) });
    }
    d
}

/// Labels of the front where there is room for them.
fn labels(front: &[&ParetoPoint], marked: &[&ParetoPoint], place: &impl Fn(&ParetoPoint) -> (f64, f64)) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    // What is marked has words of its own, to its right.
    let mut taken: Vec<(f64, f64)> = marked.iter().map(|point| place(point)).collect();
    for point in front {
        let (x, y) = place(point);
        let free = taken.iter().all(|(other_x, other_y)| (x - other_x).abs() > 100.0 || (y - other_y).abs() > 18.0);
        if free && x < P_WIDTH - 120.0 {
            taken.push((x, y));
            let text = format!("x{}, {}", number(point.growth), axis_duration(point.bake_ms));
            labels.push(Label { x: px(x + 8.0), y: px(y - 6.0), text });
        }
    }
    labels
}

fn in_words(front: &[&ParetoPoint], pareto: &Pareto, unit: &str) -> String {
    let front: Vec<String> = front.iter().take(12).map(|point| said(point, unit)).collect();
    let best = pareto.best.map_or_else(String::new, |best| format!(" Best: {}.", said(&best, unit)));
    format!("Time against impact. Nothing is both faster and less harmful than: {}.{best}", front.join("; "))
}

fn sign((x, y): (f64, f64), (words, title): (&'static str, String), shape: fn(f64, f64) -> String) -> Sign {
    let left = x > P_WIDTH - 150.0;
    Sign {
        path: shape(x, y),
        title,
        x: px(if left { x - 13.0 } else { x + 13.0 }),
        // Two marks often lie close together; the law's words go above it.
        y: px(if words.starts_with("square") { y - 12.0 } else { y + 17.0 }),
        anchor: if left { "end" } else { "start" },
        words,
    }
}

fn star(x: f64, y: f64) -> String {
    let mut d = String::new();
    for corner in 0..10 {
        let radius = if corner % 2 == 0 { 10.0 } else { 4.2 };
        let angle = f64::from(corner) * std::f64::consts::PI / 5.0;
        let (at_x, at_y) = (x + radius * angle.sin(), y - radius * angle.cos());
        d.push_str(&format!("{}{} {}", if corner == 0 { "M" } else { "L" }, px(at_x), px(at_y)));
    }
    d + "z"
}

fn ring(x: f64, y: f64) -> String {
    format!("M{} {}a9 9 0 1 0 18 0a9 9 0 1 0 -18 0z", px(x - 9.0), px(y))
}

fn triangle(x: f64, y: f64) -> String {
    format!("M{} {}l9 15h-18z", px(x), px(y - 9.0))
}

/// An interval around a middle on an axis that several rows share, as a small picture in a cell.
#[derive(Debug, Serialize)]
pub(super) struct Interval {
    class: &'static str,
    x1: String,
    x2: String,
    from: String,
    width: String,
    middle: String,
    zero: Option<String>,
    title: String,
}

/// How wide the small pictures are.
const CELL: f64 = 220.0;

impl Interval {
    /// When a wave runs: thin from the earliest start to the latest end, thick from the median start to the median end.
    pub(super) fn wave(scale: &Scale, start: &Quantiles, end: &Quantiles) -> Self {
        let (from, to) = (scale.place(start.p50), scale.place(end.p50));
        Self {
            class: "healthy",
            x1: px(scale.place(start.p5)),
            x2: px(scale.place(end.p95)),
            from: px(from),
            width: px((to - from).max(1.5)),
            middle: px(to),
            zero: None,
            title: format!("from {} to {} (medians)", duration(start.p50), duration(end.p50)),
        }
    }

    /// A predicted range and where it came out.
    pub(super) fn predicted(scale: &Scale, end: &Quantiles, actual: Option<f64>) -> Self {
        let (from, to) = (scale.place(end.p25), scale.place(end.p75));
        Self {
            class: "healthy",
            x1: px(scale.place(end.p5)),
            x2: px(scale.place(end.p95)),
            from: px(from),
            width: px((to - from).max(1.5)),
            middle: px(scale.place(end.p50)),
            zero: actual.map(|actual| super::chart::diamond(scale.place(actual).round() as u64, 9, 7)),
            title: format!("predicted {} to {}, median {}", duration(end.p5), duration(end.p95), duration(end.p50)),
        }
    }

    /// A paired difference with its interval; each row has its own scale around zero.
    pub(super) fn difference(row: &ComparedFigure) -> Self {
        let ends = [row.lo, row.hi, row.difference];
        let reach = ends.into_iter().filter(|end| end.is_finite()).fold(1e-12, |most: f64, end| most.max(end.abs()));
        let scale = Scale::even((-reach * 1.1, reach * 1.1), (4.0, CELL - 4.0));
        let (from, to) = (scale.place(row.lo), scale.place(row.hi));
        Self {
            class: if clear(row) { "clear" } else { "unclear" },
            x1: px(from),
            x2: px(to),
            from: px(scale.place(row.difference) - 3.0),
            width: px(6.0),
            middle: px(scale.place(0.0)),
            zero: None,
            title: format!("{} to {}", named(&row.figure, row.lo), named(&row.figure, row.hi)),
        }
    }

    /// The axis that wave pictures share.
    pub(super) fn axis(longest: f64) -> Scale {
        Scale::even((0.0, longest), (4.0, CELL - 4.0))
    }
}

/// Whether an interval excludes zero.
pub(super) fn clear(row: &ComparedFigure) -> bool {
    row.lo > 0.0 || row.hi < 0.0
}
