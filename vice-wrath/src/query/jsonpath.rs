//! JSON Pointers (RFC 6901) and the JSONPath (RFC 9535) that people use: names, indices, slices, `*`, `..`, lists of
//! them, and filters that compare. It owns both notations; functions of JSONPath are absent.

use std::cmp::Ordering;

use serde_json::Value;

use super::Found;

/// The longest path, in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// The most nodes that a path may select; `$..*` of a large body ends there.
const NODES_MAX: usize = 100_000;

#[derive(Debug, Clone, PartialEq)]
enum Segment {
    Child(Vec<Selector>),
    Descendants(Vec<Selector>),
}

#[derive(Debug, Clone, PartialEq)]
enum Selector {
    Name(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Wild,
    Filter(Expression),
}

#[derive(Debug, Clone, PartialEq)]
enum Expression {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Exists(Operand),
    Compare(Operand, Comparison, Operand),
    Matches(Operand, String),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path { root: bool, segments: Vec<Segment> },
    Literal(Value),
}

/// Whether a path can be understood. Templates in it stand for harmless words.
///
/// # Errors
/// Text that continues "… is ".
pub(crate) fn check(path: &str) -> Result<(), String> {
    let plain = crate::values::with_placeholders(path);
    if plain.starts_with('$') { parse(&plain).map(drop) } else { check_pointer(&plain) }
}

fn check_pointer(path: &str) -> Result<(), String> {
    if path.is_empty() || path.starts_with('/') {
        return Ok(());
    }
    Err(format!("{path:?}, which is neither a JSON Pointer (/a/0) nor a JSONPath ($.a[0])"))
}

/// Finds what a path points at.
///
/// # Errors
/// Text that says why the path can't be understood.
pub(crate) fn find(body: &Value, path: &str) -> Result<Found, String> {
    if !path.starts_with('$') {
        check_pointer(path)?;
        let found = body.pointer(path).cloned();
        return Ok(found.map_or_else(|| Found::Nothing(format!("nothing is at {path}")), Found::One));
    }
    let segments = parse(path)?;
    let single = segments.iter().all(|segment| {
        matches!(segment, Segment::Child(selectors)
            if matches!(selectors.as_slice(), [Selector::Name(_) | Selector::Index(_)]))
    });
    let nodes = select(body, body, &segments);
    if single {
        let first = nodes.first().map(|value| (*value).clone());
        return Ok(first.map_or_else(|| Found::Nothing(format!("nothing is at {path}")), Found::One));
    }
    Ok(Found::Many(nodes.into_iter().cloned().collect()))
}

fn select<'v>(root: &'v Value, start: &'v Value, segments: &[Segment]) -> Vec<&'v Value> {
    let mut nodes = vec![start];
    for segment in segments {
        let mut next = Vec::new();
        for node in nodes {
            match segment {
                Segment::Child(selectors) => children(root, node, selectors, &mut next),
                Segment::Descendants(selectors) => descend(root, node, selectors, &mut next),
            }
        }
        next.truncate(NODES_MAX);
        nodes = next;
    }
    nodes
}

/// Not recursive: the body is the server's, and as deep as it likes.
fn descend<'v>(root: &'v Value, node: &'v Value, selectors: &[Selector], out: &mut Vec<&'v Value>) {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if out.len() >= NODES_MAX {
            return;
        }
        children(root, node, selectors, out);
        match node {
            Value::Array(items) => open.extend(items.iter().rev()),
            Value::Object(fields) => open.extend(fields.values().rev()),
            _ => {}
        }
    }
}

fn children<'v>(root: &'v Value, node: &'v Value, selectors: &[Selector], out: &mut Vec<&'v Value>) {
    for selector in selectors {
        match (selector, node) {
            (Selector::Name(name), Value::Object(fields)) => out.extend(fields.get(name)),
            (Selector::Index(index), Value::Array(items)) => out.extend(at(items, *index)),
            (Selector::Slice(from, to, step), Value::Array(items)) => slice(items, *from, *to, *step, out),
            (Selector::Wild, Value::Array(items)) => out.extend(items),
            (Selector::Wild, Value::Object(fields)) => out.extend(fields.values()),
            (Selector::Filter(filter), Value::Array(items)) => {
                out.extend(items.iter().filter(|item| holds(filter, root, item)));
            }
            (Selector::Filter(filter), Value::Object(fields)) => {
                out.extend(fields.values().filter(|item| holds(filter, root, item)));
            }
            _ => {}
        }
    }
}

