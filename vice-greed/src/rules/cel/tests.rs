//! What expressions say, compared with what another implementation of the language says; and that no expression, however it
//! was made, uses up the stack, the time or the memory.

use super::*;

struct One<'d>(Doc<'d>);

impl Roots for One<'_> {
    fn root(&self, _: usize) -> Result<Val<'_>, Stop<'_>> {
        Ok(Val::of(&self.0))
    }
}

const DATA: &str = r#"{"n": 3, "d": 2.5, "s": "häuser", "t": true, "nil": null, "list": [1, 2, 3, 3],
  "words": ["a", "bb", "ccc"], "o": {"x": {"y": "deep"}, "k-1": 7}, "empty": [], "neg": -4, "big": 9007199254740993}"#;

fn ours(text: &str) -> Result<serde_json::Value, String> {
    let cel = Cel::read(text, &["data"]).map_err(|slip| slip.why)?;
    let one = One(Doc::read(DATA).unwrap());
    cel.value(&one).map(|value| value.to_json()).map_err(|stop| stop.to_string())
}

/// The other implementation needs a large stack in a debug build.
fn theirs(text: &str) -> Result<serde_json::Value, String> {
    let text = text.to_owned();
    let work = move || {
        let program = cel::Program::compile(&text).map_err(|error| error.to_string())?;
        let mut context = cel::Context::default();
        let data: serde_json::Value = serde_json::from_str(DATA).unwrap();
        context.add_variable("data", data).unwrap();
        let value = program.execute(&context).map_err(|error| error.to_string())?;
        value.json().map_err(|error| format!("{error:?}"))
    };
    std::thread::Builder::new().stack_size(64 << 20).spawn(work).unwrap().join().unwrap()
}

/// Expressions on which both have to agree: in the value, or in that there is none.
const AGREED: &[&str] = &[
    "data.n == 3 && data.s == 'häuser'",
    "data.n > 2 ? 'more' : 'less'",
    "int(data.n) + 4 * 2 - 1",
    "(int(data.n) + 4) * 2 % 5",
    "data.neg / 3",
    "data.neg % 3",
    "-data.neg",
    "data.d * 2.0",
    "data.d / 0.0 > 100.0",
    "data.n / 0",
    "data.n % 0",
    "9223372036854775807 + 1",
    "-9223372036854775808",
    "data.o.x.y",
    "data['o']['k-1']",
    "data.list[2]",
    "data.list[9]",
    "data.list[-1]",
    "has(data.o.x)",
    "has(data.o.z)",
    "data.o.z == 1",
    "data.o.z == 1 || true",
    "true || data.o.z == 1",
    "data.o.z == 1 && false",
    "false && data.o.z == 1",
    "data.o.z == 1 && true",
    "!data.t",
    "data.nil == null",
    "data.n in [1, 3]",
    "'bb' in data.words",
    "'x' in data.o",
    "'q' in data.o",
    "data.list.all(i, i > 0)",
    "data.list.exists(i, i == 3)",
    "data.list.exists_one(i, i == 3)",
    "data.list.exists_one(i, i == 2)",
    "data.words.filter(w, w.size() > 1)",
    "data.words.map(w, w + '!')",
    "data.empty.all(i, i > 0)",
    "data.empty.exists(i, i > 0)",
    "size(data.s)",
    "data.list.size()",
    "data.s.contains('us')",
    "data.s.startsWith('h')",
    "data.s.endsWith('x')",
    "data.s.matches('^h.user$')",
    "int('42') + 1",
    "string(data.n) + 'x'",
    "double('2.5') == data.d",
    "data.n == 3.0",
    "data.n < 3.5",
    "[1, 2] + [3]",
    "[1, 2] == [1, 2]",
    "{'a': 1}['a']",
    "{'a': 1}.a",
    "'a' < 'b'",
    "'a' < 1",
    "1 + 'a'",
    "'x' + 'y' == \"xy\"",
    r"'\n' == '\u000a'",
    "data.words.exists(w, data.list.exists(i, size(w) == i))",
    "data.n == 3 ? data.o.z : 1",
];

