//! Drawings as they look, and what hostile text becomes in them.

use super::{mermaid, svg, text, value};
use crate::graph::fixture::graph;

const LINES: &str = r#"
build = { run = ["make", "dist"], out = { artifact = "dist/*.tar" }, retry = 2 }
lint = { run = ["make", "lint"] }
ship = { action = "deploy", needs = ["lint"], with = { artifact = "{{build.artifact}}" } }
clean = { run = ["make", "clean"], needs = ["ship"], when = "always" }
"#;

/// Without the styles, which are checked nowhere because they carry no meaning alone.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('\u{1b}') {
        out.push_str(&rest[..start]);
        rest = &rest[start + rest[start..].find('m').unwrap() + 1..];
    }
    out + rest
}

#[test]
fn text_shows_layers_and_arrows() {
    let drawn = plain(&text("release", "shop", &graph(LINES).unwrap()));
    let expected = "\
release of shop: 4 steps in 3 layers

build  run     make dist                             retry 2
lint   run     make lint
  ↓
ship   action  deploy      ← build (artifact), lint
  ↓
clean  run     make clean  ← ship                    when always
";
    assert_eq!(drawn, expected);
}

#[test]
fn mermaid_shows_steps_and_edges() {
    let expected = r#"flowchart TD
    s0["build<br/>make dist<br/>retry 2"]
    s1["lint<br/>make lint"]
    s2["ship<br/>deploy"]
    s3["clean<br/>make clean<br/>when always"]
    s0 -->|"artifact"| s2
    s1 --> s2
    s2 --> s3
"#;
    assert_eq!(mermaid(&graph(LINES).unwrap()), expected);
}

const HOSTILE: &str = r#"a = { run = ["</text><script>alert(1)</script>", "\"]; click s0 \"javascript:x\"", "&#x3c;", "\u001b[31m", "`x`"] }"#;

/// Every tag is closed in order, and every text is free of signs that begin one. Written without an XML library on
/// purpose: it accepts less than one would.
fn tags(svg: &str) -> Vec<&str> {
    let (mut open, mut seen, mut rest): (Vec<&str>, Vec<&str>, &str) = (Vec::new(), Vec::new(), svg);
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray sign in {:?}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        let name = tag.trim_matches('/').split_whitespace().next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else {
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            seen.push(name);
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty(), "{open:?} are not closed");
    seen
}

#[test]
fn svg_is_well_formed_and_has_every_step_and_edge() {
    let drawn = svg("release", "shop", &graph(LINES).unwrap());
    let seen = tags(&drawn);
    assert_eq!(seen.iter().filter(|tag| **tag == "rect").count(), 4);
    assert_eq!(drawn.matches("class=\"edge\"").count(), 3);
    assert!(drawn.contains(">artifact</text>") && drawn.contains(">when always</text>"));
    assert_eq!(drawn, svg("release", "shop", &graph(LINES).unwrap()));
}

#[test]
fn hostile_text_is_inert_everywhere() {
    let graph = graph(HOSTILE).unwrap();
    let drawn = svg("<b>\u{0}&", "\"'", &graph);
    let seen = tags(&drawn);
    assert!(
        seen.iter().all(|tag| ["svg", "title", "style", "defs", "marker", "path", "text", "g", "rect"].contains(tag))
    );
    assert!(!drawn.contains('\u{0}') && !drawn.contains('\u{1b}') && drawn.contains("&lt;b&gt;"));
    let drawn = mermaid(&graph);
    assert_eq!(drawn.lines().count(), 2, "{drawn}");
    assert!(!drawn.contains("<script") && !drawn.contains('`') && drawn.matches('"').count() == 2);
    assert!(!plain(&text("g", "p", &graph)).contains('\u{1b}'));
}

#[test]
fn the_value_names_layers_and_edges() {
    let value = value("release", "shop", &graph(LINES).unwrap());
    assert_eq!(value["steps"][2]["layer"], 1);
    assert_eq!(value["steps"][2]["needs"][0], serde_json::json!({ "step": "build", "outputs": ["artifact"] }));
}
