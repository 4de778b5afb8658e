//! YAML layers. Aliases, nesting and size are bounded by the parser's budget; duplicate keys are refused.

use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use crate::key::{DEPTH_MAX, ENTRIES_MAX, Flaw, join};
use crate::sheet::Sheet;

/// A node with the lines of the values below it.
enum Node {
    Table(Vec<(String, Spanned<Self>)>),
    Plain(Value),
}

/// The stack of the reading thread. A level of nesting takes tens of kilobytes in an unoptimised build, so that the
/// permitted depth does not fit on every thread that may call.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// Reads a whole text.
pub(crate) fn read(text: &str) -> Result<Sheet, Flaw> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || read_here(text));
        let ended = reader.map_err(|_| Flaw::new(None, "no thread could be started to read it"))?.join();
        ended.unwrap_or_else(|_| Err(Flaw::new(None, "the YAML parser failed on it")))
    })
}

fn read_here(text: &str) -> Result<Sheet, Flaw> {
    let mut sheet = Sheet::default();
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: ENTRIES_MAX * 2,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 1,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
    };
    let root: Option<Node> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().and_then(|place| u32::try_from(place.line()).ok()).filter(|line| *line > 0);
        // The parser's own words are left out: they quote the text.
        Flaw::new(line, "it is not valid YAML, has a key twice, or is nested or aliased beyond what is read")
    })?;
    match root {
        Some(Node::Table(fields)) => add_table(&mut sheet, "", fields)?,
        None | Some(Node::Plain(Value::Null)) => {}
        Some(Node::Plain(_)) => return Err(Flaw::new(Some(1), "it is not a YAML mapping")),
    }
    sheet.finish()
}

fn add_table(sheet: &mut Sheet, prefix: &str, fields: Vec<(String, Spanned<Node>)>) -> Result<(), Flaw> {
    for (name, node) in fields {
        let line = u32::try_from(node.referenced.line()).ok().filter(|line| *line > 0);
        let key = join(prefix, &name);
        match node.value {
            Node::Table(inner) => add_table(sheet, &key, inner)?,
            Node::Plain(value) => sheet.add(&key, value, line)?,
        }
    }
    Ok(())
}

impl Node {
    fn into_value(self) -> Value {
        match self {
            Self::Plain(value) => value,
            Self::Table(fields) => Value::Object(
                fields.into_iter().map(|(key, node)| (key, node.value.into_value())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Collect)
    }
}

struct Collect;

impl<'de> Visitor<'de> for Collect {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Plain(flag.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Plain(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Plain(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Node, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Node::Plain(Value::Number(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Plain(text.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Plain(Value::Null))
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        Node::deserialize(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<Node>()? {
            items.push(item.into_value());
        }
        Ok(Node::Plain(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields: Vec<(String, Spanned<Node>)> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        while let Some((key, value)) = map.next_entry::<String, Spanned<Node>>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom("a key is given twice"));
            }
            fields.push((key, value));
        }
        Ok(Node::Table(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mappings_are_flattened_with_lines() {
        let sheet = read("a: 1\ndb:\n  host: x\n  on: true\n  list:\n    - 1\n    - k: v\ns: \"1\"\nf: 1.5\n").unwrap();
        let seen: Vec<_> = sheet.iter().map(|(key, found)| (key, found.value.clone(), found.line)).collect();
        assert_eq!(seen[0], ("a", json!(1), Some(1)));
        assert_eq!(seen[1], ("db.host", json!("x"), Some(3)));
        assert_eq!(seen[2].1, json!([1, {"k": "v"}]));
        assert_eq!(seen[3], ("db.on", json!(true), Some(4)));
        assert_eq!(seen[4], ("f", json!(1.5), Some(9)));
        assert_eq!(seen[5], ("s", json!("1"), Some(8)));
        assert!(read("").unwrap().len() == 0 && read("# only a comment\n").unwrap().len() == 0);
    }

    #[test]
    fn anchors_work_within_bounds() {
        let sheet = read("a: &x\n  k: 1\nb: *x\n").unwrap();
        assert_eq!(sheet.get("b.k").unwrap().value, json!(1));
    }

    #[test]
    fn duplicates_nulls_documents_and_other_roots_are_refused() {
        for bad in [
            "a: 1\na: 2\n",
            "b:\n  - {k: 1, k: 2}\n",
            "a:\n",
            "a: ~\n",
            "- 1\n",
            "x",
            "a: 1\n---\nb: 2\n",
            "a: .inf\n",
            "a: [1\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let flaw = read("ok: 1\nbad: [hunter22canary\n").err().unwrap();
        assert!(!flaw.what.contains("hunter22"));
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(read(&bomb).is_err());
        assert!(read("a: &a [*a]\n").is_err());
    }

    #[test]
    fn deep_lists_are_refused_and_do_not_overflow() {
        assert!(read(&format!("a: {}", "[".repeat(100_000))).is_err());
        assert!(read(&format!("a: {}{}", "[".repeat(60), "]".repeat(60))).is_ok());
    }

    #[test]
    fn deep_mappings_are_refused_and_do_not_overflow() {
        assert!(read(&format!("a: {}1{}", "{a: ".repeat(60), "}".repeat(60))).is_ok());
        assert!(read(&format!("a: {}{}", "{a: ".repeat(100_000), "}".repeat(100_000))).is_err());
    }

    #[test]
    fn deep_blocks_are_refused_and_do_not_overflow() {
        let block: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(read(&block).is_err());
    }
}