#[test]
fn answers_are_those_of_another_implementation() {
    let mut wrong = Vec::new();
    for text in AGREED {
        match (ours(text), theirs(text)) {
            (Ok(one), Ok(two)) if same(&one, &two) => {}
            (Err(_), Err(_)) => {}
            other => wrong.push(format!("{text}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn same(one: &serde_json::Value, two: &serde_json::Value) -> bool {
    one == two || one.as_f64().is_some_and(|one| Some(one) == two.as_f64())
}

#[test]
fn times_and_mixed_numbers() {
    for (text, said) in [
        ("timestamp('2026-07-14T09:30:00Z').getHours()", "9"),
        ("timestamp('2026-07-14T09:30:00Z').getDayOfWeek()", "2"),
        ("timestamp('2026-07-14T09:30:00Z').getMonth()", "6"),
        ("timestamp('2026-07-14T09:30:00Z') - timestamp('2026-07-14T09:00:00Z') > duration('29m')", "true"),
        ("timestamp('2026-07-14T09:30:00Z') + duration('1h')", "\"2026-07-14T10:30:00Z\""),
        ("data.n * 1.5", "4.5"),
        ("data.big == 9007199254740993", "true"),
        ("data.big == 9007199254740992.0", "false"),
    ] {
        assert_eq!(ours(text).unwrap().to_string(), said, "{text}");
    }
}

#[test]
fn slips_say_what_is_wrong_and_where() {
    for (text, at, part) in [
        ("dta.x", 0, "did you mean data"),
        ("data.n = 3", 7, "means nothing"),
        ("data.n == ", 10, "missing"),
        ("size(1, 2)", 0, "takes one"),
        ("data.s.strtsWith('a')", 17, "startsWith"),
        ("has(data)", 0, "has()"),
        ("data.s.matches('(')", 15, "pattern"),
        ("'open", 0, "not closed"),
        ("b'x'", 0, "Bytes"),
        ("1u", 0, "Unsigned"),
        ("data.list.all(data, true)", 18, "taken"),
        ("99999999999999999999", 0, "number"),
    ] {
        let slip = Cel::read(text, &["data"]).unwrap_err();
        assert!(slip.why.contains(part), "{text}: {slip:?}");
        assert!(slip.at.abs_diff(at) <= 2, "{text}: {slip:?}");
    }
}

#[test]
fn depth_size_and_cost_are_limited() {
    let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    for (open, close) in [("(", ")"), ("[", "]"), ("!", ""), ("-", ""), ("data[", "]"), ("true ? 1 : ", "")] {
        assert!(Cel::read(&deep(open, close, 1000), &["data"]).is_err(), "{open}");
    }
    assert!(Cel::read(&deep("(", ")", 20), &["data"]).is_ok());
    let chain = vec!["1"; 1000].join("+");
    assert!(Cel::read(&chain, &["data"]).unwrap_err().why.contains("parts"));
    assert!(Cel::read(&"x".repeat(BYTES_MAX + 1), &["data"]).unwrap_err().why.contains("bytes"));
    // The deepest that is read is evaluated on the stack of a test's thread.
    let longest = vec!["1"; NODES_MAX / 2].join("+");
    assert_eq!(ours(&longest).unwrap(), serde_json::json!(NODES_MAX / 2));
    // A rule that never ends: nested walks over a list that itself grows.
    let never = "[data.list, data.list, data.list, data.list].map(a, data.list.map(b, data.list.map(c, data.list.map(d, \
                 data.list.map(e, data.list.map(f, data.list.map(g, data.list.map(h, data.list.map(i, \
                 data.list.map(j, data.list.map(k, data.list.map(l, 1))))))))))))";
    assert!(ours(never).unwrap_err().contains("stopped"), "{:?}", ours(never));
    let grows = "[[1],[1],[1],[1],[1],[1],[1],[1],[1],[1]].map(a, data.s.matches('(a+)+$'))";
    assert!(ours(grows).is_ok());
}

#[test]
fn no_text_makes_it_panic() {
    use rand::RngExt as _;
    use vice_core::rng::Streams;
    // Seed 11; pieces of the language in every order.
    let pieces = [
        "data", ".n", ".list", "[0]", "(", ")", "[", "]", "{", "}", "&&", "||", "!", "-", "+", "*", "/", "%", "==",
        "<", "?", ":", ",", "'a'", "1", "2.5", "0x1f", "1e9", "true", "null", ".all(x, ", ".map(y, ", "x", "has(",
        "size(", " in ", "\u{e4}", "\\", "'", "\"", "r'", ".", "//", "\n",
    ];
    let mut rng = Streams::new(11).stream("cel", 0);
    let one = One(Doc::read(DATA).unwrap());
    for _ in 0..20_000 {
        let length = rng.random_range(1..14);
        let text: String = (0..length).map(|_| pieces[rng.random_range(0..pieces.len())]).collect();
        if let Ok(cel) = Cel::read(&text, &["data"]) {
            drop(cel.value(&one).map(|value| value.to_json()));
        }
    }
}
