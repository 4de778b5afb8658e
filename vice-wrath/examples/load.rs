//! `vice wrath load` without the rest of vice, for `bench/load`: its figures as JSON.

use clap::Parser as _;
use serde_json::Value;
use vice_core::app::StopSignal;
use vice_core::port::notifier::Severity;
use vice_core::ui::{Format, Progress, Ui};
use vice_core::{Code, Fault, Result};
use vice_wrath::cmd::{Around, LoadArgs, run_load};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: LoadArgs,
}

/// Nobody looks on.
struct Silent;

impl Ui for Silent {
    fn format(&self) -> Format {
        Format::Json
    }
    fn say(&self, _: Severity, _: &str) {}
    fn progress(&self, _: Progress) {}
    fn emit(&self, _: &str, _: &Value) -> bool {
        true
    }
    fn ask(&self, _: &str, flag: &str) -> Result<String> {
        Err(Fault::new(Code::NoInput, flag))
    }
    fn width(&self) -> usize {
        100
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn main() -> Result<()> {
    let line = Line::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fault::internal("No runtime.").because(error))?;
    let stop = StopSignal::default();
    let around = Around { ui: &Silent, dir: std::path::Path::new("."), stop: &stop };
    let outcome = runtime.block_on(run_load(around, line.args))?;
    println!("{:#}", outcome.json);
    Ok(())
}
