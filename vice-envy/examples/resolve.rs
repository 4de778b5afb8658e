//! Measures the effective configuration of a project in this process: `resolve FOLDER ENV KEYS RUNS`. FOLDER has the
//! `vice.toml`, and the private keys lie where `HOME` and `VICE_AGE_IDENTITY_FILE` say. `bench/envy/run` makes both.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark reads its arguments and prints")]

use std::sync::Arc;

use tokio::time::Instant;
use vice_core::app::ProcessEnv;
use vice_core::id::EnvName;
use vice_core::manifest::Project;
use vice_core::port::config::{ConfigSource, ConfigValue};
use vice_core::time::SystemClock;
use vice_envy::Envy;

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, folder, env, keys, runs] = args.as_slice() else {
        return Err("usage: resolve FOLDER ENV KEYS RUNS".into());
    };
    let text = std::fs::read_to_string(format!("{folder}/vice.toml"))?;
    let project = Arc::new(Project::parse(folder.into(), "vice.toml".into(), text)?);
    let process = ProcessEnv { vars: std::env::vars().collect(), dir: folder.into(), ..ProcessEnv::default() };
    let envy = Envy::new(format!("{folder}/.vice").into(), Arc::new(process), Arc::new(SystemClock));
    let env = EnvName::new(env.as_str())?;
    let (keys, runs): (usize, usize) = (keys.parse()?, runs.parse()?);
    let mut times = Vec::new();
    for _ in 0..runs {
        let start = Instant::now();
        let config = envy.resolve(&project, &env).await?;
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        let secrets = config.entries.values().filter(|entry| matches!(entry.value, ConfigValue::Secret(_))).count();
        if config.entries.len() != keys {
            return Err(format!("{} keys, {secrets} of them secret", config.entries.len()).into());
        }
    }
    times.sort_by(f64::total_cmp);
    if times.is_empty() {
        return Err("at least one run is needed".into());
    }
    let (low, middle, high) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("{low:.1} ms minimum, {middle:.1} ms median, {high:.1} ms maximum of {}", times.len());
    Ok(())
}
