//! Evaluates a tree. Every step costs; when the budget is spent the evaluation stops, with the same outcome everywhere.

use std::borrow::Cow;
use std::rc::Rc;

use jiff::SignedDuration;

use super::parse::{Fold, Node, Op};
use super::value::Val;
use super::{Roots, calls};

/// What one evaluation may cost, in steps: a few milliseconds at most.
pub(crate) const COST_MAX: u32 = 100_000;

/// So many bytes of a text cost a step.
const BYTES_A_STEP: usize = 16;

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop<'a> {
    /// It cost too much.
    Cost,
    /// A field is not there.
    NoField(&'a str),
    /// Anything else, as the end of a sentence.
    Wrong(&'static str),
}

impl std::fmt::Display for Stop<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cost => write!(f, "it was stopped after {COST_MAX} steps"),
            Self::NoField(name) => write!(f, "there is no field {name}"),
            Self::Wrong(why) => f.write_str(why),
        }
    }
}

pub(super) type Answer<'a> = Result<Val<'a>, Stop<'a>>;

/// What an evaluation knows and has spent.
pub(super) struct Scope<'a> {
    roots: &'a dyn Roots,
    locals: Vec<Val<'a>>,
    left: u32,
}

/// The value of a tree.
pub(super) fn value<'a>(node: &'a Node, roots: &'a dyn Roots) -> Answer<'a> {
    Scope { roots, locals: Vec::new(), left: COST_MAX }.eval(node)
}

