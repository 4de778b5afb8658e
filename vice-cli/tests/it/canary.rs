//! A live canary that reads real metrics: the example service behind the built-in front end, with traffic. The front
//! end counts; windows are short, and every wait is for a condition.

use std::process::{Child, Stdio};

use serde_json::Value;

use crate::lab::{Lab, hello, hello_project, ran};
use crate::ports::free_port;
use crate::traffic::{Traffic, wait_until};

/// Connections of the load: each waits for about 9 ms a request.
const CONNECTIONS: usize = 12;

/// Short windows, for whoever watches a test.
const WINDOWS: &str = "interval = \"500ms\"\nlateness = \"100ms\"\n";

/// What the front end counts: a rate below 1 in 200 is negligible, so that a good release is proven in seconds.
const FRONT: &str =
    "[metric.errors]\nfront = true\nfloor = 0.005\n[metric.latency]\nkind = \"latency\"\nfront = true\n";

fn status(lab: &Lab) -> Value {
    lab.vice(&["status", "--format", "json"]).expect(0).json()["environments"][0].clone()
}

/// Version 1 runs on `instances`; then `vice.toml` says how the next one is rolled out.
fn project(lab: &Lab, instances: u32, rollout: &str, metrics: &str) -> String {
    hello_project(lab, instances);
    for version in ["3", "4", "5"] {
        let dir = lab.path(&format!("dist/hello-{version}"));
        std::fs::create_dir_all(&dir).expect("dist");
        std::fs::copy(hello(version), dir.join("hello")).expect("the service");
    }
    let toml = lab.read("vice.toml");
    let (env, rest) = toml.split_once("[check.health]").expect("the checks");
    lab.write("vice.toml", &format!("{env}[env.dev.rollout]\n{rollout}{WINDOWS}\n{metrics}[check.health]{rest}"));
    lab.vice(&["deploy"]).expect(0);
    status(lab)["url"].as_str().expect("a url").to_owned()
}

/// Traffic on a service that has served for long enough to know its latencies.
fn load(url: &str) -> Traffic {
    let traffic = Traffic::start(url, "/order", CONNECTIONS);
    traffic.wait_for(1_000);
    traffic
}

/// The shares that the new release has had, in basis points, from the history.
fn shares(lab: &Lab, rollout: &str) -> Vec<u64> {
    let why = lab.vice(&["why", rollout, "--format", "json"]).expect(0).json();
    assert_eq!(why["recomputed"], true, "{why}");
    let timeline = why["view"]["timeline"].as_array().expect("a timeline").clone();
    let notes = timeline.iter().map(|moment| &moment["note"]);
    notes.filter_map(|note| note["weights"].as_array()?.last()?.get(1)?.as_u64()).collect()
}

/// What has to hold after any end: nothing is left at a share, every unit runs the version, nothing is under way.
fn settled(lab: &Lab, version: &str) {
    let state = status(lab);
    assert_eq!(state["version"], version, "{state}");
    assert_eq!(state["drift"], Value::Array(vec![]), "{state}");
    assert!(state["active_rollout"].is_null() && state["canary_share"].is_null(), "{state}");
    // The front end mixes in nothing else: forty answers of one version.
    let url = state["url"].as_str().expect("a url").to_owned();
    for _ in 0..40 {
        let answer = crate::rollout::get(&url, "/version");
        assert!(answer.contains(&format!("\"{version}\"")), "{answer}");
    }
}

#[test]
fn errors_on_one_request_in_a_hundred_are_stopped_while_small() {
    let lab = Lab::new();
    let url = project(&lab, 4, "strategy = \"canary\"\nsteps = [\"5%\", \"20%\"]\n", FRONT);
    let traffic = load(&url);
    let deploy = lab.vice(&["deploy", "hello@4"]).expect(6);
    assert!(deploy.stdout.contains("`errors`"), "{}", deploy.stdout);
    let (bad, highest) = (traffic.bad(), shares(&lab, "hello.dev.2").into_iter().max());
    assert!(highest <= Some(2_000), "{highest:?}");
    assert!((1..100).contains(&bad), "{bad} bad requests, the budget is 100");
    assert_eq!(traffic.broken(), 0, "no request was cut off");
    drop(traffic);
    settled(&lab, "1");
    assert!(status(&lab)["holds"]["4"].is_object());
    let why = lab.vice(&["why", "hello.dev.2"]).expect(0);
    assert!(why.stdout.contains("evidence that it is worse") && why.stdout.contains("rollback at"), "{}", why.stdout);
}

