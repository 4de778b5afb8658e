//! Line charts as SVG: what a page of a run needs, and no more.

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 10.0;

/// The most points of a line; more can't be told apart on a screen.
const POINTS_MAX: usize = 700;

/// One line of a chart.
pub(super) struct Line<'a> {
    /// Its name, which also names its class: `line-0` and so on by order.
    pub(super) name: &'a str,
    /// Its points, from left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// How an axis is written.
pub(super) struct Axis<'a> {
    /// What it shows.
    pub(super) title: &'a str,
    /// A value as text.
    pub(super) label: fn(f64) -> String,
}

/// The chart. Values begin at zero; `ticks` are the places on the horizontal axis that are named.
pub(super) fn chart(lines: &[Line<'_>], x: &Axis<'_>, y: &Axis<'_>, ticks: &[(f64, String)]) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let right = all().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
    let highest = ceiling(all().map(|point| point.1).fold(0.0, f64::max));
    let place = |(px, py): (f64, f64)| {
        let across = LEFT + (WIDTH - LEFT - 10.0) * (px / right);
        (across, HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (py / highest))
    };
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{} over {}\">", y.title, x.title);
    for part in 0..=4 {
        let value = highest * f64::from(part) / 4.0;
        let (_, height) = place((0.0, value));
        let label = (y.label)(value);
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{height:.1}\" y2=\"{height:.1}\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - 10.0,
            LEFT - 6.0,
            height + 4.0
        ));
    }
    for (value, label) in ticks {
        let (across, _) = place((*value, 0.0));
        svg.push_str(&format!(
            "<text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            HEIGHT - 8.0
        ));
    }
    for (index, line) in lines.iter().enumerate() {
        let points = thinned(&line.points).map(|point| {
            let (across, height) = place(point);
            format!("{across:.1},{height:.1}")
        });
        let points = points.collect::<Vec<_>>().join(" ");
        svg.push_str(&format!(
            "<polyline class=\"line line-{index}\" points=\"{points}\"><title>{}</title></polyline>",
            line.name
        ));
    }
    svg.push_str("</svg>");
    svg
}

/// Every n-th point, such that there are not too many.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = (f64, f64)> + '_ {
    points.iter().copied().step_by(points.len().div_ceil(POINTS_MAX).max(1))
}

/// A round number that is not below.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_ends_at_round_numbers_and_has_few_points() {
        for (value, top) in [(0.0, 1.0), (7.0, 10.0), (130.0, 200.0), (240.0, 250.0), (1e6, 1e6)] {
            assert!((ceiling(value) - top).abs() < 1e-6, "{value}");
        }
        let points = (0..100_000).map(|at| (f64::from(at), 1.0)).collect();
        let axis = Axis { title: "a", label: |value| format!("{value}") };
        let svg = chart(&[Line { name: "n", points }], &axis, &axis, &[(0.0, "0".into())]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(svg.matches(',').count() <= POINTS_MAX + 1);
    }
}