fn at(items: &[Value], index: i64) -> Option<&Value> {
    let length = i64::try_from(items.len()).ok()?;
    let index = if index < 0 { length.checked_add(index)? } else { index };
    items.get(usize::try_from(index).ok()?)
}

fn slice<'v>(items: &'v [Value], from: Option<i64>, to: Option<i64>, step: i64, out: &mut Vec<&'v Value>) {
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let place = |value: i64| if value < 0 { value.saturating_add(length) } else { value };
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |value: Option<i64>, default: i64| value.map_or(default, |value| place(value).clamp(low, high));
    let (mut at, end) = if step > 0 {
        (bound(from, 0), bound(to, length))
    } else {
        (bound(from, length - 1), to.map_or(-1, |to| place(to).clamp(-1, length - 1)))
    };
    while (step > 0 && at < end) || (step < 0 && at > end) {
        out.extend(usize::try_from(at).ok().and_then(|index| items.get(index)));
        at = at.saturating_add(step);
    }
}

fn holds(expression: &Expression, root: &Value, item: &Value) -> bool {
    match expression {
        Expression::And(all) => all.iter().all(|one| holds(one, root, item)),
        Expression::Or(any) => any.iter().any(|one| holds(one, root, item)),
        Expression::Not(inner) => !holds(inner, root, item),
        Expression::Exists(operand) => value_of(operand, root, item).is_some(),
        Expression::Compare(left, comparison, right) => {
            let (left, right) = (value_of(left, root, item), value_of(right, root, item));
            compare(left.as_ref(), *comparison, right.as_ref())
        }
        Expression::Matches(operand, pattern) => {
            let regex = regex::Regex::new(pattern);
            let text = value_of(operand, root, item);
            regex.is_ok_and(|regex| text.as_ref().and_then(Value::as_str).is_some_and(|text| regex.is_match(text)))
        }
    }
}

fn value_of(operand: &Operand, root: &Value, item: &Value) -> Option<Value> {
    match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path { root: from_root, segments } => {
            select(root, if *from_root { root } else { item }, segments).first().map(|value| (*value).clone())
        }
    }
}

fn compare(left: Option<&Value>, comparison: Comparison, right: Option<&Value>) -> bool {
    let equal = match (left, right) {
        (Some(Value::Number(left)), Some(Value::Number(right))) => left.as_f64() == right.as_f64(),
        _ => left == right,
    };
    let order = match (left, right) {
        (Some(Value::Number(left)), Some(Value::Number(right))) => left.as_f64().partial_cmp(&right.as_f64()),
        (Some(Value::String(left)), Some(Value::String(right))) => Some(left.cmp(right)),
        _ => None,
    };
    match comparison {
        Comparison::Equal => equal,
        Comparison::NotEqual => !equal,
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::LessOrEqual => equal || order == Some(Ordering::Less),
        Comparison::GreaterOrEqual => equal || order == Some(Ordering::Greater),
    }
}

/// Takes a JSONPath apart.
fn parse(path: &str) -> Result<Vec<Segment>, String> {
    if path.len() > PATH_BYTES_MAX {
        return Err(format!("a JSONPath of more than {PATH_BYTES_MAX} bytes"));
    }
    let mut reader = Reader { text: path, at: 0, depth: 0 };
    reader.expect('$')?;
    let segments = reader.segments()?;
    reader.blank();
    if reader.rest().is_empty() { Ok(segments) } else { Err(reader.wrong("the end")) }
}

