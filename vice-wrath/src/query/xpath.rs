//! The XPath that tests use: absolute and relative paths with `/` and `//`, names, `*`, `.`, `..`, `@name`, `text()`,
//! predicates with positions, comparisons, `and`, `or`, `not`, `contains`, `starts-with`, and around a path `string`,
//! `normalize-space`, `count`, `boolean` and `number`. Axes by name are absent.

use serde_json::Value;

use super::Found;
use super::html::{Budget, Child, Document, Id};

/// How deep an expression may nest.
const DEPTH_MAX: usize = 32;

/// So many nodes a step may select.
const NODES_MAX: usize = 100_000;

#[derive(Debug, Clone)]
enum Node {
    Element(Id),
    Text(String),
}

#[derive(Debug)]
enum Expr {
    Path(Path),
    Text(String),
    Number(f64),
    Call(String, Vec<Self>),
    Binary(Box<Self>, &'static str, Box<Self>),
}

#[derive(Debug)]
struct Path {
    absolute: bool,
    steps: Vec<PathStep>,
}

#[derive(Debug)]
struct PathStep {
    deep: bool,
    test: NodeTest,
    predicates: Vec<Expr>,
}

#[derive(Debug)]
enum NodeTest {
    Name(String),
    Any,
    Attribute(String),
    Text,
    Itself,
    Parent,
}

enum Computed {
    Nodes(Vec<Node>),
    Text(String),
    Number(f64),
    Bool(bool),
}

/// Whether an expression can be understood.
///
/// # Errors
/// Text that continues "… is ".
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(&crate::values::with_placeholders(text)).map(drop)
}

/// What an expression gives: a value for a function, texts for a path.
///
/// # Errors
/// Text that says why it can't be understood.
pub(crate) fn find(document: &Document, text: &str) -> Result<Found, String> {
    let expr = parse(text)?;
    let budget = Budget::new();
    let scene = Scene { document, budget: &budget, node: Node::Element(0), position: 1, last: 1 };
    let computed = scene.compute(&expr);
    let texts = match &computed {
        Computed::Nodes(nodes) => nodes.as_slice(),
        _ => &[],
    };
    let texts = texts.iter().map(|node| scene.string(node).trim().to_owned());
    let texts = budget.collect(texts).map_err(|why| format!("{text:?}, which {why}"))?;
    Ok(match computed {
        Computed::Nodes(_) => Found::Many(texts),
        Computed::Text(text) => Found::One(Value::String(text)),
        Computed::Bool(value) => Found::One(Value::Bool(value)),
        Computed::Number(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
            Found::One(Value::from(number as i64))
        }
        Computed::Number(number) => Found::One(Value::from(number)),
    })
}

/// Where an expression is computed.
struct Scene<'d> {
    document: &'d Document,
    budget: &'d Budget,
    node: Node,
    position: usize,
    last: usize,
}

