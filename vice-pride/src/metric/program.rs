//! Numbers that a program of somebody else has: `plugin = "NAME"`. It gives a document as a command does, and goes on running
//! between two windows. What it can't tell is trouble, and never a number.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use vice_core::app::ProcessEnv;
use vice_core::capability::BackendInfo;
use vice_core::id::Scope;
use vice_core::manifest::{MetricSpec, Project};
use vice_core::payload::version_in;
use vice_core::secret::Masker;
use vice_core::{Code, Fault, Millis, Result};
use vice_plugin::{PLUGIN, Plugin, Port, Start, find};

use super::scene::Asked;
use super::trouble::Trouble;

/// How long one answer may take when nobody says.
const TIMEOUT: Millis = Millis::from_secs(10);

/// A program that has a metric.
pub(super) struct Program(Plugin);

impl Program {
    /// The program that a metric names. Starts nothing.
    pub(super) fn new(spec: &MetricSpec, env: &Arc<ProcessEnv>, project: &Project, scope: &Scope) -> Result<Self> {
        let name = spec.plugin.as_deref().unwrap_or_default();
        let program = find(env, name)?.ok_or_else(|| {
            let message = format!("There is no program vice-backend-{name} on PATH, and a metric needs it.");
            Fault::new(Code::BackendMissing, message).hint("`vice plugin list` shows what there is.")
        })?;
        let open = json!({
            "project": scope.project, "env": scope.env, "dir": project.root, "settings": spec.settings,
        });
        Ok(Self(started(name, program, env, project.root.clone(), open)))
    }

    /// What one version did in one window, as a document.
    pub(super) async fn measure(&self, spec: &MetricSpec, asked: Asked<'_>) -> Result<Value, Trouble> {
        let unix = |at: jiff::Timestamp| at.as_millisecond() as f64 / 1000.0;
        let body = json!({
            "kind": spec.kind.word(), "version": version_in(asked.version), "release": asked.version,
            "stratum": asked.stratum, "from": unix(asked.window.from), "until": unix(asked.window.until),
        });
        match self.0.call("measure", &body, spec.timeout.unwrap_or(TIMEOUT).as_duration()).await {
            Ok(Value::Null) => Err(Trouble::no_series("The plug-in has no such series.")),
            Ok(document) => Ok(document),
            Err(fault) => Err(trouble(&fault)),
        }
    }

    pub(super) fn describe(&self) -> BackendInfo {
        BackendInfo { kind: PLUGIN, location: self.0.name().to_owned(), shared: true }
    }
}

/// The program, told what it is opened with when it is first asked.
pub(super) fn started(name: &str, program: PathBuf, env: &Arc<ProcessEnv>, dir: PathBuf, open: Value) -> Plugin {
    let (name, env, masker) = (name.to_owned(), Arc::clone(env), Masker::default());
    Plugin::new(Start { name, program, env, dir, port: Port::Metric, open, masker })
}

