//! One page in one file: no request to anywhere, readable in light, in dark and on paper, and without a script. The one
//! script there is moves the moment that a picture shows.
//!
//! The templates get nothing but texts and numbers, and handlebars escapes every one of them; there are no raw
//! insertions, no links and no attributes that hold a text from outside, except titles. Control and bidirectional
//! characters are made visible before. The policy in the head forbids everything else as well.

mod board;
mod chart;
mod expected;
mod page;
mod plots;
mod script;
mod shape;
mod spread;
mod strip;
mod study;

use handlebars::Handlebars;
use serde::Serialize;
use vice_core::{Code, Context, Result};

use vice_core::payload::simulation::SimulationReport;

use crate::view::dashboard::Dashboard;
use crate::view::rollout::RolloutReport;

/// Every template by its name.
const TEMPLATES: [(&str, &str); 11] = [
    ("style", include_str!("style.css")),
    ("pictures", include_str!("pictures.css")),
    ("head", include_str!("head.hbs")),
    ("chart", include_str!("chart.hbs")),
    ("checks", include_str!("checks.hbs")),
    ("rollout", include_str!("rollout.hbs")),
    ("dashboard", include_str!("dashboard.hbs")),
    ("spread", include_str!("spread.hbs")),
    ("spread_script", script::SPREAD),
    ("expected", include_str!("expected.hbs")),
    ("simulation", include_str!("simulation.hbs")),
];

/// The page of a rollout.
///
/// # Errors
/// `Internal` when a template does not fit its values, which is a bug.
pub fn rollout(report: &RolloutReport) -> Result<String> {
    render("rollout", &page::Page::new(report))
}

/// The page of a dashboard.
///
/// # Errors
/// `Internal` when a template does not fit its values, which is a bug.
pub fn dashboard(board: &Dashboard) -> Result<String> {
    render("dashboard", &board::Board::new(board))
}

/// The page of a simulation.
///
/// # Errors
/// `Internal` when a template does not fit its values, which is a bug.
pub fn simulation(report: &SimulationReport) -> Result<String> {
    render("simulation", &study::Study::new(report))
}

fn render(name: &str, values: &impl Serialize) -> Result<String> {
    let mut templates = Handlebars::new();
    templates.set_strict_mode(true);
    for (name, text) in TEMPLATES {
        templates
            .register_template_string(name, text)
            .context(Code::Internal, || format!("The template {name} does not parse."))?;
    }
    templates.render(name, values).context(Code::Internal, || format!("The template {name} does not fit its values."))
}

#[cfg(test)]
mod tests {
    use super::TEMPLATES;

    #[test]
    fn no_template_inserts_raw_text_or_could_run_anything() {
        for (name, text) in TEMPLATES {
            let text = text.replace("'unsafe-inline'", "").replace("<script>{{> spread_script}}</script>", "");
            // Triple braces and `&` insert without escaping; the rest would load or run something.
            for bad in
                ["{{{", "{{&", "{{~&", "safe", "<script", "javascript:", "http://", "https://", "@import", "url("]
            {
                assert!(!text.contains(bad), "{name} contains {bad}");
            }
            let handlers = text.split_whitespace().filter(|word| word.starts_with("on") && word.contains('='));
            assert_eq!(handlers.count(), 0, "{name} has an event handler");
            // Without quotes around it, an escaped value could still end an attribute.
            assert!(!text.contains("={{"), "{name} has an attribute without quotes");
        }
    }
}