impl Scene<'_> {
    fn string(&self, node: &Node) -> String {
        match node {
            Node::Element(id) => self.document.text(*id),
            Node::Text(text) => text.clone(),
        }
    }

    fn compute(&self, expr: &Expr) -> Computed {
        match expr {
            Expr::Text(text) => Computed::Text(text.clone()),
            Expr::Number(number) => Computed::Number(*number),
            Expr::Path(path) => Computed::Nodes(self.select(path)),
            Expr::Call(name, arguments) => self.call(name, arguments),
            Expr::Binary(left, operator, right) => Computed::Bool(match *operator {
                "and" => self.truth(left) && self.truth(right),
                "or" => self.truth(left) || self.truth(right),
                _ => self.compare(&self.compute(left), operator, &self.compute(right)),
            }),
        }
    }

    fn truth(&self, expr: &Expr) -> bool {
        match self.compute(expr) {
            Computed::Nodes(nodes) => !nodes.is_empty(),
            Computed::Text(text) => !text.is_empty(),
            Computed::Number(number) => number != 0.0,
            Computed::Bool(value) => value,
        }
    }

    fn as_text(&self, computed: &Computed) -> String {
        match computed {
            Computed::Nodes(nodes) => nodes.first().map(|node| self.string(node)).unwrap_or_default(),
            Computed::Text(text) => text.clone(),
            Computed::Number(number) => number.to_string(),
            Computed::Bool(value) => value.to_string(),
        }
    }

    fn as_number(&self, computed: &Computed) -> f64 {
        match computed {
            Computed::Number(number) => *number,
            other => self.as_text(other).trim().parse().unwrap_or(f64::NAN),
        }
    }

    /// A list of nodes compares if any of them does.
    fn compare(&self, left: &Computed, operator: &str, right: &Computed) -> bool {
        match (left, right) {
            (Computed::Nodes(nodes), other) | (other, Computed::Nodes(nodes)) => {
                let flipped = matches!(right, Computed::Nodes(_)) && !matches!(left, Computed::Nodes(_));
                nodes.iter().any(|node| {
                    let text = Computed::Text(self.string(node));
                    if flipped {
                        self.compare_two(other, operator, &text)
                    } else {
                        self.compare_two(&text, operator, other)
                    }
                })
            }
            _ => self.compare_two(left, operator, right),
        }
    }

    fn compare_two(&self, left: &Computed, operator: &str, right: &Computed) -> bool {
        let numbers = matches!(left, Computed::Number(_)) || matches!(right, Computed::Number(_));
        let equal = if numbers {
            self.as_number(left) == self.as_number(right)
        } else {
            self.as_text(left) == self.as_text(right)
        };
        let (one, two) = (self.as_number(left), self.as_number(right));
        match operator {
            "=" => equal,
            "!=" => !equal,
            "<" => one < two,
            "<=" => one <= two,
            ">" => one > two,
            _ => one >= two,
        }
    }

    fn call(&self, name: &str, arguments: &[Expr]) -> Computed {
        let text = |index: usize| match arguments.get(index) {
            Some(expr) => self.as_text(&self.compute(expr)),
            None => self.string(&self.node),
        };
        match name {
            "string" => Computed::Text(text(0)),
            "normalize-space" => Computed::Text(text(0).split_whitespace().collect::<Vec<_>>().join(" ")),
            "count" => match arguments.first().map(|expr| self.compute(expr)) {
                Some(Computed::Nodes(nodes)) => Computed::Number(nodes.len() as f64),
                _ => Computed::Number(0.0),
            },
            "boolean" => Computed::Bool(arguments.first().is_some_and(|expr| self.truth(expr))),
            "not" => Computed::Bool(!arguments.first().is_some_and(|expr| self.truth(expr))),
            "number" => Computed::Number(text(0).trim().parse().unwrap_or(f64::NAN)),
            "contains" => Computed::Bool(text(0).contains(&text(1))),
            "starts-with" => Computed::Bool(text(0).starts_with(&text(1))),
            "string-length" => Computed::Number(text(0).chars().count() as f64),
            "position" => Computed::Number(self.position as f64),
            _ => Computed::Number(self.last as f64),
        }
    }

    fn select(&self, path: &Path) -> Vec<Node> {
        let mut nodes = vec![if path.absolute { Node::Element(0) } else { self.node.clone() }];
        for step in &path.steps {
            let mut next: Vec<Node> = Vec::new();
            let mut seen = std::collections::BTreeSet::new();
            for node in &nodes {
                for found in self.step(node, step) {
                    let new = match &found {
                        Node::Element(id) => seen.insert(*id),
                        Node::Text(_) => true,
                    };
                    if new && next.len() < NODES_MAX {
                        next.push(found);
                    }
                }
            }
            nodes = next;
        }
        nodes
    }

    /// Each place from which a step looks has positions of its own.
    fn step(&self, node: &Node, step: &PathStep) -> Vec<Node> {
        let Node::Element(id) = node else {
            return if matches!(step.test, NodeTest::Itself) { vec![node.clone()] } else { Vec::new() };
        };
        let mut from = vec![*id];
        if step.deep {
            from.extend(self.document.descendants(*id));
            if !self.budget.take(from.len()) {
                return Vec::new();
            }
        }
        from.into_iter().flat_map(|id| self.filtered(self.tested(id, &step.test), &step.predicates)).collect()
    }

    fn tested(&self, id: Id, test: &NodeTest) -> Vec<Node> {
        let document = self.document;
        if !self.budget.take(1 + document.elements[id].children.len()) {
            return Vec::new();
        }
        match test {
            NodeTest::Itself => vec![Node::Element(id)],
            NodeTest::Parent => document.elements[id].parent.map(Node::Element).into_iter().collect(),
            NodeTest::Attribute(name) if name == "*" => {
                document.elements[id].attributes.iter().map(|(_, value)| Node::Text(value.clone())).collect()
            }
            NodeTest::Attribute(name) => {
                document.elements[id].attribute(name).map(|value| Node::Text(value.to_owned())).into_iter().collect()
            }
            NodeTest::Text => {
                let texts = document.elements[id].children.iter().filter_map(|child| match child {
                    Child::Text(text) => Some(Node::Text(text.clone())),
                    Child::Element(_) => None,
                });
                texts.collect()
            }
            NodeTest::Any => document.children(id).map(Node::Element).collect(),
            NodeTest::Name(name) => {
                let fits = |id: &Id| {
                    let got = &document.elements[*id].name;
                    // A prefix may be left out, as a default namespace would be.
                    got == name || got.rsplit_once(':').is_some_and(|(_, local)| local == name)
                };
                document.children(id).filter(fits).map(Node::Element).collect()
            }
        }
    }

    fn filtered(&self, mut nodes: Vec<Node>, predicates: &[Expr]) -> Vec<Node> {
        for predicate in predicates {
            let last = nodes.len();
            let kept = nodes.into_iter().enumerate().filter(|(index, node)| {
                let scene = Scene {
                    document: self.document,
                    budget: self.budget,
                    node: node.clone(),
                    position: index + 1,
                    last,
                };
                match scene.compute(predicate) {
                    Computed::Number(number) => number == (index + 1) as f64,
                    Computed::Nodes(nodes) => !nodes.is_empty(),
                    Computed::Text(text) => !text.is_empty(),
                    Computed::Bool(value) => value,
                }
            });
            nodes = kept.map(|(_, node)| node).collect();
        }
        nodes
    }
}

