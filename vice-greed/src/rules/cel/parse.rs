//! From words to a tree, by precedence. Nesting and size are limited while reading, so that neither reading nor evaluating
//! can use up the stack, whoever wrote the expression.

use regex::{Regex, RegexBuilder};
use vice_core::suggest::nearest;

use super::token::{Token, tokens};
use super::{BYTES_MAX, NESTING_MAX, NODES_MAX, Slip};

/// The largest compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// An operator between two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// A function or a method; for a method the first argument is its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Func {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Int,
    Double,
    Text,
    Bool,
    Timestamp,
    Duration,
    /// `getFullYear()` and its kin, in UTC.
    Part(TimePart),
}

/// A part of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimePart {
    Year,
    Month,
    DayOfMonth,
    DayOfWeek,
    Hours,
    Minutes,
    Seconds,
}

/// What a macro does with each item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fold {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

/// A part of an expression.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
    /// A name from outside, by index.
    Root(usize),
    /// The variable of a macro, by how many macros enclose it.
    Local(usize),
    Field(Box<Self>, String),
    Index(Box<Self>, Box<Self>),
    /// Whether a field is there.
    Has(Box<Self>, String),
    Not(Box<Self>),
    Negative(Box<Self>),
    Two(Op, Box<Self>, Box<Self>),
    And(Vec<Self>),
    Or(Vec<Self>),
    Choose(Box<[Self; 3]>),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Call(Func, Vec<Self>),
    Matches(Box<Self>, Box<Regex>),
    /// The list, and what is asked of each item.
    Each(Fold, Box<Self>, Box<Self>),
}

/// Reads a whole expression.
pub(super) fn parse(text: &str, names: &[&str]) -> Result<Node, Slip> {
    if text.len() > BYTES_MAX {
        return Err(Slip::new(0, format!("It has {} bytes; at most {BYTES_MAX} are read.", text.len())));
    }
    let mut reader = Reader { tokens: tokens(text)?, next: 0, names, locals: Vec::new(), depth: 0, nodes: 0 };
    let node = reader.expression()?;
    match reader.peek() {
        Token::End => Ok(node),
        _ => Err(reader.slip("Something follows that does not belong here.")),
    }
}

struct Reader<'n> {
    tokens: Vec<(Token, usize)>,
    next: usize,
    names: &'n [&'n str],
    /// The variables of the macros around, from the outermost.
    locals: Vec<String>,
    depth: usize,
    nodes: usize,
}

