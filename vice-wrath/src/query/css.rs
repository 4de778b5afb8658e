//! CSS selectors: names, `*`, `#id`, `.class`, `[attribute]` with its operators, the four combinators, lists, and
//! `:first-child`, `:last-child`, `:nth-child(n)` and `:not(…)`. `@name` at the end takes an attribute.

use super::Found;
use super::html::{Budget, Document, Id};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Combinator {
    Descendant,
    Child,
    Next,
    Later,
}

#[derive(Debug)]
enum Test {
    Name(String),
    Attribute { name: String, operator: char, value: String },
    First,
    Last,
    Nth(usize),
    Not(Box<Compound>),
}

type Compound = Vec<Test>;

/// A compound with how it is reached from the one before.
type Complex = Vec<(Combinator, Compound)>;

/// Whether a selector can be understood.
///
/// # Errors
/// Text that continues "… is ".
pub(crate) fn check(selector: &str) -> Result<(), String> {
    let plain = crate::values::with_placeholders(selector);
    parse(split_attribute(&plain).0).map(drop)
}

/// Finds the texts of what a selector selects.
///
/// # Errors
/// Text that says why the selector can't be understood.
pub(crate) fn find(document: &Document, selector: &str) -> Result<Found, String> {
    let (selector, attribute) = split_attribute(selector);
    let any = parse(selector)?;
    let budget = Budget::new();
    let scene = (document, &budget);
    let chosen =
        document.descendants(0).into_iter().filter(|id| any.iter().any(|complex| matches(scene, *id, complex)));
    let value = |id: Id| match attribute {
        None => Some(document.text(id).trim().to_owned()),
        Some(name) => document.elements[id].attribute(name).map(str::to_owned),
    };
    let found = budget.collect(chosen.filter_map(value)).map_err(|why| format!("{selector:?}, which {why}"))?;
    Ok(Found::Many(found))
}

fn split_attribute(selector: &str) -> (&str, Option<&str>) {
    match selector.rsplit_once('@') {
        Some((before, name)) if !name.contains([']', '"', '\'', ' ']) => (before, Some(name)),
        _ => (selector, None),
    }
}

/// So many ways a selector may be tried at one element; combinators can branch.
const TRIES_MAX: usize = 10_000;

/// A page, and what may be spent on it.
type Scene<'d> = (&'d Document, &'d Budget);

fn matches((document, budget): Scene<'_>, id: Id, complex: &Complex) -> bool {
    let Some(last) = complex.len().checked_sub(1) else { return false };
    let mut tries = 0;
    let mut open = vec![(id, last)];
    while let Some((id, at)) = open.pop() {
        tries += 1;
        let (combinator, compound) = &complex[at];
        if tries > TRIES_MAX || !budget.take(1) || !compound.iter().all(|test| holds((document, budget), id, test)) {
            continue;
        }
        let Some(before) = at.checked_sub(1) else { return true };
        let parent = document.elements[id].parent.filter(|parent| *parent != 0);
        match combinator {
            Combinator::Child => open.extend(parent.map(|parent| (parent, before))),
            Combinator::Descendant => {
                let mut up = parent;
                while let Some(id) = up {
                    open.push((id, before));
                    up = document.elements[id].parent.filter(|parent| *parent != 0);
                }
            }
            Combinator::Next => open.extend(earlier((document, budget), id).last().map(|id| (*id, before))),
            Combinator::Later => open.extend(earlier((document, budget), id).into_iter().map(|id| (id, before))),
        }
    }
    false
}

/// The siblings before an element.
fn earlier((document, budget): Scene<'_>, id: Id) -> Vec<Id> {
    let parent = document.elements[id].parent.unwrap_or(0);
    if !budget.take(document.elements[parent].children.len()) {
        return Vec::new();
    }
    document.children(parent).take_while(|sibling| *sibling != id).collect()
}

fn holds((document, budget): Scene<'_>, id: Id, test: &Test) -> bool {
    let element = &document.elements[id];
    let siblings = || document.children(element.parent.unwrap_or(0));
    match test {
        Test::Name(name) if document.is_xml() => element.name == *name,
        Test::Name(name) => element.name.eq_ignore_ascii_case(name),
        Test::First => siblings().next() == Some(id),
        Test::Last => siblings().next_back() == Some(id),
        Test::Nth(number) => {
            budget.take(*number);
            siblings().take(*number).position(|sibling| sibling == id) == number.checked_sub(1)
        }
        Test::Not(compound) => !compound.iter().all(|test| holds((document, budget), id, test)),
        Test::Attribute { name, operator, value } => {
            let Some(got) = element.attribute(name) else { return false };
            match operator {
                '=' => got == value,
                '~' => got.split_whitespace().any(|word| word == value),
                '^' => !value.is_empty() && got.starts_with(value.as_str()),
                '$' => !value.is_empty() && got.ends_with(value.as_str()),
                '*' => !value.is_empty() && got.contains(value.as_str()),
                '|' => got == value || got.strip_prefix(value.as_str()).is_some_and(|rest| rest.starts_with('-')),
                _ => true,
            }
        }
    }
}