fn parse(text: &str) -> Result<Expr, String> {
    let wrong = |rest: &str| {
        let at = text.len() - rest.len() + 1;
        format!("{text:?}, which is not an XPath that is known here (character {at})")
    };
    let mut reader = Reader { rest: text.trim_end(), depth: 0 };
    let expr = reader.either().ok_or_else(|| wrong(reader.rest))?;
    if reader.rest.trim().is_empty() { Ok(expr) } else { Err(wrong(reader.rest)) }
}

const FUNCTIONS: &[&str] = &[
    "string",
    "normalize-space",
    "count",
    "boolean",
    "not",
    "number",
    "contains",
    "starts-with",
    "string-length",
    "position",
    "last",
];

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn eat(&mut self, word: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A word that ends where a name would.
    fn eat_word(&mut self, word: &str) -> bool {
        let before = self.rest;
        if self.eat(word) && !self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '-' || c == '_') {
            return true;
        }
        self.rest = before;
        false
    }

    fn either(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let mut left = self.both()?;
        while self.eat_word("or") {
            left = Expr::Binary(Box::new(left), "or", Box::new(self.both()?));
        }
        self.depth -= 1;
        Some(left)
    }

    fn both(&mut self) -> Option<Expr> {
        let mut left = self.comparison()?;
        while self.eat_word("and") {
            left = Expr::Binary(Box::new(left), "and", Box::new(self.comparison()?));
        }
        Some(left)
    }

    fn comparison(&mut self) -> Option<Expr> {
        let left = self.operand()?;
        for operator in ["!=", "<=", ">=", "=", "<", ">"] {
            if self.eat(operator) {
                return Some(Expr::Binary(Box::new(left), operator, Box::new(self.operand()?)));
            }
        }
        Some(left)
    }

    fn operand(&mut self) -> Option<Expr> {
        self.rest = self.rest.trim_start();
        if self.eat("(") {
            let inner = self.either()?;
            return self.eat(")").then_some(inner);
        }
        for quote in ['"', '\''] {
            if let Some(inner) = self.rest.strip_prefix(quote) {
                let (text, rest) = inner.split_once(quote)?;
                self.rest = rest;
                return Some(Expr::Text(text.to_owned()));
            }
        }
        if self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            let end =
                self.rest[1..].find(|c: char| !c.is_ascii_digit() && c != '.').map_or(self.rest.len(), |at| at + 1);
            let (number, rest) = self.rest.split_at(end);
            self.rest = rest;
            return number.parse().ok().map(Expr::Number);
        }
        let name_end = self.rest.find(|c: char| !c.is_ascii_alphabetic() && c != '-').unwrap_or(0);
        let name = &self.rest[..name_end];
        if self.rest[name_end..].starts_with('(') && FUNCTIONS.contains(&name) {
            self.rest = &self.rest[name_end + 1..];
            return self.arguments().map(|arguments| Expr::Call(name.to_owned(), arguments));
        }
        self.path().map(Expr::Path)
    }

    fn arguments(&mut self) -> Option<Vec<Expr>> {
        let mut arguments = Vec::new();
        if self.eat(")") {
            return Some(arguments);
        }
        loop {
            arguments.push(self.either()?);
            if self.eat(")") {
                return Some(arguments);
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn path(&mut self) -> Option<Path> {
        let mut deep = self.rest.starts_with("//");
        let absolute = self.rest.starts_with('/');
        self.rest = self.rest.trim_start_matches('/');
        let mut steps = Vec::new();
        loop {
            steps.push(self.path_step(deep)?);
            if !self.rest.starts_with('/') {
                return Some(Path { absolute, steps });
            }
            deep = self.rest.starts_with("//");
            self.rest = &self.rest[if deep { 2 } else { 1 }..];
        }
    }

    fn path_step(&mut self, deep: bool) -> Option<PathStep> {
        let test = self.node_test()?;
        let mut predicates = Vec::new();
        while self.rest.starts_with('[') {
            self.rest = &self.rest[1..];
            predicates.push(self.either()?);
            if !self.eat("]") {
                return None;
            }
        }
        Some(PathStep { deep, test, predicates })
    }

    fn node_test(&mut self) -> Option<NodeTest> {
        for (word, test) in [
            ("..", NodeTest::Parent),
            (".", NodeTest::Itself),
            ("text()", NodeTest::Text),
            ("*", NodeTest::Any),
            ("@*", NodeTest::Attribute("*".to_owned())),
        ] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(test);
            }
        }
        let attribute = self.rest.strip_prefix('@');
        let named = attribute.unwrap_or(self.rest);
        let proper = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ':' | '.');
        let end = named.find(|c| !proper(c)).unwrap_or(named.len());
        let (name, rest) = named.split_at(end);
        if name.is_empty() || rest.starts_with('(') || name.contains("::") {
            return None;
        }
        self.rest = rest;
        let name = name.to_owned();
        Some(if attribute.is_some() { NodeTest::Attribute(name) } else { NodeTest::Name(name) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PAGE: &str = "<html><head><title> Shop </title></head><body><ul><li class=a>1</li><li class='b'>2</li></ul>\
                        <ul><li>3</li></ul><a href='/x' rel=next>go</a></body></html>";

    fn value(path: &str) -> Value {
        match find(&Document::parse(PAGE).unwrap(), path).unwrap() {
            Found::Many(values) => Value::Array(values),
            Found::One(value) => value,
            Found::Nothing(why) => json!({ "nothing": why }),
        }
    }

    #[test]
    fn paths_and_functions() {
        let cases = [
            ("/html/head/title", json!(["Shop"])),
            ("//li", json!(["1", "2", "3"])),
            ("count(//li)", json!(3)),
            ("string(//title)", json!(" Shop ")),
            ("normalize-space(//title)", json!("Shop")),
            ("//ul[1]/li[2]", json!(["2"])),
            ("//li[last()]", json!(["2", "3"])),
            ("//li[@class='b']", json!(["2"])),
            ("//li[@class]", json!(["1", "2"])),
            ("//li[not(@class)]", json!(["3"])),
            ("//a[contains(@href,'x') and text()='go']/@rel", json!(["next"])),
            ("//li[. > 1]", json!(["2", "3"])),
            ("//li[starts-with(., '1') or . = 3]/..", json!(["12", "3"])),
            ("string(//h1)", json!("")),
            ("boolean(//h1)", json!(false)),
            ("//title/text()", json!(["Shop"])),
        ];
        for (path, expected) in cases {
            assert_eq!(value(path), expected, "{path}");
        }
    }

    #[test]
    fn prefixes_of_xml_may_be_left_out() {
        let xml = "<?xml version='1.0'?><s:Envelope><s:Body><Price>12</Price></s:Body></s:Envelope>";
        let document = Document::parse(xml).unwrap();
        assert_eq!(find(&document, "/Envelope/s:Body/Price").unwrap(), Found::Many(vec![json!("12")]));
        assert_eq!(find(&document, "//price").unwrap(), Found::Many(vec![]), "XML tells cases apart");
    }

    #[test]
    fn pages_that_were_made_to_be_slow_are_given_up() {
        let nested = Document::parse(&format!("{}{}", "<b>".repeat(500), "<i>x</i>".repeat(20_000))).unwrap();
        assert!(find(&nested, "//*//*//*[.//i]//i").unwrap_err().contains("takes too long"));
        let heavy = Document::parse(&format!("{}{}", "<b>".repeat(500), "x".repeat(200_000))).unwrap();
        assert!(find(&heavy, "//b").unwrap_err().contains("more text"));
        assert!(super::super::css::find(&heavy, "b").unwrap_err().contains("more text"));
        let wide = Document::parse(&"<i>x</i>".repeat(20_000)).unwrap();
        assert!(super::super::css::find(&wide, "i + i").unwrap_err().contains("takes too long"));
    }

    #[test]
    fn nonsense_is_refused() {
        for path in ["", "/", "//", "//li[", "count(", "//li[@]", "ancestor::x", "foo(//a)", "'x", "//a b"] {
            assert!(check(path).is_err(), "{path}");
        }
        assert!(check(&"(".repeat(10_000)).is_err());
    }
}
