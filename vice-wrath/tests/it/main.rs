//! Checks against real servers on the loopback interface: honest, broken and hostile ones.
#![expect(clippy::unwrap_used, reason = "a test that can not prepare its servers has failed")]

mod app;
mod commands;
mod flow;
mod hostile;
mod hostile_traffic;
mod http;
mod hurl;
mod imports;
mod lab_nginx;
mod lab_replay;
mod lab_scenarios;
mod load;
mod plan;
mod probe;
mod record;
mod replay;
mod reports;
mod scenario;
mod scenario_bad;
mod scenario_kinds;
mod secrets;
mod server;
mod speed;
mod stage;
mod support;
mod tls;
mod traffic;
mod watch;
