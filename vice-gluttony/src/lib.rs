//! gluttony reports: it reads the history, makes view models of it, and shows them on the terminal, as Markdown, as a
//! page and as JSON.
//!
//! The way is always the same: `load` reads the streams that a report needs and nothing else, `view` computes a plain
//! value from them without any I/O, `render` turns that value into text. A renderer never reads the history and a view
//! never knows how it will look. Nothing here changes anything, except that the action `report` may write one file
//! inside the workspace.
#![warn(missing_docs)]

mod action;
pub mod cmd;
mod load;
mod outfile;
mod painter;
pub mod render;
pub mod view;

pub use action::actions;
pub use load::{dashboard, rollout};
pub use painter::Gluttony;
