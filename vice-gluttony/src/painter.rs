//! The port by which others have their values drawn.

use vice_core::Result;
use vice_core::payload::simulation::SimulationReport;
use vice_core::port::painter::{Painter, PictureFormat};

use crate::render::{html, markdown, terminal};

/// Draws what other crates compute.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gluttony;

impl Painter for Gluttony {
    fn simulation(&self, report: &SimulationReport, format: PictureFormat) -> Result<String> {
        match format {
            PictureFormat::Text { width } => Ok(terminal::simulation(report, width)),
            PictureFormat::Html => html::simulation(report),
            PictureFormat::Markdown => Ok(markdown::simulation(report)),
        }
    }
}