impl Reader<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.next].0
    }

    fn at(&self) -> usize {
        self.tokens[self.next].1
    }

    fn slip(&self, why: impl Into<String>) -> Slip {
        Slip::new(self.at(), why)
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next].0.clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn took(&mut self, sign: &str) -> bool {
        let is = matches!(self.peek(), Token::Sign(found) if *found == sign);
        if is {
            self.take();
        }
        is
    }

    fn need(&mut self, sign: &str) -> Result<(), Slip> {
        if self.took(sign) { Ok(()) } else { Err(self.slip(format!("A {sign} is missing here."))) }
    }

    /// Counts a part of the expression.
    fn made(&mut self, node: Node) -> Result<Node, Slip> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.slip(format!("It has more than {NODES_MAX} parts.")));
        }
        Ok(node)
    }

    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Slip>) -> Result<T, Slip> {
        if self.depth >= NESTING_MAX {
            return Err(self.slip(format!("It is nested more than {NESTING_MAX} deep.")));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn expression(&mut self) -> Result<Node, Slip> {
        self.nested(|reader| {
            let test = reader.or()?;
            if !reader.took("?") {
                return Ok(test);
            }
            let yes = reader.or()?;
            reader.need(":")?;
            let no = reader.expression()?;
            reader.made(Node::Choose(Box::new([test, yes, no])))
        })
    }

    fn or(&mut self) -> Result<Node, Slip> {
        let mut all = vec![self.and()?];
        while self.took("||") {
            all.push(self.and()?);
        }
        if all.len() == 1 { Ok(all.remove(0)) } else { self.made(Node::Or(all)) }
    }

    fn and(&mut self) -> Result<Node, Slip> {
        let mut all = vec![self.relation()?];
        while self.took("&&") {
            all.push(self.relation()?);
        }
        if all.len() == 1 { Ok(all.remove(0)) } else { self.made(Node::And(all)) }
    }

    fn relation(&mut self) -> Result<Node, Slip> {
        let mut left = self.sum()?;
        while let Some(op) = self.relation_op() {
            self.take();
            let right = self.sum()?;
            left = self.made(Node::Two(op, Box::new(left), Box::new(right)))?;
        }
        Ok(left)
    }

    fn relation_op(&self) -> Option<Op> {
        Some(match self.peek() {
            Token::Sign("==") => Op::Eq,
            Token::Sign("!=") => Op::Ne,
            Token::Sign("<=") => Op::Le,
            Token::Sign(">=") => Op::Ge,
            Token::Sign("<") => Op::Lt,
            Token::Sign(">") => Op::Gt,
            Token::Name(name) if name == "in" => Op::In,
            _ => return None,
        })
    }

    fn sum(&mut self) -> Result<Node, Slip> {
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Token::Sign("+") => Op::Add,
                Token::Sign("-") => Op::Sub,
                _ => return Ok(left),
            };
            self.take();
            let right = self.product()?;
            left = self.made(Node::Two(op, Box::new(left), Box::new(right)))?;
        }
    }

    fn product(&mut self) -> Result<Node, Slip> {
        let mut left = self.signed()?;
        loop {
            let op = match self.peek() {
                Token::Sign("*") => Op::Mul,
                Token::Sign("/") => Op::Div,
                Token::Sign("%") => Op::Rem,
                _ => return Ok(left),
            };
            self.take();
            let right = self.signed()?;
            left = self.made(Node::Two(op, Box::new(left), Box::new(right)))?;
        }
    }

    fn signed(&mut self) -> Result<Node, Slip> {
        if self.took("!") {
            let of = self.nested(Self::signed)?;
            return self.made(Node::Not(Box::new(of)));
        }
        if self.took("-") {
            if let Token::Int(number) = *self.peek() {
                // The least number has no positive counterpart.
                let negative =
                    0_i64.checked_sub_unsigned(number).ok_or_else(|| self.slip("This number is too large."))?;
                self.take();
                let node = self.made(Node::Int(negative))?;
                return self.members(node);
            }
            let of = self.nested(Self::signed)?;
            return self.made(Node::Negative(Box::new(of)));
        }
        let first = self.primary()?;
        self.members(first)
    }

    fn members(&mut self, mut node: Node) -> Result<Node, Slip> {
        loop {
            if self.took("[") {
                let index = self.expression()?;
                self.need("]")?;
                node = self.made(Node::Index(Box::new(node), Box::new(index)))?;
            } else if self.took(".") {
                let Token::Name(name) = self.peek().clone() else {
                    return Err(self.slip("A name has to follow the point."));
                };
                self.take();
                node = if self.took("(") {
                    self.method(node, &name)?
                } else {
                    self.made(Node::Field(Box::new(node), name))?
                };
            } else {
                return Ok(node);
            }
        }
    }

    fn primary(&mut self) -> Result<Node, Slip> {
        let at = self.at();
        let node = match self.take() {
            Token::Int(number) => {
                Node::Int(i64::try_from(number).map_err(|_| Slip::new(at, "This number is too large."))?)
            }
            Token::Double(number) => Node::Double(number),
            Token::Text(text) => Node::Text(text),
            Token::Sign("(") => {
                let inner = self.expression()?;
                self.need(")")?;
                return Ok(inner);
            }
            Token::Sign("[") => Node::List(self.list("]")?),
            Token::Sign("{") => self.map()?,
            Token::Name(name) => return self.named(&name, at),
            _ => return Err(Slip::new(at, "A value is missing here.")),
        };
        self.made(node)
    }

    /// Expressions with commas, up to the closing sign.
    fn list(&mut self, close: &str) -> Result<Vec<Node>, Slip> {
        let mut all = Vec::new();
        while !self.took(close) {
            all.push(self.expression()?);
            if !self.took(",") {
                self.need(close)?;
                break;
            }
        }
        Ok(all)
    }

    fn map(&mut self) -> Result<Node, Slip> {
        let mut all = Vec::new();
        while !self.took("}") {
            let key = self.expression()?;
            self.need(":")?;
            all.push((key, self.expression()?));
            if !self.took(",") {
                self.need("}")?;
                break;
            }
        }
        Ok(Node::Map(all))
    }

    fn named(&mut self, name: &str, at: usize) -> Result<Node, Slip> {
        let node = match name {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            "null" => Node::Null,
            _ if self.took("(") => return self.function(name, at),
            _ => self.variable(name, at)?,
        };
        self.made(node)
    }

    fn variable(&self, name: &str, at: usize) -> Result<Node, Slip> {
        if let Some(index) = self.locals.iter().rposition(|local| local == name) {
            return Ok(Node::Local(index));
        }
        if let Some(index) = self.names.iter().position(|known| *known == name) {
            return Ok(Node::Root(index));
        }
        let near = nearest(name, self.names.iter().copied());
        let hint = match near {
            Some(near) => format!("did you mean {near}?"),
            None => format!("known are {}.", self.names.join(", ")),
        };
        Err(Slip::new(at, format!("There is nothing called {name}: {hint}")))
    }

    fn function(&mut self, name: &str, at: usize) -> Result<Node, Slip> {
        if name == "has" {
            let inner = self.expression()?;
            self.need(")")?;
            return match inner {
                Node::Field(of, field) => self.made(Node::Has(of, field)),
                _ => Err(Slip::new(at, "has() takes a field, such as has(data.error).")),
            };
        }
        let arguments = self.list(")")?;
        let func = match name {
            "size" => Func::Size,
            "int" => Func::Int,
            "double" => Func::Double,
            "string" => Func::Text,
            "bool" => Func::Bool,
            "timestamp" => Func::Timestamp,
            "duration" => Func::Duration,
            _ => return Err(unknown(name, at)),
        };
        if arguments.len() != 1 {
            return Err(Slip::new(at, format!("{name}() takes one value.")));
        }
        self.made(Node::Call(func, arguments))
    }

    fn method(&mut self, target: Node, name: &str) -> Result<Node, Slip> {
        let at = self.at();
        if let Some(fold) = fold(name) {
            return self.each(fold, target);
        }
        let mut arguments = self.list(")")?;
        if name == "matches" {
            let [Node::Text(pattern)] = arguments.as_slice() else {
                return Err(Slip::new(at, "matches() takes one pattern, written out as a text."));
            };
            let pattern = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
            let pattern = pattern.map_err(|error| Slip::new(at, format!("The pattern can't be used: {error}.")))?;
            return self.made(Node::Matches(Box::new(target), Box::new(pattern)));
        }
        let (func, takes) = method(name).ok_or_else(|| unknown(name, at))?;
        if arguments.len() != takes {
            let how_many = if takes == 0 { "no value" } else { "one value" };
            return Err(Slip::new(at, format!("{name}() takes {how_many}.")));
        }
        arguments.insert(0, target);
        self.made(Node::Call(func, arguments))
    }

    fn each(&mut self, fold: Fold, list: Node) -> Result<Node, Slip> {
        let Token::Name(variable) = self.take() else {
            return Err(self.slip("A name for each item has to stand first, as in list.all(x, x > 0)."));
        };
        if self.names.contains(&variable.as_str()) {
            return Err(self.slip(format!("The name {variable} is taken; call the item otherwise.")));
        }
        self.need(",")?;
        self.locals.push(variable);
        let body = self.expression();
        self.locals.pop();
        let body = body?;
        self.need(")")?;
        self.made(Node::Each(fold, Box::new(list), Box::new(body)))
    }
}

