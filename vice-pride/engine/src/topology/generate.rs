//! The generator: one readable line for a fleet, such as
//! `region[2] > dc[eu1,eu2] > rack[20] > server[40]{service=web*3|db}`. Each level says what every node of the level
//! above has; the last one names the units. It owns this language and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use vice_core::{Fault, Result};

use super::build::Builder;
use super::labels::Painting;
use super::names::{Item, check_name, item};
use super::{Topology, UNITS_MAX, invalid};

/// The longest line, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// The longest pattern of label values, with weights written out.
const PATTERN_MAX: usize = 10_000;

/// A label and its values, which are dealt out in turn.
type Label = (Arc<str>, Arc<[String]>);

/// One level of a line.
#[derive(Debug)]
struct Segment {
    level: String,
    /// The symbols of the names.
    base: u32,
    count: u32,
    labels: Vec<Label>,
}

/// The tree of one or more lines, side by side below the root.
pub(super) fn fleet(lines: &[String]) -> Result<Topology> {
    let mut build = Builder::default();
    let (mut roots, mut units) = (BTreeSet::new(), 0_u64);
    // Lines of units without nodes come first: the units of a node stand before the nodes in it.
    let flat = |line: &&String| !line.contains('>');
    let ordered: Vec<&String> = lines.iter().filter(flat).chain(lines.iter().filter(|line| !flat(line))).collect();
    let mut unit_level: Option<String> = None;
    for line in &ordered {
        let segments = parse(line, &mut build)?;
        units = units.saturating_add(size(line, &segments)?);
        if units > u64::from(UNITS_MAX) {
            return Err(too_many(line, units));
        }
        if let Some(first) = segments.first() {
            distinct(first, &build, &mut roots)?;
        }
        unit_level = unit_level.or_else(|| segments.last().map(|last| last.level.clone()));
        grow(&mut build, &segments, 1)?;
    }
    let unique = ordered.iter().all(flat);
    Ok(build.finish(unit_level, unique))
}

fn wrong(line: &str, why: impl std::fmt::Display) -> Fault {
    let shown: String = line.chars().take(200).collect();
    invalid("fleet", format!("The fleet {shown:?} can't be read: {why}."))
        .hint("Write for example: region[eu,us] > rack[20] > server[1..40]{service=web*3|db}.")
}

fn too_many(line: &str, units: u64) -> Fault {
    invalid("fleet", format!("The fleet {line:?} has {units} units; {UNITS_MAX} is the limit."))
        .hint("Is a number too large? A fleet of that size is deployed in parts.")
}

/// How many units a line makes; also refuses more nodes than can be numbered, before anything is allocated for them.
fn size(line: &str, segments: &[Segment]) -> Result<u64> {
    let mut nodes = 1_u64;
    for segment in segments {
        nodes = nodes.saturating_mul(u64::from(segment.count));
        if nodes > u64::from(UNITS_MAX) {
            return Err(too_many(line, nodes));
        }
    }
    Ok(nodes)
}

/// Refuses a name of the top level that an earlier line has.
fn distinct(first: &Segment, build: &Builder, roots: &mut BTreeSet<String>) -> Result<()> {
    for symbol in first.base..first.base + first.count {
        let name = build.names.name(symbol).into_owned();
        if !roots.insert(name.clone()) {
            let message = format!("Two lines of the fleet have the {} {name:?}.", first.level);
            return Err(invalid("fleet", message).hint("Give each line names of its own at the top level."));
        }
    }
    Ok(())
}

fn grow(build: &mut Builder, segments: &[Segment], depth: usize) -> Result<()> {
    let Some((segment, below)) = segments.split_first() else { return Ok(()) };
    if below.is_empty() {
        let first = build.units(segment.base, segment.count)?;
        for (key, values) in &segment.labels {
            let (key, values) = (Arc::clone(key), Arc::clone(values));
            build.paintings.push(Painting { key, depth, range: (first, first + segment.count), values });
        }
        return Ok(());
    }
    for index in 0..segment.count {
        let node = build.open(segment.base + index, Some(&segment.level))?;
        grow(build, below, depth + 1)?;
        build.close();
        for (key, values) in &segment.labels {
            let value: Arc<[String]> = values.get(index as usize % values.len().max(1)).cloned().into_iter().collect();
            let range = build.range(node);
            build.paintings.push(Painting { key: Arc::clone(key), depth, range, values: value });
        }
    }
    Ok(())
}

