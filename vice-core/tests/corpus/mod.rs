//! Planted secrets in every encoding and split that masking promises to find, by a seed. It has encoders of its own and
//! knows nothing of the masker.

/// A text with a secret in it.
pub(crate) struct Planted {
    /// The secret's name.
    pub(crate) name: &'static str,
    /// How it was encoded and split.
    pub(crate) how: String,
    /// The secret as it stands in the text.
    pub(crate) form: String,
    /// All of the text.
    pub(crate) text: String,
}

/// Chance by a seed (Knuth's constants for a linear congruence of 64 bits).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }
}

/// The secrets that are planted.
pub(crate) fn secrets() -> Vec<(&'static str, String)> {
    let pem: String = (0..12).map(|line| format!("MIIE{line:02}qZx8{}Kd0+Lw/9vTy\n", "aB3dE5fG7h".repeat(4))).collect();
    let long: String = (0..700).map(|n| char::from(b'!' + (n * 37 % 90) as u8)).collect();
    vec![
        ("short", "x9Kq2z".to_owned()),
        ("token", "ghp_16C7e42F292c6912E7710c838347Ae178B4a".to_owned()),
        ("special", "p@ss\"w'rd\\ & <x>/+=%41?#".to_owned()),
        ("unicode", "schlüssel-Ω-пароль-鍵-😀".to_owned()),
        ("phrase", "correct horse battery staple".to_owned()),
        ("number", "84723910562".to_owned()),
        ("quotes", "it's \"all\" ''quotes'' here".to_owned()),
        ("url", "postgres://app:s3cr3t-Pa55@db.internal:5432/shop?sslmode=require".to_owned()),
        ("key", format!("-----BEGIN PRIVATE KEY-----\n{pem}-----END PRIVATE KEY-----\n")),
        ("long", long),
    ]
}

pub(crate) fn base64(bytes: &[u8], url: bool, pad: bool) -> String {
    let tail = if url { ['-', '_'] } else { ['+', '/'] };
    let alphabet: Vec<char> = ('A'..='Z').chain('a'..='z').chain('0'..='9').chain(tail).collect();
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let number = (0..3).fold(0_u32, |number, at| number << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for digit in 0..=group.len() {
            out.push(alphabet[(number >> (18 - 6 * digit) & 63) as usize]);
        }
        if pad {
            out.push_str(&"=".repeat(3 - group.len()));
        }
    }
    out
}

fn wrapped(text: &str, width: usize, between: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(width).map(|line| line.iter().collect::<String>()).collect::<Vec<_>>().join(between)
}

fn hexadecimal(bytes: &[u8], between: &str, upper: bool) -> String {
    let digits = bytes.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") });
    digits.collect::<Vec<_>>().join(between)
}

fn percent(text: &str, keep: &str, lower: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || keep.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else if lower {
            out.push_str(&format!("%{byte:02x}"));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn json(text: &str, ascii: bool, slash: bool) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '/' if slash => out.push_str("\\/"),
            c if ascii && (!c.is_ascii() || "<>&'".contains(c)) => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
            c => out.push(c),
        }
    }
    out
}

fn html(text: &str, kind: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match (c, kind) {
            ('&', 0) => out.push_str("&amp;"),
            ('<', 0) => out.push_str("&lt;"),
            ('>', 0) => out.push_str("&gt;"),
            ('"', 0) => out.push_str("&quot;"),
            ('\'', 0) => out.push_str("&#39;"),
            ('&' | '<' | '>' | '"' | '\'' | '/', 1) => out.push_str(&format!("&#{};", u32::from(c))),
            ('&' | '<' | '>' | '"' | '\'' | '/' | '=', 2) => out.push_str(&format!("&#x{:X};", u32::from(c))),
            _ => out.push(c),
        }
    }
    out
}

fn bash(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:@%+=,".contains(c);
    text.chars().flat_map(|c| (!plain(c) && c != '\n').then_some('\\').into_iter().chain([c])).collect()
}

fn coloured(text: &str, chance: &mut Chance) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = 1 + chance.below(chars.len() - 1);
    let (one, two): (String, String) = (chars[..at].iter().collect(), chars[at..].iter().collect());
    format!("{one}\u{1b}[01;31m\u{1b}[K{two}")
}

fn broken(text: &str, with: &str, chance: &mut Chance) -> String {
    let chars: Vec<char> = text.chars().collect();
    // Before the fifth byte, a line that ends in the beginning of a secret is not held back; see the masker.
    let at = 5 + chance.below((chars.len() - 5).max(1));
    let (one, two): (String, String) = (chars[..at].iter().collect(), chars[at..].iter().collect());
    format!("{one}{with}{two}")
}

