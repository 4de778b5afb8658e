//! A strict reader of pages: it knows the few forms that a page of ours may have and refuses everything else.

/// What a page has: its elements with their attributes, and its visible text.
#[derive(Debug, Default)]
pub(crate) struct Dom {
    pub(crate) elements: Vec<(String, Vec<(String, String)>)>,
    pub(crate) text: String,
}

const ELEMENTS: &[&str] = &[
    "article",
    "b",
    "body",
    "button",
    "circle",
    "code",
    "dd",
    "desc",
    "details",
    "div",
    "dl",
    "dt",
    "figcaption",
    "figure",
    "footer",
    "g",
    "h1",
    "h2",
    "h3",
    "head",
    "header",
    "html",
    "i",
    "input",
    "li",
    "line",
    "link",
    "main",
    "meta",
    "ol",
    "output",
    "p",
    "path",
    "pre",
    "rect",
    "script",
    "section",
    "small",
    "span",
    "style",
    "summary",
    "svg",
    "table",
    "tbody",
    "td",
    "text",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
];

const ATTRIBUTES: &[&str] = &[
    "aria-hidden",
    "aria-label",
    "aria-labelledby",
    "aria-valuetext",
    "charset",
    "class",
    "content",
    "cx",
    "cy",
    "d",
    "data-rows",
    "data-shares",
    "data-times",
    "height",
    "hidden",
    "href",
    "http-equiv",
    "id",
    "lang",
    "max",
    "min",
    "name",
    "open",
    "preserveaspectratio",
    "r",
    "rel",
    "role",
    "rx",
    "scope",
    "step",
    "text-anchor",
    "title",
    "type",
    "value",
    "viewbox",
    "width",
    "x",
    "x1",
    "x2",
    "y",
    "y1",
    "y2",
];

/// Reads a page and panics at anything that a page of ours must not have.
pub(crate) fn read(page: &str) -> Dom {
    let mut dom = Dom::default();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        dom.text.push_str(&unescape(&rest[..at]));
        rest = &rest[at..];
        rest = if let Some(after) = rest.strip_prefix("<!doctype html>").or(rest.strip_prefix("<!DOCTYPE html>")) {
            after
        } else if let Some(after) = rest.strip_prefix("</") {
            let (name, after) = after.split_once('>').expect("an end tag ends");
            assert!(ELEMENTS.contains(&name), "end tag {name:?}");
            after
        } else {
            element(&mut dom, &rest[1..])
        };
    }
    dom.text.push_str(&unescape(rest));
    for (name, attributes) in &dom.elements {
        for (key, value) in attributes {
            assert!(!key.starts_with("on"), "{name} has a handler {key}");
            let inert = key != "href" || (name == "link" && value == "data:,");
            assert!(inert, "{name} leads to {value:?}");
        }
    }
    dom
}

fn element<'a>(dom: &mut Dom, text: &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).expect("a name ends");
    let name = text[..end].to_ascii_lowercase();
    assert!(ELEMENTS.contains(&name.as_str()), "element {name:?} in {}", text.chars().take(80).collect::<String>());
    let mut rest = text[end..].trim_start();
    let mut attributes = Vec::new();
    while !rest.starts_with('>') && !rest.starts_with("/>") {
        let end = rest.find(['=', ' ', '>', '\n']).expect("an attribute ends");
        let key = rest[..end].to_ascii_lowercase();
        assert!(ATTRIBUTES.contains(&key.as_str()), "attribute {key:?} of {name}");
        rest = &rest[end..];
        let value = match rest.strip_prefix("=\"") {
            Some(after) => {
                let (value, after) = after.split_once('"').expect("a value ends");
                rest = after;
                unescape(value)
            }
            None => String::new(),
        };
        attributes.push((key, value));
        rest = rest.trim_start();
    }
    rest = rest.trim_start_matches('/').strip_prefix('>').unwrap();
    dom.elements.push((name.clone(), attributes));
    if name == "script" {
        // The one script is known to the byte, and the policy of the page names its digest.
        let (script, after) = rest.split_once("</script>").expect("a script ends");
        assert_eq!(script, include_str!("../../src/render/html/spread.js"), "a script that is not ours");
        return after;
    }
    if name == "style" {
        let (style, after) = rest.split_once("</style>").expect("a style ends");
        assert!(!style.contains("url(") && !style.contains('<'), "a style that loads something");
        return after;
    }
    rest
}

fn unescape(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#x27;", "'"), ("&#x3D;", "="), ("&#x60;", "`")];
    named.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)).replace("&amp;", "&")
}