/// How deep filters and brackets may nest.
const DEPTH_MAX: usize = 32;

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn wrong(&self, wanted: &str) -> String {
        format!("{:?}, which is not a JSONPath: {wanted} is missing at character {}", self.text, self.at + 1)
    }

    fn blank(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.blank();
        if self.eat(wanted.encode_utf8(&mut [0; 4])) { Ok(()) } else { Err(self.wrong(&format!("`{wanted}`"))) }
    }

    fn name(&mut self) -> Option<String> {
        let proper = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let end = self.rest().find(|c| !proper(c)).unwrap_or(self.rest().len());
        let name = self.rest()[..end].to_owned();
        self.at += end;
        (!name.is_empty()).then_some(name)
    }

    fn segments(&mut self) -> Result<Vec<Segment>, String> {
        let mut segments = Vec::new();
        loop {
            if self.eat("..") {
                let selectors = if self.rest().starts_with('[') { self.brackets()? } else { vec![self.dotted()?] };
                segments.push(Segment::Descendants(selectors));
            } else if self.eat(".") {
                segments.push(Segment::Child(vec![self.dotted()?]));
            } else if self.rest().starts_with('[') {
                segments.push(Segment::Child(self.brackets()?));
            } else {
                return Ok(segments);
            }
        }
    }

    fn dotted(&mut self) -> Result<Selector, String> {
        if self.eat("*") {
            return Ok(Selector::Wild);
        }
        self.name().map(Selector::Name).ok_or_else(|| self.wrong("a name"))
    }

    fn brackets(&mut self) -> Result<Vec<Selector>, String> {
        self.expect('[')?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("an end of the nesting"));
        }
        let mut selectors = vec![self.selector()?];
        loop {
            self.blank();
            if self.eat("]") {
                self.depth -= 1;
                return Ok(selectors);
            }
            self.expect(',')?;
            selectors.push(self.selector()?);
        }
    }

    fn selector(&mut self) -> Result<Selector, String> {
        self.blank();
        if self.eat("*") {
            return Ok(Selector::Wild);
        }
        if self.eat("?") {
            return Ok(Selector::Filter(self.either()?));
        }
        if self.rest().starts_with(['\'', '"']) {
            return self.quoted().map(Selector::Name);
        }
        let first = self.number();
        self.blank();
        if !self.eat(":") {
            return first.map(Selector::Index).ok_or_else(|| self.wrong("a name, a number or *"));
        }
        self.blank();
        let to = self.number();
        self.blank();
        let step = if self.eat(":") { self.number().unwrap_or(1) } else { 1 };
        if step == 0 { Err(self.wrong("a step other than 0")) } else { Ok(Selector::Slice(first, to, step)) }
    }

    fn number(&mut self) -> Option<i64> {
        let rest = self.rest();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let whole = rest.len() - digits.len() + length;
        let number = rest[..whole].parse().ok()?;
        self.at += whole;
        Some(number)
    }

    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest().char_indices();
        let Some((_, quote)) = chars.next() else { return Err(self.wrong("a text in quotes")) };
        let mut out = String::new();
        while let Some((index, c)) = chars.next() {
            match c {
                '\\' => out.extend(chars.next().map(|(_, c)| c)),
                c if c == quote => {
                    self.at += index + 1;
                    return Ok(out);
                }
                c => out.push(c),
            }
        }
        Err(self.wrong("the end of a text"))
    }

    fn either(&mut self) -> Result<Expression, String> {
        let mut any = vec![self.both()?];
        loop {
            self.blank();
            if !self.eat("||") {
                return Ok(if any.len() == 1 { any.remove(0) } else { Expression::Or(any) });
            }
            any.push(self.both()?);
        }
    }

    fn both(&mut self) -> Result<Expression, String> {
        let mut all = vec![self.single()?];
        loop {
            self.blank();
            if !self.eat("&&") {
                return Ok(if all.len() == 1 { all.remove(0) } else { Expression::And(all) });
            }
            all.push(self.single()?);
        }
    }

    fn single(&mut self) -> Result<Expression, String> {
        self.blank();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("an end of the nesting"));
        }
        let expression = if self.eat("!") {
            Expression::Not(Box::new(self.single()?))
        } else if self.eat("(") {
            let inner = self.either()?;
            self.expect(')')?;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.operand()?;
        self.blank();
        let operators = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        if self.eat("=~") {
            self.blank();
            let pattern = self.quoted()?;
            return match regex::Regex::new(&pattern) {
                Ok(_) => Ok(Expression::Matches(left, pattern)),
                Err(_) => Err(self.wrong("a regular expression in quotes")),
            };
        }
        for (word, comparison) in operators {
            if self.eat(word) {
                return Ok(Expression::Compare(left, comparison, self.operand()?));
            }
        }
        Ok(Expression::Exists(left))
    }

    fn operand(&mut self) -> Result<Operand, String> {
        self.blank();
        for (word, root) in [("@", false), ("$", true)] {
            if self.eat(word) {
                return Ok(Operand::Path { root, segments: self.segments()? });
            }
        }
        if self.rest().starts_with(['\'', '"']) {
            return Ok(Operand::Literal(Value::String(self.quoted()?)));
        }
        for (word, value) in [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)] {
            if self.eat(word) {
                return Ok(Operand::Literal(value));
            }
        }
        let end = self.rest().find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let number = &self.rest()[..end.unwrap_or(self.rest().len())];
        let value = serde_json::from_str(number).map_err(|_| self.wrong("a value"))?;
        self.at += number.len();
        Ok(Operand::Literal(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body() -> Value {
        json!({"store": {"book": [
            {"title": "A", "price": 8.95, "tags": ["x"]},
            {"title": "B", "price": 12, "isbn": "1"},
            {"title": "C", "price": 9, "isbn": "2"}],
            "a b": {"c'd": 1}}, "limit": 10, "n": null})
    }

    fn many(path: &str) -> Value {
        match find(&body(), path).unwrap() {
            Found::Many(values) => Value::Array(values),
            Found::One(value) => value,
            Found::Nothing(why) => json!({ "nothing": why }),
        }
    }

    #[test]
    fn paths_find_what_they_name() {
        let cases = [
            ("/store/book/0/title", json!("A")),
            ("$.store.book[0].title", json!("A")),
            ("$['store']['a b'][\"c'd\"]", json!(1)),
            ("$.store.book[-1].title", json!("C")),
            ("$.store.book[*].title", json!(["A", "B", "C"])),
            ("$..title", json!(["A", "B", "C"])),
            ("$.store.book[1:].title", json!(["B", "C"])),
            ("$.store.book[::-1].title", json!(["C", "B", "A"])),
            ("$.store.book[:-1].title", json!(["A", "B"])),
            ("$.store.book[0,2].title", json!(["A", "C"])),
            ("$.store.book[?@.isbn].title", json!(["B", "C"])),
            ("$.store.book[?(@.price < 10)].title", json!(["A", "C"])),
            ("$.store.book[?(@.price < $.limit && @.isbn == '2')].title", json!(["C"])),
            ("$.store.book[?(!@.isbn || @.title == \"B\")].title", json!(["A", "B"])),
            ("$.store.book[?(@.title =~ '^[AB]$')].title", json!(["A", "B"])),
            ("$.store.book[?(@.price == 12.0)].title", json!(["B"])),
            ("$.n", json!(null)),
            ("$.store.book[9]", json!({"nothing": "nothing is at $.store.book[9]"})),
            ("$", body()),
        ];
        for (path, expected) in cases {
            assert_eq!(many(path), expected, "{path}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_nothing_overflows() {
        for path in ["$.", "$[", "$[a]", "$['a", "$[?(@.a ==)]", "$.a b", "a", "$[0:1:0]", "$[?(@ =~ '(')]"] {
            assert!(check(path).is_err(), "{path}");
        }
        let deep = format!("$[?{}@.a]", "(".repeat(2000));
        assert!(check(&deep).is_err());
        assert!(check("$.users[?(@.id == '{{id}}')].name").is_ok());
        let mut nested = json!(1);
        for _ in 0..100 {
            nested = json!([nested]);
        }
        assert!(matches!(find(&nested, "$..*").unwrap(), Found::Many(values) if values.len() == 100));
    }
}
