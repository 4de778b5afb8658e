//! Projects, requests and fakes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vice_core::manifest::Project;
use vice_core::payload::verification::{CheckOutcome, CheckResult, SuiteResult};
use vice_core::port::command::{CommandOutput, CommandRunner, CommandSpec, Ended};
use vice_core::port::config::{ConfigEntry, ConfigValue, ResolvedConfig};
use vice_core::port::verifier::{Verifier, VerifyRequest};
use vice_core::template::Vars;
use vice_core::time::SystemClock;
use vice_core::{Fault, Millis, Result, Secret};
use vice_wrath::Wrath;

/// A project with these checks.
pub(crate) fn project(checks: &str) -> Arc<Project> {
    let text = format!("name = \"hello\"\n[env.dev]\n[env.int]\n{checks}");
    Arc::new(Project::parse("/project".into(), "vice.toml".into(), text.as_str()).unwrap())
}

pub(crate) fn request(checks: &str, url: &str) -> VerifyRequest {
    VerifyRequest {
        project: project(checks),
        env: "dev".parse().unwrap(),
        only: Vec::new(),
        tags: Vec::new(),
        direction: None,
        vars: Vars::from(
            [("project", "hello"), ("env", "dev"), ("version", "1.2"), ("env.url", url)]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
        config: None,
        deadline: Millis::from_secs(60),
    }
}

pub(crate) fn provider() {
    // A second installation is refused, and the first is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
}

pub(crate) fn wrath(runner: Arc<FakeRunner>) -> Wrath {
    provider();
    Wrath::new(Arc::new(SystemClock), runner)
}

/// Runs checks against a URL.
pub(crate) async fn verify(checks: &str, url: &str) -> SuiteResult {
    run(request(checks, url)).await.unwrap()
}

pub(crate) async fn run(request: VerifyRequest) -> Result<SuiteResult> {
    wrath(Arc::default()).verify(request).await
}

/// Runs one check against a URL.
pub(crate) async fn one(check: &str, url: &str) -> CheckResult {
    let mut suite = verify(&format!("[check.a]\n{check}"), url).await;
    assert_eq!(suite.checks.len(), 1);
    suite.checks.remove(0)
}

pub(crate) async fn refused(checks: &str) -> Fault {
    run(request(checks, "http://127.0.0.1:9")).await.unwrap_err()
}

pub(crate) fn outcomes(suite: &SuiteResult) -> Vec<(&str, CheckOutcome)> {
    suite.checks.iter().map(|check| (check.name.as_str(), check.outcome)).collect()
}

pub(crate) fn with_secret(mut request: VerifyRequest, key: &str, secret: &str) -> VerifyRequest {
    let entry = ConfigEntry {
        value: ConfigValue::Secret(Secret::new(secret)),
        origin: serde_json::from_value(serde_json::json!({ "layer": "config/dev.toml" })).unwrap(),
    };
    let entries = BTreeMap::from([(key.to_owned(), entry)]);
    request.config = Some(ResolvedConfig { entries, digest: "x".to_owned(), ..ResolvedConfig::default() });
    request
}

/// Remembers what was to be run, and answers as told.
pub(crate) struct FakeRunner {
    pub(crate) ran: Mutex<Vec<CommandSpec>>,
    pub(crate) ended: Ended,
    pub(crate) stdout: String,
}

impl Default for FakeRunner {
    fn default() -> Self {
        Self { ran: Mutex::new(Vec::new()), ended: Ended::Exited(0), stdout: String::new() }
    }
}

#[async_trait]
impl CommandRunner for FakeRunner {
    async fn run(&self, spec: CommandSpec) -> Result<CommandOutput> {
        let stdout = spec.masker.mask(&self.stdout);
        self.ran.lock().unwrap().push(spec);
        Ok(CommandOutput {
            ended: self.ended.clone(),
            stdout,
            stderr: String::new(),
            truncated: false,
            took: Millis(3),
        })
    }
}