fn parse(selector: &str) -> Result<Vec<Complex>, String> {
    let wrong = || format!("{selector:?}, which is not a CSS selector that is known here");
    let mut reader = Reader { rest: selector.trim(), depth: 0 };
    let mut any = Vec::new();
    loop {
        any.push(reader.complex().ok_or_else(wrong)?);
        if reader.rest.is_empty() {
            return Ok(any);
        }
        reader.rest = reader.rest.strip_prefix(',').ok_or_else(wrong)?.trim_start();
    }
}

struct Reader<'t> {
    rest: &'t str,
    depth: usize,
}

impl<'t> Reader<'t> {
    fn complex(&mut self) -> Option<Complex> {
        let mut parts = vec![(Combinator::Descendant, self.compound()?)];
        loop {
            let blank = self.rest.len() != self.rest.trim_start().len();
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() || self.rest.starts_with(',') {
                return Some(parts);
            }
            let named = [('>', Combinator::Child), ('+', Combinator::Next), ('~', Combinator::Later)];
            let found = named.into_iter().find(|(sign, _)| self.rest.starts_with(*sign));
            let combinator = match found {
                Some((_, combinator)) => {
                    self.rest = self.rest[1..].trim_start();
                    combinator
                }
                None if blank => Combinator::Descendant,
                None => return None,
            };
            parts.push((combinator, self.compound()?));
        }
    }

    fn compound(&mut self) -> Option<Compound> {
        let mut tests = Vec::new();
        let mut any = false;
        if let Some(rest) = self.rest.strip_prefix('*') {
            (self.rest, any) = (rest, true);
        } else if let Some(name) = self.word() {
            tests.push(Test::Name(name.to_owned()));
        }
        while let Some(sign) = self.rest.chars().next() {
            match sign {
                '#' | '.' => {
                    self.rest = &self.rest[1..];
                    let value = self.word()?.to_owned();
                    let (name, operator) = if sign == '#' { ("id", '=') } else { ("class", '~') };
                    tests.push(Test::Attribute { name: name.to_owned(), operator, value });
                }
                '[' => tests.push(self.attribute()?),
                ':' => tests.push(self.pseudo()?),
                _ => break,
            }
        }
        (any || !tests.is_empty()).then_some(tests)
    }

    fn word(&mut self) -> Option<&'t str> {
        let proper = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let end = self.rest.find(|c| !proper(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn attribute(&mut self) -> Option<Test> {
        let inside = self.rest.strip_prefix('[')?;
        let end = closing(inside)?;
        let (inside, rest) = (&inside[..end], &inside[end + 1..]);
        self.rest = rest;
        let Some((name, value)) = inside.split_once('=') else {
            let name = inside.trim().to_owned();
            return Some(Test::Attribute { name, operator: '?', value: String::new() });
        };
        let name = name.trim();
        let operator = name.chars().last().filter(|c| "~^$*|".contains(*c));
        let name = operator.map_or(name, |sign| name.trim_end_matches(sign).trim_end()).to_owned();
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        Some(Test::Attribute { name, operator: operator.unwrap_or('='), value: bare.unwrap_or(value).to_owned() })
    }

    fn pseudo(&mut self) -> Option<Test> {
        self.rest = self.rest.strip_prefix(':')?;
        match self.word()? {
            "first-child" => Some(Test::First),
            "last-child" => Some(Test::Last),
            "nth-child" => {
                let (number, rest) = self.rest.strip_prefix('(')?.split_once(')')?;
                self.rest = rest;
                number.trim().parse().ok().map(Test::Nth)
            }
            // One level is enough for people, and keeps this from recursing for others.
            "not" if self.depth == 0 => {
                self.rest = self.rest.strip_prefix('(')?.trim_start();
                self.depth = 1;
                let inner = self.compound()?;
                self.depth = 0;
                self.rest = self.rest.trim_start().strip_prefix(')')?;
                Some(Test::Not(Box::new(inner)))
            }
            _ => None,
        }
    }
}

/// The `]` that ends an attribute, outside of quotes.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if c == ']' => return Some(index),
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<html><body id=top><ul class='a b'><li>1</li><li class=x data-k='v]w'>2</li><li>3</li></ul>\
                        <div><p>in <a class=next href='/p?2'>go</a></p></div><p>last</p></body></html>";

    fn texts(selector: &str) -> Vec<String> {
        match find(&Document::parse(PAGE).unwrap(), selector).unwrap() {
            Found::Many(values) => values.into_iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn selectors_select() {
        assert_eq!(texts("li"), ["1", "2", "3"]);
        assert_eq!(texts("ul.a.b > li.x"), ["2"]);
        assert_eq!(texts("#top li:first-child, li:last-child"), ["1", "3"]);
        assert_eq!(texts("li:nth-child(2) + li"), ["3"]);
        assert_eq!(texts("li.x ~ li"), ["3"]);
        assert_eq!(texts("[data-k='v]w']"), ["2"]);
        assert_eq!(texts("a[href^='/p']@href"), ["/p?2"]);
        assert_eq!(texts("li:not(.x)"), ["1", "3"]);
        assert_eq!(texts("div p a"), ["go"]);
        assert_eq!(texts("body > p"), ["last"]);
        assert!(texts("h1").is_empty());
    }

    #[test]
    fn nonsense_is_refused() {
        for selector in ["", ">", "a >", "a,,b", "[x", ":hover", "a:nth-child(x)", "a..b", "a:not(b:not(c))"] {
            assert!(check(selector).is_err(), "{selector}");
        }
    }
}