/// Every way in which one secret is written.
fn forms(value: &str, chance: &mut Chance) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut add = |how: &str, form: String| out.push((how.to_owned(), form));
    add("as it is", value.to_owned());
    add("with CRLF", value.replace('\n', "\r\n"));
    add("indented", value.replace('\n', "\n        "));
    for lead in ["", "u", "us", "user:", "{\"password\":\""] {
        for (url, pad) in [(false, true), (false, false), (true, true), (true, false)] {
            let form = base64(format!("{lead}{value}").as_bytes(), url, pad);
            add(&format!("base64 url={url} pad={pad} after {lead:?}"), form.clone());
            add(&format!("base64 in lines url={url} pad={pad} after {lead:?}"), wrapped(&form, 76, "\n"));
            add(&format!("base64 in YAML url={url} pad={pad} after {lead:?}"), wrapped(&form, 40, "\n    "));
        }
    }
    add("base64 of JSON", base64(format!("{{\"a\":\"{}\"}}", json(value, false, false)).as_bytes(), false, true));
    add("base64 percent-encoded", percent(&base64(value.as_bytes(), false, true), "", false));
    for (between, upper) in [("", false), ("", true), (":", true), (" ", false), ("-", false), (", ", false)] {
        add(&format!("hex between {between:?} upper={upper}"), hexadecimal(value.as_bytes(), between, upper));
    }
    add("hex in lines", wrapped(&hexadecimal(value.as_bytes(), " ", false), 48, "\n"));
    for (keep, lower) in [("", false), ("", true), ("-_.~", false), ("-_.!~*'()", false), ("/:@?=&+", true)] {
        add(&format!("percent keeping {keep:?} lower={lower}"), percent(value, keep, lower));
    }
    add("form", percent(value, "-_. ", false).replace(' ', "+"));
    add("percent twice", percent(&percent(value, "-_.~", false), "-_.~", false));
    for (ascii, slash) in [(false, false), (true, false), (false, true), (true, true)] {
        add(&format!("JSON ascii={ascii} slash={slash}"), json(value, ascii, slash));
        add(&format!("JSON in JSON ascii={ascii}"), json(&json(value, ascii, slash), false, false));
    }
    add("JSON percent-encoded", percent(&json(value, false, false), "-_.", false));
    add("HTML named", html(value, 0));
    add("HTML decimal", html(value, 1));
    add("HTML hex", html(value, 2));
    add("JSON in HTML", html(&json(value, false, false), 0));
    add("shell quotes", value.replace('\'', "'\\''"));
    add("shell quotes of Python", value.replace('\'', "'\"'\"'"));
    add("bash", bash(value));
    add("SQL", value.replace('\'', "''"));
    add("CSV", value.replace('"', "\"\""));
    add("Rust", format!("{value:?}"));
    let in_colour = coloured(value, chance);
    add("coloured and made visible", in_colour.replace('\u{1b}', "\\u{1b}"));
    add("coloured", in_colour);
    for with in ["\n", "\r\n", "\n    ", " \n"] {
        add(&format!("broken by {with:?}"), broken(value, with, chance));
        add(&format!("base64 broken by {with:?}"), broken(&base64(value.as_bytes(), false, true), with, chance));
    }
    out
}

/// The corpus of a seed: more than a thousand texts.
pub(crate) fn corpus(seed: u64) -> Vec<Planted> {
    let mut chance = Chance::new(seed);
    let mut out = Vec::new();
    for (name, value) in secrets() {
        for (how, form) in forms(&value, &mut chance) {
            let lead = ["GET /?k=", "{\"k\":\"", "export K='", "pw: ", "(", ">"][chance.below(6)];
            let tail = ["", "\n", "\" }", "' ;", "!", "&x=1", "<"][chance.below(7)];
            let text = format!("{lead}{form}{tail}");
            out.push(Planted { name, how, form, text });
        }
    }
    out
}

/// The longest run of characters of a planted form that a text still has. White space does not count, and what the form
/// has in common with its neighbours is its first and last characters.
pub(crate) fn longest_left(form: &str, text: &str) -> usize {
    let bare = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
    let (form, text) = (bare(form), bare(text));
    let mut longest = 0;
    let mut lengths = vec![0_usize; form.len() + 1];
    for c in text {
        for at in (0..form.len()).rev() {
            lengths[at + 1] = if form[at] == c { lengths[at] + 1 } else { 0 };
            longest = longest.max(lengths[at + 1]);
        }
    }
    longest
}
