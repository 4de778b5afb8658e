//! The moment of a picture, moved in a real browser: a frame holds the page as it is, with its policy, and the page
//! around it acts as a person would.

use std::path::Path;

use serde_json::{Value, json};
use vice_core::payload::propagation::Propagation;

use crate::chromium::dump;
use crate::hostile::hostile_study;
use crate::simulation::page;
use crate::study::{LARGE, SMALL, study};

/// Moves the slider, presses keys, clicks, and writes down what the page then shows.
const PERSON: &str = r#"<!doctype html><meta charset="utf-8"><pre id="seen"></pre>
<iframe id="page" src="study.html" width="1200" height="2000"></iframe>
<script>
addEventListener("load", () => {
  const inside = document.getElementById("page"), view = inside.contentWindow, seen = {};
  const root = inside.contentDocument.querySelectorAll(".spread")[1];
  const find = (query) => root.querySelector(query), slider = find("input"), button = find(".play");
  const look = () => ({
    clock: find(".clock").textContent,
    counts: [...root.querySelectorAll(".count i + b")].map((b) => b.textContent.replace(/,/g, "")).map(Number),
    cursor: Number(find(".cursor").getAttribute("x1")),
    tile: [...find(".tile").querySelectorAll("rect")].slice(1, 5).map((rect) => Number(rect.getAttribute("height"))),
    at: Number(slider.value),
  });
  const done = () => { document.getElementById("seen").textContent = JSON.stringify(seen); };
  seen.hidden = find(".player").hidden;
  seen.first = look();
  if (seen.hidden) { done(); return; }
  const move = (at) => { slider.value = at; slider.dispatchEvent(new view.Event("input")); return look(); };
  seen.begin = move(0);
  seen.middle = move(Math.floor(slider.max / 2));
  seen.end = move(slider.max);
  const box = find(".map").getBoundingClientRect();
  find(".map").dispatchEvent(new view.PointerEvent("pointerdown", { clientX: box.left + box.width * 0.576 }));
  seen.pointed = look();
  move(slider.max);
  slider.dispatchEvent(new view.KeyboardEvent("keydown", { key: " ", cancelable: true }));
  seen.playing = button.textContent;
  setTimeout(() => { seen.underway = look(); }, 7000);
  setTimeout(() => { seen.played = look(); seen.stopped = button.textContent; done(); }, 20000);
});
</script>"#;

fn act(folder: &Path, page: &str) -> Value {
    std::fs::write(folder.join("study.html"), page).unwrap();
    let dom = dump(folder, PERSON, &["--allow-file-access-from-files", "--virtual-time-budget=30000"]);
    let seen = dom.split_once("<pre id=\"seen\">").unwrap().1.split_once("</pre>").unwrap().0;
    serde_json::from_str(seen).unwrap_or_else(|error| panic!("{error}: {seen:?}"))
}

/// The counts of all rows at a moment, added up here from the changes.
fn counts(drawn: &Propagation, at: usize) -> Value {
    let mut sums = [0_u64; 5];
    for row in &drawn.rows {
        let last = row.changes.iter().rev().find(|change| change[0] as usize <= at).unwrap();
        for (sum, count) in sums.iter_mut().zip(&last[1..]) {
            *sum += u64::from(*count);
        }
    }
    json!(sums)
}

#[test]
fn lab_chromium_moves_the_moment_by_slider_pointer_and_key() {
    for shape in [SMALL, LARGE] {
        let report = study(shape);
        let drawn = report.stories[1].propagation.clone().unwrap();
        let last = drawn.times_ms.len() - 1;
        let folder = tempfile::tempdir().unwrap();
        let seen = act(folder.path(), &page(&report));
        assert_eq!(seen["hidden"], json!(false), "the script did not run");
        for (name, at) in [("begin", 0), ("middle", last / 2), ("end", last)] {
            assert_eq!((&seen[name]["counts"], &seen[name]["at"]), (&counts(&drawn, at), &json!(at)), "{name}");
            let clock = format!("+{}", vice_core::Millis(drawn.times_ms[at]));
            assert_eq!(seen[name]["clock"], json!(clock), "{name}: the page says it like the rest of vice");
        }
        // The page opens where it was decided to go back, and the script shows the same there as the page without it.
        let first = seen["first"]["at"].as_u64().unwrap() as usize;
        assert!(first > last / 2 && first < last);
        assert_eq!(seen["first"]["counts"], counts(&drawn, first));
        // A tile shows a part for each phase that the units of its row are in, from the ground: failed, new, changing,
        // and back from the top.
        for (name, at) in [("begin", 0), ("middle", last / 2), ("end", last)] {
            let row = Propagation { rows: vec![drawn.rows[0].clone()], ..Propagation::default() };
            let wanted = [3, 2, 1, 4].map(|phase| counts(&row, at)[phase].as_u64().unwrap() > 0);
            let shown: Vec<bool> =
                seen[name]["tile"].as_array().unwrap().iter().map(|height| height.as_f64().unwrap() > 0.0).collect();
            assert_eq!(shown, wanted, "{name}");
        }
        assert_eq!(seen["begin"]["cursor"], json!(176));
        let pointed = seen["pointed"]["at"].as_u64().unwrap() as usize;
        assert!(pointed.abs_diff(last / 2) <= last / 20 + 1, "{pointed} of {last}");
        assert_eq!(seen["playing"], json!("❚❚ Pause"));
        let underway = seen["underway"]["at"].as_u64().unwrap() as usize;
        assert!(underway > 0 && underway < last, "{underway} of {last}");
        assert_eq!((&seen["played"]["at"], &seen["stopped"]), (&json!(last), &json!("▶ Play")));
    }
}

#[test]
fn lab_chromium_runs_no_other_script_than_ours() {
    let page = page(&study(SMALL));
    let folder = tempfile::tempdir().unwrap();
    let changed = page.replacen("PLAY_MS = 14000", "PLAY_MS = 14001", 1);
    assert_ne!(changed, page);
    std::fs::write(folder.path().join("study.html"), &changed).unwrap();
    let more = ["--dump-dom", "--allow-file-access-from-files", "--virtual-time-budget=30000"];
    let output = crate::chromium::browse(folder.path(), PERSON, &more);
    let dom = String::from_utf8(output.stdout).unwrap();
    assert!(dom.contains("\"hidden\":true"), "a script with another digest ran");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Content Security Policy"));
}

#[test]
fn lab_chromium_keeps_a_hostile_simulation_inert() {
    let folder = tempfile::tempdir().unwrap();
    let dom = crate::dom::read(&dump(folder.path(), &page(&hostile_study()), &[]));
    assert!(dom.text.contains("<script>alert(1)</script>"));
}