#[test]
fn a_bad_configuration_of_the_version_that_runs_is_stopped_while_small() {
    let lab = Lab::new();
    lab.write("config/default.toml", "other = 1\n");
    let metrics = format!("[config]\nlayers = [\"config/default.toml\"]\n{FRONT}");
    let url = project(&lab, 4, "strategy = \"canary\"\nsteps = [\"5%\", \"20%\"]\n", &metrics);
    let traffic = load(&url);
    lab.write("config/default.toml", "other = 1\norder_fails_every = 100\n");
    let deploy = lab.vice(&["deploy", "hello@1"]).expect(6);
    assert!(deploy.stdout.contains("`errors`"), "{}", deploy.stdout);
    let (bad, highest) = (traffic.bad(), shares(&lab, "hello.dev.2").into_iter().max());
    assert!(highest.is_some_and(|highest| (1..=2_000).contains(&highest)), "{highest:?}");
    assert!((1..100).contains(&bad), "{bad} bad requests, the budget is 100");
    assert_eq!(traffic.broken(), 0, "no request was cut off");
    settled(&lab, "1");
    // The version is not what failed: another configuration of it may be tried, and this one not again.
    let holds = status(&lab)["holds"].as_object().expect("holds").clone();
    assert_eq!(holds.len(), 1);
    let name = holds.keys().next().expect("a hold").clone();
    assert!(name.starts_with("1~"), "{name}");
    assert!(lab.vice(&["deploy", "hello@1"]).expect(4).stderr.contains(&name));
    lab.write("config/default.toml", "other = 2\n");
    lab.vice(&["deploy", "hello@1"]).expect(0);
    assert!(shares(&lab, "hello.dev.3").contains(&500));
    assert_eq!(traffic.broken(), 0);
    drop(traffic);
    settled(&lab, "1");
}

#[test]
fn a_ramp_finds_latencies_of_thirty_percent_more_while_small() {
    let lab = Lab::new();
    let url = project(&lab, 4, "strategy = \"ramp\"\n", FRONT);
    let traffic = load(&url);
    let deploy = lab.vice(&["deploy", "hello@5"]).expect(6);
    assert!(deploy.stdout.contains("`latency`"), "{}", deploy.stdout);
    let highest = shares(&lab, "hello.dev.2").into_iter().max();
    assert!(highest <= Some(5_000), "{highest:?}");
    assert_eq!((traffic.bad(), traffic.broken()), (0, 0));
    drop(traffic);
    settled(&lab, "1");
}

#[test]
fn a_good_version_gets_everything_by_steps_and_by_a_ramp() {
    let lab = Lab::new();
    let url = project(&lab, 4, "strategy = \"canary\"\nsteps = [\"5%\", \"50%\"]\nerror_ratio_max = 2.0\n", FRONT);
    let traffic = load(&url);
    let deploy = lab.vice(&["deploy", "hello@3"]).expect(0);
    assert!(deploy.stderr.contains("forecast at"), "{}", deploy.stderr);
    let said = deploy.stderr.lines().filter(|line| line.contains(" of the traffic: ")).count();
    assert!(said <= 12, "a line for each change, not for each window:\n{}", deploy.stderr);
    assert!(shares(&lab, "hello.dev.2").contains(&500) && shares(&lab, "hello.dev.2").contains(&5_000));
    settled(&lab, "3");
    let toml = lab.read("vice.toml").replace("\"canary\"\nsteps = [\"5%\", \"50%\"]", "\"ramp\"");
    lab.write("vice.toml", &toml);
    lab.vice(&["deploy", "hello@1"]).expect(0);
    let ramp = shares(&lab, "hello.dev.3");
    assert!(ramp.iter().max() > ramp.iter().find(|share| **share > 0), "it grew: {ramp:?}");
    assert_eq!((traffic.bad(), traffic.broken()), (0, 0));
    drop(traffic);
    settled(&lab, "1");
}

