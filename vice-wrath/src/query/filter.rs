//! How a found value is turned before it is compared or captured.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::html::{Document, unescape};
use super::{Filter, Found, jsonpath, xpath};
use crate::values::Values;

/// Applies filters one after the other.
///
/// # Errors
/// Text that says which filter can't be applied, and why.
pub(crate) fn apply(filters: &[Filter], found: Found, values: &Values, now: Timestamp) -> Result<Found, String> {
    filters.iter().try_fold(found, |found, filter| one(filter, found, values, now))
}

fn one(filter: &Filter, found: Found, values: &Values, now: Timestamp) -> Result<Found, String> {
    if let (Filter::Count, found) = (filter, &found) {
        return Ok(Found::One(Value::from(match found {
            Found::Nothing(_) => 0,
            Found::Many(all) => all.len(),
            Found::One(Value::Array(items)) => items.len(),
            Found::One(_) => return Err("count is for lists".to_owned()),
        })));
    }
    if let Filter::First | Filter::Last | Filter::Nth(_) = filter {
        return Ok(picked(filter, found));
    }
    let value = match found {
        Found::Nothing(why) => return Ok(Found::Nothing(why)),
        found => found.into_value()?,
    };
    turned(filter, value, values, now)
}

/// A filter of a single value.
fn turned(filter: &Filter, value: Value, values: &Values, now: Timestamp) -> Result<Found, String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fill = |template: &str| values.text(template).map_err(|fault| fault.to_string());
    let done = |text: String| Ok(Found::One(Value::from(text)));
    match filter {
        Filter::Regex(pattern) => {
            let regex = values.pattern(pattern).map_err(|fault| fault.to_string())?;
            let group = regex.captures(&text).and_then(|groups| groups.get(1).or_else(|| groups.get(0)));
            Ok(match group {
                Some(group) => Found::One(Value::from(group.as_str())),
                None => Found::Nothing(format!("it does not match /{pattern}/")),
            })
        }
        Filter::Replace(old, new) => done(text.replace(&fill(old)?, &fill(new)?)),
        Filter::ReplaceRegex(pattern, new) => {
            let regex = values.pattern(pattern).map_err(|fault| fault.to_string())?;
            done(regex.replace_all(&text, fill(new)?.as_str()).into_owned())
        }
        Filter::Split(at) => {
            let parts = text.split(&fill(at)?).map(Value::from).collect();
            Ok(Found::One(Value::Array(parts)))
        }
        Filter::ToInt => {
            let number = text.trim().parse::<i64>();
            number.map(|number| Found::One(Value::from(number))).map_err(|_| format!("{text:?} is not a whole number"))
        }
        Filter::ToFloat => {
            let number = text.trim().parse::<f64>();
            number.map(|number| Found::One(Value::from(number))).map_err(|_| format!("{text:?} is not a number"))
        }
        Filter::ToText => done(text),
        Filter::UrlEncode => {
            done(url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20"))
        }
        Filter::UrlDecode => {
            let pair = format!("x={}", text.replace('+', "%2B").replace('&', "%26"));
            let decoded = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
            done(decoded.unwrap_or_default())
        }
        Filter::Base64Encode => done(STANDARD.encode(&text)),
        Filter::Base64Decode => {
            let bytes = STANDARD.decode(text.trim()).map_err(|_| "it is not base64".to_owned())?;
            done(String::from_utf8_lossy(&bytes).into_owned())
        }
        Filter::HtmlUnescape => done(unescape(&text)),
        Filter::JsonPath(path) => {
            let parsed = match value {
                Value::String(text) => serde_json::from_str(&text).map_err(|_| "it is not JSON".to_owned())?,
                other => other,
            };
            jsonpath::find(&parsed, &fill(path)?)
        }
        Filter::Xpath(path) => xpath::find(&Document::parse(&text)?, &fill(path)?),
        Filter::DaysAfterNow | Filter::DaysBeforeNow => {
            let at: Timestamp = text.parse().map_err(|_| format!("{text:?} is not a date as RFC 3339 writes it"))?;
            let days = (at.as_second() - now.as_second()).div_euclid(86_400);
            Ok(Found::One(Value::from(if *filter == Filter::DaysAfterNow { days } else { -days })))
        }
        Filter::Count | Filter::First | Filter::Last | Filter::Nth(_) => Err("the filter was applied twice".to_owned()),
    }
}

fn picked(filter: &Filter, found: Found) -> Found {
    let items = match found {
        Found::One(Value::Array(items)) | Found::Many(items) => items,
        other => return other,
    };
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let index = match filter {
        Filter::First => 0,
        Filter::Last => length - 1,
        Filter::Nth(index) if *index < 0 => length.saturating_add(*index),
        Filter::Nth(index) => *index,
        _ => 0,
    };
    match usize::try_from(index).ok().and_then(|index| items.into_iter().nth(index)) {
        Some(item) => Found::One(item),
        None => Found::Nothing(format!("the list has {length} items")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(filters: &[Filter], value: Value) -> Result<Found, String> {
        let now = "2026-03-01T00:00:00Z".parse().unwrap();
        apply(filters, Found::One(value), &Values::default(), now)
    }

    #[test]
    fn filters_turn_values() {
        let cases = [
            (vec![Filter::Regex(r"v(\d+)".into()), Filter::ToInt], json!("v12"), json!(12)),
            (vec![Filter::Split(",".into()), Filter::Last], json!("a,b"), json!("b")),
            (vec![Filter::Nth(-2)], json!([1, 2, 3]), json!(2)),
            (vec![Filter::Count], json!([1, 2]), json!(2)),
            (vec![Filter::UrlEncode], json!("a b&ü"), json!("a%20b%26%C3%BC")),
            (vec![Filter::UrlDecode], json!("a%20b+c%26"), json!("a b+c&")),
            (vec![Filter::Base64Decode], json!("aGk="), json!("hi")),
            (vec![Filter::JsonPath("$.a".into())], json!("{\"a\": 1}"), json!(1)),
            (vec![Filter::DaysAfterNow], json!("2026-03-11T00:00:00Z"), json!(10)),
            (vec![Filter::ReplaceRegex("[0-9]".into(), "#".into())], json!("a1b2"), json!("a#b#")),
        ];
        for (filters, value, expected) in cases {
            assert_eq!(run(&filters, value), Ok(Found::One(expected)), "{filters:?}");
        }
        assert!(run(&[Filter::ToInt], json!("x")).is_err());
        assert!(matches!(run(&[Filter::Nth(9)], json!([1])), Ok(Found::Nothing(_))));
    }
}
