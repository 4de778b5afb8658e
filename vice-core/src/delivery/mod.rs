//! How often and how well deploys go: the runs of each environment as the events tell them, and the figures that follow. Reports
//! and `vice greed memory` show the same figures, because they are computed here.

mod figures;
mod lead;
mod load;

pub use figures::{DEFINITIONS, Figures, Run, WINDOW_DAYS, figures, median};
pub use lead::{Origin, attribute};
pub use load::{Origins, days_before, origins, runs};