#[test]
fn without_traffic_it_holds_and_says_what_is_missing() {
    let lab = Lab::new();
    project(&lab, 2, "strategy = \"canary\"\nblind_after = 2\n", "[metric.errors]\nfront = true\n");
    let deploy = lab.vice(&["deploy", "hello@3", "--format", "json"]).expect(8);
    let reason = deploy.json()["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.contains("`errors`") && reason.contains("no traffic"), "{reason}");
    let state = lab.vice(&["status"]).expect(0);
    assert!(state.stdout.contains("% of the traffic"), "{}", state.stdout);
    lab.vice(&["pride", "abort", "--reason", "nobody asks for it"]).expect(6);
    settled(&lab, "1");
    // A person may let it pass all the same.
    lab.vice(&["deploy", "hello@3"]).expect(8);
    for _ in 0..3 {
        // Each step of the canary is asked for again.
        if lab.vice(&["pride", "promote", "--reason", "seen by hand"]).status == 0 {
            break;
        }
    }
    settled(&lab, "3");
}

#[test]
fn probes_fill_the_sample_where_nobody_asks() {
    for strategy in ["canary", "ramp"] {
        let lab = Lab::new();
        let probed = "[metric.probes]\nchecks = \"*\"\nfloor = 0.05\n";
        project(&lab, 2, &format!("strategy = \"{strategy}\"\nprobes = 40\n"), probed);
        let deploy = lab.vice(&["deploy", "hello@3"]);
        assert_eq!(deploy.status, 0, "{strategy}: {}{}", deploy.stdout, deploy.stderr);
        settled(&lab, "3");
        let deploy = lab.vice(&["why", "hello.dev.2"]).expect(0);
        assert!(deploy.stdout.contains("proceed Every metric"), "{strategy}: {}", deploy.stdout);
    }
}

#[test]
fn a_canary_needs_a_metric_and_something_to_compare_with() {
    let lab = Lab::new();
    project(&lab, 2, "strategy = \"canary\"\n", FRONT);
    let toml = lab.read("vice.toml");
    lab.write("vice.toml", &toml.replace(FRONT, ""));
    let refused = lab.vice(&["deploy", "hello@3"]).expect(2);
    assert!(refused.stderr.contains("[metric.") && refused.stderr.contains("front = true"), "{}", refused.stderr);
    lab.write("vice.toml", &toml.replace("instances = 2", "instances = 1"));
    lab.vice(&["deploy", "hello@1"]).expect(0);
    let refused = lab.vice(&["deploy", "hello@3"]).expect(2);
    assert!(refused.stderr.contains("only one unit"), "{}", refused.stderr);
    settled(&lab, "1");
}

#[test]
fn an_altered_reading_is_a_mismatch() {
    let lab = Lab::new();
    let url = project(&lab, 4, "strategy = \"canary\"\nsteps = [\"20%\"]\n", FRONT);
    let traffic = load(&url);
    lab.vice(&["deploy", "hello@4"]).expect(6);
    drop(traffic);
    lab.vice(&["why", "hello.dev.2"]).expect(0);
    let history = rusqlite::Connection::open(lab.path(".vice/history.db")).expect("the history");
    history.execute_batch("DROP TRIGGER events_update").expect("no trigger");
    let changed = history
        .execute(
            "UPDATE events SET data = replace(data, '\"seen\":', '\"seen\":1') WHERE seq = \
             (SELECT min(seq) FROM events WHERE data LIKE '%\"measured\"%\"seen\":%')",
            [],
        )
        .expect("an update");
    assert_eq!(changed, 1);
    let why = lab.vice(&["why", "hello.dev.2"]).expect(1);
    assert!(why.stdout.contains("mismatch:"), "{}", why.stdout);
}

/// A deploy in the background that is being judged: version 3 has a share, and never enough of a proof.
fn under_way(lab: &Lab) -> (Child, Traffic) {
    let never = FRONT.replace("0.005", "0.000001");
    let url = project(lab, 2, "strategy = \"canary\"\nsteps = [\"10%\"]\n", &never);
    let traffic = load(&url);
    let deploy =
        lab.command(&["deploy", "hello@3"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    wait_until("a judgement", || status(lab)["judged"].is_string());
    assert_eq!(status(lab)["canary_share"], 1_000);
    (deploy, traffic)
}

#[test]
fn operators_are_heard_while_a_canary_is_judged() {
    let lab = Lab::new();
    let (deploy, _traffic) = under_way(&lab);
    lab.vice(&["pride", "pause", "--reason", "lunch"]).expect(0);
    ran(&deploy.wait_with_output().expect("it parks")).expect(8);
    assert_eq!(status(&lab)["canary_share"], 1_000, "a pause leaves the share");
    let history = lab.vice(&["history", "-n", "1"]).expect(0).stdout;
    assert!(history.contains("under way, 10 % of the traffic; waits: An operator paused"), "{history}");
    // Whoever looks after it reads on: the release has its traffic all the same.
    let judged =
        || lab.vice(&["why", "hello.dev.2", "--format", "json"]).expect(0).stdout.matches("\"judged\"").count();
    let before = judged();
    wait_until("a window that has passed is read", || {
        let ticked = lab.vice(&["tick"]).expect(0);
        assert!(ticked.stdout.contains("needs an operator: An operator paused"), "{}", ticked.stdout);
        judged() > before
    });
    let resumed =
        lab.command(&["pride", "resume"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    let windows = || lab.vice(&["why", "hello.dev.2"]).stdout.matches("epoch").count();
    wait_until("it is taken up", || windows() > 0);
    lab.vice(&["pride", "promote", "--reason", "seen by hand"]).expect(0);
    ran(&resumed.wait_with_output().expect("it ends")).expect(0);
    settled(&lab, "3");
}

#[test]
fn an_interrupt_parks_a_canary_and_abort_takes_it_back() {
    let lab = Lab::new();
    let (deploy, _traffic) = under_way(&lab);
    let pid = deploy.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    ran(&deploy.wait_with_output().expect("it ends")).expect(130);
    assert!(status(&lab)["active_rollout"].is_string());
    lab.vice(&["pride", "abort", "--reason", "not today"]).expect(6);
    settled(&lab, "1");
}

/// Whether the front end sends requests to both versions: each has one of the two units.
fn mixed(lab: &Lab) -> bool {
    let url = status(lab)["url"].as_str().expect("a url").to_owned();
    let answers: Vec<String> = (0..40).map(|_| crate::rollout::get(&url, "/version")).collect();
    let of = |version: &str| answers.iter().filter(|answer| answer.contains(&format!("\"{version}\""))).count();
    (10..=30).contains(&of("1")) && (10..=30).contains(&of("3"))
}

#[test]
fn abandoning_a_canary_gives_traffic_back_to_the_units() {
    let lab = Lab::new();
    let (deploy, traffic) = under_way(&lab);
    lab.vice(&["pride", "abandon", "--reason", "left as it is"]).expect(0);
    ran(&deploy.wait_with_output().expect("it ends")).expect(9);
    drop(traffic);
    let why = lab.vice(&["why", "hello.dev.2"]).expect(0);
    assert!(why.stdout.contains("traffic follows the units"), "{}", why.stdout);
    assert!(mixed(&lab), "a tenth was in force, and half of the units run it");
    let plan = lab.vice(&["plan", "hello@1"]).expect(0);
    assert!(!plan.stdout.contains("left split"), "{}", plan.stdout);
}

#[test]
fn what_could_not_be_given_back_is_by_the_next_rollout() {
    let lab = Lab::new();
    let (deploy, traffic) = under_way(&lab);
    lab.vice(&["pride", "pause", "--reason", "lunch"]).expect(0);
    ran(&deploy.wait_with_output().expect("it parks")).expect(8);
    drop(traffic);
    // A journal that can't be read can't say what to give back.
    let history = rusqlite::Connection::open(lab.path(".vice/history.db")).expect("the history");
    let altered = "DROP TRIGGER events_update; UPDATE events SET data = replace(data, '\"seen\":', '\"seen\":1') \
                   WHERE data LIKE '%\"measured\"%\"seen\":%'";
    history.execute_batch(altered).expect("an update");
    drop(history);
    lab.vice(&["pride", "abandon", "--reason", "it can't be read"]).expect(9);
    assert!(!mixed(&lab), "a tenth is still in force");
    let toml = lab.read("vice.toml").replace("strategy = \"canary\"\nsteps = [\"10%\"]", "strategy = \"rolling\"");
    lab.write("vice.toml", &toml);
    let plan = lab.vice(&["plan", "hello@3"]).expect(0);
    assert!(plan.stdout.contains("left split"), "{}", plan.stdout);
    lab.vice(&["deploy", "hello@3"]).expect(0);
    settled(&lab, "3");
}

/// Deploys version `to` as a canary with a process that dies at `point`, and takes up what is left; gives whether it
/// got that far.
fn dies_at(lab: &Lab, point: &str, to: &str) -> bool {
    let died = lab.vice_with(&[("VICE_TEST_CRASH", point)], &["deploy", &format!("hello@{to}")]);
    if died.status != 128 + 9 {
        died.expect(0);
        settled(lab, to);
        return false;
    }
    let again = if status(lab)["active_rollout"].is_string() { ["pride", "resume"] } else { ["deploy", "hello"] };
    let version = format!("hello@{to}");
    let again = if again[0] == "deploy" { ["deploy", version.as_str()] } else { again };
    let resumed = lab.vice(&again);
    assert_eq!(resumed.status, 0, "{point}: {}{}", resumed.stdout, resumed.stderr);
    settled(lab, to);
    true
}

/// More appends than such a canary has.
const APPENDS_MAX: u32 = 80;

fn dies_everywhere(moment: &str) {
    let lab = Lab::new();
    let quick = "[metric.errors]\nfront = true\nfloor = 0.05\n";
    let url = project(&lab, 2, "strategy = \"canary\"\nsteps = [\"25%\"]\n", quick);
    let _traffic = load(&url);
    let versions = ["3", "1"];
    let reached = (1..APPENDS_MAX)
        .take_while(|append| dies_at(&lab, &format!("{moment}:{append}"), versions[(*append as usize + 1) % 2]))
        .count();
    assert!((8..60).contains(&reached), "{reached} appends");
    lab.vice(&["greed", "verify"]).expect(0);
}

#[test]
fn a_kill_before_any_append_of_a_canary_leaves_no_share() {
    dies_everywhere("before");
}

#[test]
fn a_kill_after_any_append_of_a_canary_leaves_no_share() {
    dies_everywhere("after");
}

/// A bad release that nobody drives: paused as soon as it has traffic.
fn paused(rest: &str) -> (Lab, Traffic) {
    let lab = Lab::new();
    let metrics = format!("{FRONT}{rest}");
    let url = project(&lab, 2, "strategy = \"canary\"\nsteps = [\"40%\"]\n", &metrics);
    let traffic = load(&url);
    let deploy =
        lab.command(&["deploy", "hello@4"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("vice");
    wait_until("a share", || status(&lab)["canary_share"] == 4_000);
    lab.vice(&["pride", "pause", "--reason", "look"]).expect(0);
    ran(&deploy.wait_with_output().expect("it parks")).expect(8);
    (lab, traffic)
}

#[test]
fn a_bad_release_is_found_in_a_pause_and_goes_back_when_the_operator_says_so() {
    let (lab, _traffic) = paused("");
    wait_until("the evidence", || lab.vice(&["tick"]).expect(0).stdout.contains("nothing goes back before resume"));
    assert_eq!(status(&lab)["canary_share"], 4_000, "an operator wanted to look");
    lab.vice(&["pride", "resume"]).expect(6);
    settled(&lab, "1");
}

#[test]
fn metrics_that_a_rollout_does_not_use_are_not_looked_at() {
    let lab = Lab::new();
    let broken = "[metric.broken]\nprometheus = \"http://127.0.0.1:9\"\nbearer = \"env:NOT_SET\"\n\
                  bad = 'b{v=\"{{version}}\"}'\ntotal = 't{v=\"{{version}}\"}'\n";
    let metrics = format!("[metric.errors]\nfront = true\n{broken}");
    project(&lab, 2, "strategy = \"canary\"\nmetrics = [\"errors\"]\nblind_after = 1\n", &metrics);
    let parked = lab.vice(&["deploy", "hello@3"]).expect(8);
    assert!(parked.stdout.contains("`errors`"), "{}", parked.stdout);
    lab.vice(&["pride", "abort"]).expect(6);
    lab.write("vice.toml", &lab.read("vice.toml").replace("metrics = [\"errors\"]", "metrics = [\"broken\"]"));
    let refused = lab.vice(&["deploy", "hello@3"]);
    assert!(refused.status != 0 && refused.stderr.contains("broken"), "{}", refused.stderr);
    settled(&lab, "1");
}

#[test]
fn the_old_versions_instances_are_compared_with_each_other_and_why_computes_it_again() {
    let lab = Lab::new();
    let url = project(&lab, 4, "strategy = \"canary\"\nsteps = [\"20%\"]\nerror_ratio_max = 3.0\n", FRONT);
    let traffic = load(&url);
    lab.vice(&["deploy", "hello@3"]).expect(0);
    drop(traffic);
    let why = lab.vice(&["why", "hello.dev.2"]).expect(0);
    assert!(why.stdout.contains("the same decisions follow"), "{}", why.stdout);
    let history = rusqlite::Connection::open(lab.path(".vice/history.db")).expect("the history");
    let halves: i64 = history
        .query_row("SELECT count(*) FROM events WHERE data LIKE '%\"reading\":\"halves\"%'", [], |row| row.get(0))
        .expect("a count");
    assert!(halves > 0, "the old version had three instances");
}

/// The address of a lab server, from the environment; without it the test fails and says how to get one.
fn server(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: scripts/test starts the servers of the lab."))
}

#[test]
fn lab_a_real_prometheus_judges_by_what_it_scrapes() {
    let (prometheus, targets) = (server("VICE_LAB_PROMETHEUS"), server("VICE_LAB_PROMETHEUS_DIR"));
    let lab = Lab::new();
    let port = free_port();
    let metric = format!(
        "[metric.errors]\nprometheus = \"{prometheus}\"\nfloor = 0.005\n\
         bad = 'sum(increase(vice_front_failures_total{{version=\"{{{{version}}}}\",lab=\"live\"}}[{{{{window}}}}]))'\n\
         total = 'sum(increase(vice_front_exposures_total{{version=\"{{{{version}}}}\",lab=\"live\"}}[{{{{window}}}}]))'\n"
    );
    let rollout = "strategy = \"canary\"\nsteps = [\"20%\"]\n";
    let toml = |text: String| {
        let slower = text.replace(WINDOWS, "interval = \"3s\"\nlateness = \"1s\"\n");
        slower.replace("[env.dev]\n", &format!("[env.dev]\nmetrics_port = {port}\n"))
    };
    project(&lab, 4, rollout, &metric);
    lab.write("vice.toml", &toml(lab.read("vice.toml")));
    lab.vice(&["pride", "stop"]).expect(0);
    lab.vice(&["pride", "start"]).expect(0);
    let target = std::path::Path::new(&targets).join("live-canary.json");
    let scraped = format!("[{{\"targets\": [\"127.0.0.1:{port}\"], \"labels\": {{\"lab\": \"live\"}}}}]");
    std::fs::write(&target, scraped).expect("a target");
    let traffic = load(status(&lab)["url"].as_str().expect("a url"));
    let good = lab.vice(&["deploy", "hello@3"]);
    let bad = lab.vice(&["deploy", "hello@4"]);
    std::fs::remove_file(&target).expect("no target");
    good.expect(0);
    let bad = bad.expect(6);
    assert!(bad.stdout.contains("`errors`"), "{}", bad.stdout);
    assert!((1..200).contains(&traffic.bad()), "{} bad requests", traffic.bad());
    drop(traffic);
    settled(&lab, "3");
}