fn trouble(fault: &Fault) -> Trouble {
    let text = fault.chain().join(" ");
    match fault.code() {
        Code::TimedOut => Trouble::timed_out(text),
        Code::Unreachable => Trouble::unreachable(text),
        Code::Usage | Code::ConfigInvalid | Code::UnknownName | Code::Unsupported | Code::BackendMissing => {
            Trouble::refused(text)
        }
        _ => Trouble::failed(text),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use vice_core::port::metric::{MetricArm, MetricReading, MetricSource, MetricWindow};

    use super::super::document::{Document, Origin};
    use super::super::source::Source;
    use super::super::suite::{suite, under_test};
    use super::*;

    const METRIC: &str = "plugin = \"tally\"\ncounts = \"window\"\nsettings = { log = \"access.log\" }";

    /// The example of the docs, with one thing about it changed.
    fn put(dir: &Path, from: &str, to: &str) -> PathBuf {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/plugin-metric/vice-backend-tally");
        let text = std::fs::read_to_string(example).unwrap();
        assert!(text.contains(from), "{from}");
        let program = dir.join("vice-backend-tally");
        std::fs::write(&program, text.replace(from, to)).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn env(dir: &Path) -> Arc<ProcessEnv> {
        let vars = [("PATH".to_owned(), format!("{}:/usr/local/bin:/usr/bin:/bin", dir.display()))].into();
        Arc::new(ProcessEnv { vars, ..ProcessEnv::default() })
    }

    fn source(dir: &Path) -> Result<Source<Document>> {
        let text = format!("name = \"shop\"\n[env.dev]\n[metric.m]\n{METRIC}\n");
        let project = Project::parse(dir.to_owned(), "vice.toml".into(), text).unwrap();
        let scope = Scope::new("shop".parse().unwrap(), "dev".parse().unwrap());
        let spec = project.manifest.metric["m"].clone();
        let origin = Origin::Program(Box::new(Program::new(&spec, &env(dir), &project, &scope)?));
        let ask = Document { spec: spec.clone(), origin };
        Ok(Source { scope, spec, name: "m".into(), ask, masker: Masker::default() })
    }

    fn window() -> MetricWindow {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        MetricWindow { from: at(60), until: at(120), canary: "2".into(), baseline: "1".into() }
    }

    #[tokio::test]
    async fn the_example_keeps_the_rules_of_a_source_of_metrics() {
        let dir = tempfile::tempdir().unwrap();
        let (program, env) = (put(dir.path(), "", ""), env(dir.path()));
        suite(|| under_test("tally", program.clone(), &env, dir.path())).await;
    }

    #[tokio::test]
    async fn what_breaks_a_rule_is_found_out() {
        for (from, to, rule) in [
            ("== \"some\" else None", "== \"some\" else {\"total\": 0, \"bad\": 0}", "null, and not zero"),
            ("raise Refused(\"backend.failed\"", "return None and Refused(\"x\"", "the version `bad` fails"),
            ("\"total\": 100, \"bad\": 1", "\"total\": 100, \"bad\": 101", "not more bad ones than all"),
            ("\"total\": 100, \"bad\": 1", "\"total\": 99.5, \"bad\": 1", "whole counts"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let (program, env) = (put(dir.path(), from, to), env(dir.path()));
            let folder = dir.path().to_owned();
            let held = async move { suite(|| under_test("tally", program.clone(), &env, &folder)).await };
            let panic = tokio::spawn(held).await.expect_err(to).into_panic();
            let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            assert!(said.contains(rule), "{to}: {said}");
        }
    }

    #[tokio::test]
    async fn what_a_program_counts_is_read_window_by_window() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "", "");
        let log = "59 1 500\n60 1 200\n119.9 1 500\n61 2 200\n62 2 503\n63 2 200\n120 2 500\n";
        std::fs::write(dir.path().join("access.log"), log).unwrap();
        let source = source(dir.path()).unwrap();
        let mark = source.begin(&window()).await.unwrap();
        let metered = source.read(&window(), &mark).await;
        let (canary, baseline) = (MetricArm::errors(3, 1), MetricArm::errors(2, 1));
        assert_eq!(metered.readings, [MetricReading::Counts { stratum: 0, canary, baseline }]);
    }

    #[tokio::test]
    async fn trouble_is_never_a_number() {
        for (from, to, reading) in [
            ("", "", MetricReading::NoSeries),
            ("if not seen:", "if True:", MetricReading::NoSeries),
            ("if not seen:", "if len(seen) < 9: os._exit(1)\n    if True:", MetricReading::Failed),
            ("if not seen:", "print('hello')\n    if True:", MetricReading::Failed),
            ("return None", "return {\"total\": 10, \"bad\": 20}", MetricReading::Failed),
            ("return None", "return {\"total\": -1, \"bad\": 0}", MetricReading::Failed),
            ("return None", "return [1]", MetricReading::NoSeries),
        ] {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), from, to);
            std::fs::write(dir.path().join("access.log"), "60 3 200\n").unwrap();
            let metered = source(dir.path()).unwrap().read(&window(), &Default::default()).await;
            assert_eq!(metered.readings, [reading], "{to}: {:?}", metered.notes);
        }
    }

    #[tokio::test]
    async fn one_that_can_not_be_asked_stops_a_rollout_before_it_begins() {
        let dir = tempfile::tempdir().unwrap();
        let missing = source(dir.path()).err().unwrap();
        assert_eq!(missing.code(), Code::BackendMissing, "{missing:?}");
        for (from, to, code) in [
            ("\"port\": \"metric\"", "\"port\": \"config\"", Code::Usage),
            ("\"protocol\": 1", "\"protocol\": 3", Code::Usage),
            ("#!/usr/bin/env python3", "#!/nowhere/python3", Code::Usage),
            ("def measure(opened, asked):", "def measure(opened, asked):\n    os._exit(1)", Code::Unreachable),
        ] {
            put(dir.path(), from, to);
            let fault = source(dir.path()).unwrap().begin(&window()).await.unwrap_err();
            assert_eq!(fault.code(), code, "{to}: {fault:?}");
        }
    }
}