fn parse(line: &str, build: &mut Builder) -> Result<Vec<Segment>> {
    if line.len() > LINE_BYTES_MAX {
        return Err(wrong("", format!("it has more than {LINE_BYTES_MAX} bytes")));
    }
    let mut levels = BTreeSet::new();
    let mut segments = Vec::new();
    for text in line.split('>') {
        let segment = segment(line, text.trim(), build)?;
        if !levels.insert(segment.level.clone()) {
            return Err(wrong(line, format!("the level {} is there twice", segment.level)));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// `rack[1..20]{row=a|b}`.
fn segment(line: &str, text: &str, build: &mut Builder) -> Result<Segment> {
    let usage = || wrong(line, format!("{text:?} is no level with its names in brackets"));
    let (level, rest) = text.split_once('[').ok_or_else(usage)?;
    let (inside, rest) =
        rest.split_once(']').ok_or_else(|| wrong(line, format!("a bracket of {text:?} is not closed")))?;
    let level = level.trim();
    check_name(level, "level").map_err(|fault| wrong(line, fault.to_string().trim_end_matches('.')))?;
    let (base, count) = names(line, level, inside, build)?;
    let labels = match rest.trim() {
        "" => Vec::new(),
        braces => {
            let inside = braces.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(usage)?;
            labels(line, inside)?
        }
    };
    Ok(Segment { level: level.to_owned(), base, count, labels })
}

/// The names in brackets: a count, names, ranges.
fn names(line: &str, level: &str, inside: &str, build: &mut Builder) -> Result<(u32, u32)> {
    let base = build.names.next();
    let inside = inside.trim();
    if !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_digit()) {
        let count =
            inside.parse::<u32>().ok().filter(|count| *count <= UNITS_MAX).ok_or_else(|| {
                wrong(line, format!("{level} would have {inside} members, and {UNITS_MAX} is the limit"))
            })?;
        build.names.number(level, 1, 0, count);
        return Ok((base, count));
    }
    let mut seen = BTreeSet::new();
    for text in inside.split(',').map(str::trim) {
        match item(text).map_err(|why| wrong(line, why))? {
            Item::One(name) => {
                check_name(&name, level).map_err(|fault| wrong(line, fault.to_string().trim_end_matches('.')))?;
                once(line, &mut seen, &name)?;
                build.names.list(&name);
            }
            Item::Range { prefix, start, width, count } => {
                if !prefix.is_empty() {
                    check_name(&prefix, level).map_err(|fault| wrong(line, fault.to_string().trim_end_matches('.')))?;
                }
                // A range alone can't repeat itself; only a mixture has to be looked at name by name.
                if inside.contains(',') {
                    for number in start..start + u64::from(count) {
                        once(line, &mut seen, &format!("{prefix}{number:0width$}"))?;
                    }
                }
                build.names.number(&prefix, start, width, count);
            }
        }
        if build.names.next() - base > UNITS_MAX {
            return Err(wrong(line, format!("{level} would have more than {UNITS_MAX} members")));
        }
    }
    Ok((base, build.names.next() - base))
}

fn once(line: &str, seen: &mut BTreeSet<String>, name: &str) -> Result<()> {
    if seen.insert(name.to_owned()) { Ok(()) } else { Err(wrong(line, format!("the name {name:?} is there twice"))) }
}

/// The labels of a level; each is there once, because a second value would replace the first without a word.
fn labels(line: &str, inside: &str) -> Result<Vec<Label>> {
    let mut labels: Vec<Label> = Vec::new();
    for text in inside.split(',') {
        let (key, values) = label(line, text.trim())?;
        if labels.iter().any(|(other, _)| *other == key) {
            return Err(wrong(line, format!("the label {key} is there twice"))
                .hint("Several values of one label are dealt out in turn: service=web|db."));
        }
        labels.push((key, values));
    }
    Ok(labels)
}

/// `service=web*3|db`: web, web, web, db, and again.
fn label(line: &str, text: &str) -> Result<Label> {
    let usage = || wrong(line, format!("{text:?} is no label with values such as service=web*3|db"));
    let (key, values) = text.split_once('=').ok_or_else(usage)?;
    let key = key.trim();
    if key.is_empty() || key.contains(|letter: char| letter.is_whitespace() || "!*/".contains(letter)) {
        return Err(usage());
    }
    let mut pattern: Vec<String> = Vec::new();
    for value in values.split('|').map(str::trim) {
        let (value, weight) = value.split_once('*').unwrap_or((value, "1"));
        let weight = weight.trim().parse::<usize>().ok().filter(|weight| (1..=PATTERN_MAX).contains(weight));
        let weight = weight.ok_or_else(usage)?;
        if value.is_empty() || pattern.len() + weight > PATTERN_MAX {
            return Err(usage());
        }
        pattern.extend(std::iter::repeat_n(value.trim().to_owned(), weight));
    }
    Ok((Arc::from(key), pattern.into()))
}
