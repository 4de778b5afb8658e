//! A rollout over many units, as it is told: by counts and places, where lines are kept and on a terminal.

use crate::doomed::{command, project, vice};
use crate::lab::{Lab, ran};

/// Two regions with two racks of ten hosts each.
fn fleet(lab: &Lab) {
    project(
        lab,
        "",
        "max_down = 5\nstrategy = \"all-at-once\"\n[env.dev.topology]\nfleet = \"region[eu,us] > rack[2] > host[10]\"\n",
    );
    let toml = lab.read("vice.toml").replace("instances = 3\n", "");
    lab.write("vice.toml", &toml);
}

#[test]
fn where_lines_are_kept_each_place_is_told_a_few_times_and_no_unit_is() {
    let lab = Lab::new();
    fleet(&lab);
    let said = vice(&lab, &[], &["deploy", "shop@1"]).expect(0).stderr;
    for place in ["eu/rack1", "eu/rack2", "us/rack1", "us/rack2"] {
        let of: Vec<&str> = said.lines().filter(|line| line.contains(place)).collect();
        assert!((2..=12).contains(&of.len()), "{place} has {} lines:\n{said}", of.len());
        assert_eq!(said.matches(&format!("{place} (10): 10 done")).count(), 1, "{said}");
    }
    assert!(!said.contains("unit eu.") && !said.contains("unit us."), "{said}");
    assert!(said.lines().count() < 60, "{said}");
}

#[test]
fn on_a_terminal_the_tree_is_drawn_in_place_and_ends_in_one_line() {
    let lab = Lab::new();
    fleet(&lab);
    let vice = command(&lab, &["deploy", "shop@1"]);
    // A terminal of its own; what is drawn comes out of it.
    let mut script = std::process::Command::new("script");
    script.args([
        "-qec",
        &format!("stty rows 24 cols 100; exec {} deploy shop@1", vice.get_program().display()),
        "/dev/null",
    ]);
    script.env_clear().current_dir(lab.root()).env("TERM", "xterm");
    script.envs(vice.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let shown = ran(&script.output().expect("script")).expect(0).stdout;
    assert!(shown.contains("units (40): "), "{shown}");
    let plain = shown.replace(['\u{1b}', '\r'], "\n");
    // The lines of the tree are filled up to the width instead of ended, so each begins at a multiple of it, or one was too
    // wide and was broken.
    let rows: Vec<String> = plain.lines().flat_map(rows).collect();
    for place in ["eu (20): ", "rack1 (10): ", "us (20): "] {
        assert!(rows.iter().any(|row| row.trim_start().starts_with(place)), "{place} in {rows:#?}");
        let elsewhere = |row: &String| row.contains(place) && !row.trim_start().starts_with(place);
        assert!(!rows.iter().any(elsewhere), "{place} in {rows:#?}");
    }
    assert!(plain.lines().any(|line| line.contains("units (40): 40 done")), "{plain}");
    assert!(!plain.contains("unit eu."), "{plain}");
}

/// A line as it stands on a terminal of 100 columns.
fn rows(line: &str) -> Vec<String> {
    line.chars().collect::<Vec<_>>().chunks(100).map(|row| row.iter().collect()).collect()
}
