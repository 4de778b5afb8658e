//! The functions: sizes, texts, conversions and times. Each pays for what it looks at.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::eval::{Answer, Scope, Stop, seconds};
use super::parse::{Func, TimePart};
use super::value::Val;

pub(super) fn call<'a>(scope: &mut Scope<'a>, func: Func, first: Val<'a>, second: Option<&Val<'a>>) -> Answer<'a> {
    if let Val::Text(text) = &first {
        scope.pay_text(text)?;
    }
    match func {
        Func::Size => match first.size() {
            Some(size) => Ok(Val::Int(i64::try_from(size).unwrap_or(i64::MAX))),
            None => Err(Stop::Wrong("size() needs a text, a list or an object")),
        },
        Func::Contains | Func::StartsWith | Func::EndsWith => texts(func, &first, second),
        Func::Int => int(&first),
        Func::Double => double(&first),
        Func::Text => text(first),
        Func::Bool => match &first {
            Val::Bool(is) => Ok(Val::Bool(*is)),
            Val::Text(text) if text == "true" => Ok(Val::Bool(true)),
            Val::Text(text) if text == "false" => Ok(Val::Bool(false)),
            _ => Err(Stop::Wrong("bool() needs true or false")),
        },
        Func::Timestamp => time(&first),
        Func::Duration => match &first {
            Val::Span(span) => Ok(Val::Span(*span)),
            Val::Text(text) => seconds(text).map(Val::Span).ok_or(Stop::Wrong("duration() needs a text such as 90s")),
            _ => Err(Stop::Wrong("duration() needs a text such as 90s")),
        },
        Func::Part(part) => part_of(part, &first),
    }
}

fn texts<'a>(func: Func, first: &Val<'a>, second: Option<&Val<'a>>) -> Answer<'a> {
    let (Val::Text(text), Some(Val::Text(part))) = (first, second) else {
        return Err(Stop::Wrong("contains(), startsWith() and endsWith() need texts"));
    };
    Ok(Val::Bool(match func {
        Func::Contains => text.contains(part.as_ref()),
        Func::StartsWith => text.starts_with(part.as_ref()),
        _ => text.ends_with(part.as_ref()),
    }))
}

fn int<'a>(value: &Val<'a>) -> Answer<'a> {
    let wrong = Stop::Wrong("int() needs a number, a text with one, or a time");
    match value {
        Val::Int(number) => Ok(Val::Int(*number)),
        // Within these bounds the conversion cuts off and loses nothing else.
        Val::Double(number) if number.abs() < 9.2e18 => Ok(Val::Int(*number as i64)),
        Val::Text(text) => text.parse().map(Val::Int).map_err(|_| wrong),
        Val::Time(time) => Ok(Val::Int(time.as_second())),
        _ => Err(wrong),
    }
}

fn double<'a>(value: &Val<'a>) -> Answer<'a> {
    let wrong = Stop::Wrong("double() needs a number or a text with one");
    match value {
        Val::Int(number) => Ok(Val::Double(*number as f64)),
        Val::Double(number) => Ok(Val::Double(*number)),
        Val::Text(text) => text.parse().map(Val::Double).map_err(|_| wrong),
        _ => Err(wrong),
    }
}

fn text(value: Val<'_>) -> Answer<'_> {
    match value {
        Val::Text(text) => Ok(Val::Text(text)),
        Val::Null | Val::List(_) | Val::Map(_) | Val::Doc(_) => Err(Stop::Wrong("string() needs a simple value")),
        simple => Ok(Val::Text(Cow::Owned(simple.show()))),
    }
}

fn time<'a>(value: &Val<'a>) -> Answer<'a> {
    let wrong = Stop::Wrong("timestamp() needs a time such as 2026-07-14T09:00:00Z");
    match value {
        Val::Time(time) => Ok(Val::Time(*time)),
        Val::Text(text) => text.parse::<Timestamp>().map(Val::Time).map_err(|_| wrong),
        _ => Err(wrong),
    }
}

fn part_of<'a>(part: TimePart, value: &Val<'a>) -> Answer<'a> {
    let Val::Time(time) = value else { return Err(Stop::Wrong("only times have hours and days")) };
    let zoned = time.to_zoned(TimeZone::UTC);
    Ok(Val::Int(match part {
        TimePart::Year => zoned.year().into(),
        // As the language has it: months from 0, days of the month from 0, Sunday is 0.
        TimePart::Month => i64::from(zoned.month()) - 1,
        TimePart::DayOfMonth => i64::from(zoned.day()) - 1,
        TimePart::DayOfWeek => zoned.weekday().to_sunday_zero_offset().into(),
        TimePart::Hours => zoned.hour().into(),
        TimePart::Minutes => zoned.minute().into(),
        TimePart::Seconds => zoned.second().into(),
    }))
}
