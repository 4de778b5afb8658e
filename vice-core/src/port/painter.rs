//! Drawing: whoever computes a value that deserves a picture does not know how pictures are made.

use crate::fault::Result;
use crate::payload::simulation::SimulationReport;
use crate::ui::Format;

/// The shape of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// For a terminal of this many columns, with styles that the terminal layer may strip.
    Text {
        /// The columns.
        width: usize,
    },
    /// One self-contained page.
    Html,
    /// Markdown.
    Markdown,
}

impl PictureFormat {
    /// The picture that a command's format means; text for the formats that are not pictures.
    #[must_use]
    pub const fn of(format: Format, width: usize) -> Self {
        match format {
            Format::Html => Self::Html,
            Format::Markdown => Self::Markdown,
            _ => Self::Text { width },
        }
    }
}

/// Draws.
pub trait Painter: Send + Sync + 'static {
    /// The picture of a simulation. Texts in the report may hold anything; the picture is harmless.
    ///
    /// # Errors
    /// `Internal` when it can't be drawn, which is a bug.
    fn simulation(&self, report: &SimulationReport, format: PictureFormat) -> Result<String>;
}