fn fold(name: &str) -> Option<Fold> {
    Some(match name {
        "all" => Fold::All,
        "exists" => Fold::Exists,
        "exists_one" => Fold::ExistsOne,
        "filter" => Fold::Filter,
        "map" => Fold::Map,
        _ => return None,
    })
}

fn method(name: &str) -> Option<(Func, usize)> {
    Some(match name {
        "size" => (Func::Size, 0),
        "contains" => (Func::Contains, 1),
        "startsWith" => (Func::StartsWith, 1),
        "endsWith" => (Func::EndsWith, 1),
        "getFullYear" => (Func::Part(TimePart::Year), 0),
        "getMonth" => (Func::Part(TimePart::Month), 0),
        "getDate" => (Func::Part(TimePart::DayOfMonth), 0),
        "getDayOfWeek" => (Func::Part(TimePart::DayOfWeek), 0),
        "getHours" => (Func::Part(TimePart::Hours), 0),
        "getMinutes" => (Func::Part(TimePart::Minutes), 0),
        "getSeconds" => (Func::Part(TimePart::Seconds), 0),
        _ => return None,
    })
}

fn unknown(name: &str, at: usize) -> Slip {
    let known = [
        "size",
        "int",
        "double",
        "string",
        "bool",
        "timestamp",
        "duration",
        "has",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "all",
        "exists",
        "exists_one",
        "filter",
        "map",
        "getHours",
        "getDayOfWeek",
    ];
    match nearest(name, known) {
        Some(near) => Slip::new(at, format!("There is no function {name}(): did you mean {near}()?")),
        None => Slip::new(at, format!("There is no function {name}().")),
    }
}
