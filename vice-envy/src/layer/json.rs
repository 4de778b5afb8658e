//! JSON layers. Every value is taken as its raw text first, so that lines are exact and nesting is bounded before
//! anything recurses.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::key::{DEPTH_MAX, Flaw, Lines, join};
use crate::sheet::Sheet;

struct Reader<'t> {
    text: &'t str,
    lines: Lines,
}

/// Reads a whole text.
pub(crate) fn read(text: &str) -> Result<Sheet, Flaw> {
    let mut sheet = Sheet::default();
    if text.trim().is_empty() {
        return Ok(sheet);
    }
    let reader = Reader { text, lines: Lines::of(text) };
    let root: &RawValue = serde_json::from_str(text).map_err(|error| broken(&error))?;
    if !root.get().starts_with('{') {
        return Err(Flaw::new(Some(1), "it is not a JSON object"));
    }
    reader.add_object(&mut sheet, "", root, 1)?;
    sheet.finish()
}

fn broken(error: &serde_json::Error) -> Flaw {
    let what = match error.classify() {
        Category::Eof => "the JSON text ends too early",
        Category::Io | Category::Syntax | Category::Data => "it is not valid JSON",
    };
    Flaw::new(u32::try_from(error.line()).ok().filter(|line| *line > 0), what)
}

impl<'t> Reader<'t> {
    fn line(&self, raw: &RawValue) -> Option<u32> {
        // Borrowed raw values are slices of the text, so that the distance of the addresses is the offset.
        self.lines.at((raw.get().as_ptr() as usize).checked_sub(self.text.as_ptr() as usize)?)
    }

    fn fields(&self, raw: &'t RawValue) -> Result<Vec<(String, &'t RawValue)>, Flaw> {
        let Fields(fields) = serde_json::from_str(raw.get()).map_err(|_| self.flaw(raw, "it is not valid JSON"))?;
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.flaw(raw, "the object that starts here has a key twice"));
        }
        Ok(fields)
    }

    fn flaw(&self, raw: &RawValue, what: &str) -> Flaw {
        Flaw::new(self.line(raw), what)
    }

    fn deeper(&self, raw: &RawValue, depth: usize) -> Result<usize, Flaw> {
        if depth > DEPTH_MAX {
            return Err(self.flaw(raw, &format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        Ok(depth + 1)
    }

    fn add_object(&self, sheet: &mut Sheet, prefix: &str, raw: &'t RawValue, depth: usize) -> Result<(), Flaw> {
        let depth = self.deeper(raw, depth)?;
        for (name, value) in self.fields(raw)? {
            let key = join(prefix, &name);
            if value.get().starts_with('{') {
                self.add_object(sheet, &key, value, depth)?;
            } else {
                let plain = self.plain(value, depth)?;
                sheet.add(&key, plain, self.line(value))?;
            }
        }
        Ok(())
    }

    fn plain(&self, raw: &'t RawValue, depth: usize) -> Result<Value, Flaw> {
        let depth = self.deeper(raw, depth)?;
        if raw.get().starts_with('{') {
            let fields = self.fields(raw)?.into_iter().map(|(name, value)| Ok((name, self.plain(value, depth)?)));
            return Ok(Value::Object(fields.collect::<Result<Map<_, _>, Flaw>>()?));
        }
        if raw.get().starts_with('[') {
            let Items(items) = serde_json::from_str(raw.get()).map_err(|_| self.flaw(raw, "it is not valid JSON"))?;
            return Ok(Value::Array(items.into_iter().map(|item| self.plain(item, depth)).collect::<Result<_, _>>()?));
        }
        serde_json::from_str(raw.get()).map_err(|_| self.flaw(raw, "a value is not valid JSON"))
    }
}

struct Fields<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Deserialize<'t> for Fields<'t> {
    fn deserialize<D: serde::Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'t> Visitor<'t> for Collect {
            type Value = Fields<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Fields<'t>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

struct Items<'t>(Vec<&'t RawValue>);

impl<'t> Deserialize<'t> for Items<'t> {
    fn deserialize<D: serde::Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'t> Visitor<'t> for Collect {
            type Value = Items<'t>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'t>>(self, mut list: A) -> Result<Items<'t>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_are_flattened_with_exact_lines() {
        let sheet =
            read("{\n \"a\": 1,\n \"db\": {\n  \"h\": \"x\\u0041\",\n  \"l\": [1, {\"z\": true}]\n }\n}\n").unwrap();
        let seen: Vec<_> = sheet.iter().map(|(key, found)| (key, found.value.clone(), found.line)).collect();
        assert_eq!(
            seen,
            [("a", json!(1), Some(2)), ("db.h", json!("xA"), Some(4)), ("db.l", json!([1, {"z": true}]), Some(5)),]
        );
    }

    #[test]
    fn duplicates_nulls_and_other_roots_are_refused() {
        for bad in
            ["{\"a\":1,\"a\":2}", "{\"a\":[{\"b\":1,\"b\":1}]}", "{\"a\":null}", "[1]", "7", "{\"a\":1", "{\"a\":1}x"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(read("{\"a\": {\"b\": 1}, \"a.b\": 2}").is_err());
        let flaw = read("{\"a\": hunter22canary}").err().unwrap();
        assert!(!flaw.what.contains("hunter22"));
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{{\"a\":{}1{}}}", open.repeat(100_000), close.repeat(100_000));
            assert!(read(&text).err().unwrap().what.contains("nested"), "{open}");
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}