impl<'a> Scope<'a> {
    pub(super) fn pay(&mut self, steps: usize) -> Result<(), Stop<'a>> {
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.left = self.left.checked_sub(steps).ok_or(Stop::Cost)?;
        Ok(())
    }

    /// Pays for looking at a whole text.
    pub(super) fn pay_text(&mut self, text: &str) -> Result<(), Stop<'a>> {
        self.pay(text.len() / BYTES_A_STEP)
    }

    fn eval(&mut self, node: &'a Node) -> Answer<'a> {
        self.pay(1)?;
        match node {
            Node::Null => Ok(Val::Null),
            Node::Bool(is) => Ok(Val::Bool(*is)),
            Node::Int(number) => Ok(Val::Int(*number)),
            Node::Double(number) => Ok(Val::Double(*number)),
            Node::Text(text) => Ok(Val::text(text)),
            Node::Root(index) => self.roots.root(*index),
            Node::Local(index) => Ok(self.locals[*index].clone()),
            Node::Field(of, name) => self.field(of, name),
            Node::Index(of, at) => self.index(of, at),
            Node::Has(of, name) => self.has(of, name),
            Node::Not(of) => Ok(Val::Bool(!self.bool(of)?)),
            Node::Negative(of) => self.negative(of),
            Node::Two(op, one, two) => self.two(*op, one, two),
            Node::And(all) => self.logic(all, false),
            Node::Or(all) => self.logic(all, true),
            Node::Choose(three) => {
                let chosen = if self.bool(&three[0])? { &three[1] } else { &three[2] };
                self.eval(chosen)
            }
            Node::List(all) => self.list(all),
            Node::Map(all) => self.map(all),
            Node::Call(func, arguments) => self.call(*func, arguments),
            Node::Matches(of, pattern) => self.matches(of, pattern),
            Node::Each(fold, list, body) => self.each(*fold, list, body),
        }
    }

    fn bool(&mut self, node: &'a Node) -> Result<bool, Stop<'a>> {
        match self.eval(node)? {
            Val::Bool(is) => Ok(is),
            _ => Err(Stop::Wrong("a value that is not true or false stands where one of the two is needed")),
        }
    }

    fn call(&mut self, func: super::parse::Func, arguments: &'a [Node]) -> Answer<'a> {
        let first = self.eval(&arguments[0])?;
        let second = arguments.get(1).map(|node| self.eval(node)).transpose()?;
        calls::call(self, func, first, second.as_ref())
    }

    fn matches(&mut self, of: &'a Node, pattern: &regex::Regex) -> Answer<'a> {
        match self.eval(of)? {
            Val::Text(text) => {
                // A pattern looks at each character several times at most.
                self.pay(text.len() / 2)?;
                Ok(Val::Bool(pattern.is_match(&text)))
            }
            _ => Err(Stop::Wrong("matches() needs a text")),
        }
    }

    fn field(&mut self, of: &'a Node, name: &'a str) -> Answer<'a> {
        let of = self.eval(of)?;
        self.pay(of.size().filter(|_| of.is_map()).unwrap_or(0) / BYTES_A_STEP)?;
        of.field(name).ok_or(Stop::NoField(name))
    }

    fn has(&mut self, of: &'a Node, name: &'a str) -> Answer<'a> {
        match self.eval(of)? {
            of if of.is_map() => Ok(Val::Bool(of.field(name).is_some())),
            _ => Err(Stop::Wrong("has() needs a field of an object")),
        }
    }

    fn index(&mut self, of: &'a Node, at: &'a Node) -> Answer<'a> {
        let (of, at) = (self.eval(of)?, self.eval(at)?);
        match (&of, &at) {
            (_, Val::Text(key)) if of.is_map() => of.field(key).ok_or(Stop::Wrong("there is no such key")),
            (Val::Map(entries), key) => {
                self.pay(entries.len())?;
                let found = entries.iter().find(|(name, _)| name.same(key));
                found.map(|(_, value)| value.clone()).ok_or(Stop::Wrong("there is no such key"))
            }
            (_, Val::Int(at)) => {
                let at = usize::try_from(*at).ok();
                let found = match (&of, at) {
                    (Val::List(items), Some(at)) => items.get(at).cloned(),
                    (Val::Doc(super::Doc::List(items)), Some(at)) => items.get(at).map(Val::of),
                    _ => None,
                };
                found.ok_or(Stop::Wrong("there is no item of that number"))
            }
            _ => Err(Stop::Wrong("only lists and objects have items")),
        }
    }

    fn negative(&mut self, of: &'a Node) -> Answer<'a> {
        match self.eval(of)? {
            Val::Int(number) => number.checked_neg().map(Val::Int).ok_or(Stop::Wrong("a number is too large")),
            Val::Double(number) => Ok(Val::Double(-number)),
            _ => Err(Stop::Wrong("only numbers have a sign")),
        }
    }

    /// `&&` and `||`: the outcome that decides counts even where another part has none.
    fn logic(&mut self, all: &'a [Node], deciding: bool) -> Answer<'a> {
        let mut trouble = None;
        for node in all {
            match self.bool(node) {
                Ok(is) if is == deciding => return Ok(Val::Bool(deciding)),
                Ok(_) => {}
                Err(Stop::Cost) => return Err(Stop::Cost),
                Err(stop) => trouble = trouble.or(Some(stop)),
            }
        }
        trouble.map_or(Ok(Val::Bool(!deciding)), Err)
    }

    fn list(&mut self, all: &'a [Node]) -> Answer<'a> {
        Ok(Val::List(Rc::new(all.iter().map(|node| self.eval(node)).collect::<Result<_, _>>()?)))
    }

    fn map(&mut self, all: &'a [(Node, Node)]) -> Answer<'a> {
        let pair = |(key, value): &'a (Node, Node)| Ok((self.eval(key)?, self.eval(value)?));
        Ok(Val::Map(Rc::new(all.iter().map(pair).collect::<Result<_, Stop<'a>>>()?)))
    }

    fn two(&mut self, op: Op, one: &'a Node, two: &'a Node) -> Answer<'a> {
        let (one, two) = (self.eval(one)?, self.eval(two)?);
        match op {
            Op::Eq | Op::Ne => {
                self.pay_for_comparing(&one)?;
                Ok(Val::Bool(one.same(&two) == (op == Op::Eq)))
            }
            Op::In => self.within(&one, &two),
            Op::Lt | Op::Le | Op::Gt | Op::Ge => compare(op, &one, &two),
            Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Rem => self.reckon(op, one, two),
        }
    }

    fn pay_for_comparing(&mut self, value: &Val<'a>) -> Result<(), Stop<'a>> {
        match value {
            Val::Text(text) => self.pay_text(text),
            Val::List(_) | Val::Map(_) | Val::Doc(_) => {
                // Objects are compared entry by entry with every entry.
                let size = value.size().unwrap_or(0);
                self.pay(if value.is_map() { size.saturating_mul(size) } else { size })
            }
            _ => Ok(()),
        }
    }

    fn within(&mut self, one: &Val<'a>, all: &Val<'a>) -> Answer<'a> {
        self.pay(all.size().unwrap_or(0))?;
        match (one, all) {
            (Val::Text(key), _) if all.is_map() => Ok(Val::Bool(all.field(key).is_some())),
            _ => match all.items() {
                Some(items) => Ok(Val::Bool(items.iter().any(|item| item.same(one)))),
                None => Err(Stop::Wrong("`in` needs a list or an object")),
            },
        }
    }

    fn reckon(&mut self, op: Op, one: Val<'a>, two: Val<'a>) -> Answer<'a> {
        let large = Stop::Wrong("a result is too large");
        let none = Stop::Wrong("these two values can't be reckoned with in this way");
        match (op, one, two) {
            (_, Val::Int(one), Val::Int(two)) => whole(op, one, two),
            (_, Val::Double(one), Val::Double(two)) => real(op, one, two),
            (_, Val::Int(one), Val::Double(two)) => real(op, one as f64, two),
            (_, Val::Double(one), Val::Int(two)) => real(op, one, two as f64),
            (Op::Add, Val::Text(one), Val::Text(two)) => {
                self.pay_text(&one)?;
                self.pay_text(&two)?;
                Ok(Val::Text(Cow::Owned(one.into_owned() + &two)))
            }
            (Op::Add, Val::Time(time), Val::Span(span)) | (Op::Add, Val::Span(span), Val::Time(time)) => {
                time.checked_add(span).map(Val::Time).map_err(|_| large)
            }
            (Op::Sub, Val::Time(time), Val::Span(span)) => time.checked_sub(span).map(Val::Time).map_err(|_| large),
            (Op::Sub, Val::Time(one), Val::Time(two)) => Ok(Val::Span(one.duration_since(two))),
            (Op::Add, Val::Span(one), Val::Span(two)) => one.checked_add(two).map(Val::Span).ok_or(large),
            (Op::Sub, Val::Span(one), Val::Span(two)) => one.checked_sub(two).map(Val::Span).ok_or::<Stop<'a>>(large),
            (Op::Add, one, two) if !one.is_map() && !two.is_map() => {
                let (Some(mut all), Some(more)) = (one.items(), two.items()) else { return Err(none) };
                self.pay(all.len() + more.len())?;
                all.extend(more);
                Ok(Val::List(Rc::new(all)))
            }
            _ => Err(none),
        }
    }

    fn each(&mut self, fold: Fold, list: &'a Node, body: &'a Node) -> Answer<'a> {
        let items = self.eval(list)?.items().ok_or(Stop::Wrong("only lists and objects have items to go through"))?;
        self.pay(items.len())?;
        let mut walk = Walk { fold, kept: Vec::new(), count: 0, trouble: None };
        for item in items {
            self.locals.push(item.clone());
            let answer = self.eval(body);
            self.locals.pop();
            if let Some(done) = walk.take(item, answer)? {
                return Ok(done);
            }
        }
        walk.end()
    }
}

/// How far a macro has come.
struct Walk<'a> {
    fold: Fold,
    kept: Vec<Val<'a>>,
    count: usize,
    trouble: Option<Stop<'a>>,
}

impl<'a> Walk<'a> {
    /// Takes the answer for an item; gives the outcome once it is decided.
    fn take(&mut self, item: Val<'a>, answer: Answer<'a>) -> Result<Option<Val<'a>>, Stop<'a>> {
        if self.fold == Fold::Map {
            self.kept.push(answer?);
            return Ok(None);
        }
        let is = match answer {
            Ok(Val::Bool(is)) => is,
            Err(Stop::Cost) => return Err(Stop::Cost),
            // As with && and ||: another item may decide.
            Err(stop) if matches!(self.fold, Fold::All | Fold::Exists) => {
                self.trouble = self.trouble.or(Some(stop));
                return Ok(None);
            }
            Err(stop) => return Err(stop),
            Ok(_) => return Err(Stop::Wrong("what is asked of each item has to be true or false")),
        };
        match self.fold {
            Fold::All if !is => return Ok(Some(Val::Bool(false))),
            Fold::Exists if is => return Ok(Some(Val::Bool(true))),
            Fold::Filter if is => self.kept.push(item),
            Fold::ExistsOne if is => self.count += 1,
            _ => {}
        }
        Ok(None)
    }

    fn end(self) -> Answer<'a> {
        if let Some(stop) = self.trouble {
            return Err(stop);
        }
        Ok(match self.fold {
            Fold::All => Val::Bool(true),
            Fold::Exists => Val::Bool(false),
            Fold::ExistsOne => Val::Bool(self.count == 1),
            Fold::Filter | Fold::Map => Val::List(Rc::new(self.kept)),
        })
    }
}

fn compare<'a>(op: Op, one: &Val<'a>, two: &Val<'a>) -> Answer<'a> {
    let not_a_number = |value: &Val<'_>| matches!(value, Val::Double(number) if number.is_nan());
    let Some(order) = one.order(two) else {
        // Nothing is less or more than what is no number.
        let nan = not_a_number(one) || not_a_number(two);
        return if nan { Ok(Val::Bool(false)) } else { Err(Stop::Wrong("these two values have no order")) };
    };
    Ok(Val::Bool(match op {
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Gt => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn whole<'a>(op: Op, one: i64, two: i64) -> Answer<'a> {
    if two == 0 && matches!(op, Op::Div | Op::Rem) {
        return Err(Stop::Wrong("it divides by zero"));
    }
    let result = match op {
        Op::Add => one.checked_add(two),
        Op::Sub => one.checked_sub(two),
        Op::Mul => one.checked_mul(two),
        Op::Div => one.checked_div(two),
        _ => one.checked_rem(two),
    };
    result.map(Val::Int).ok_or(Stop::Wrong("a result is too large"))
}

fn real<'a>(op: Op, one: f64, two: f64) -> Answer<'a> {
    Ok(Val::Double(match op {
        Op::Add => one + two,
        Op::Sub => one - two,
        Op::Mul => one * two,
        Op::Div => one / two,
        _ => return Err(Stop::Wrong("% needs whole numbers")),
    }))
}

/// Seconds as a duration.
pub(super) fn seconds(text: &str) -> Option<SignedDuration> {
    text.parse::<SignedDuration>().ok()
}
