//! HTML and XML as a tree, read the way a browser would: never refused for being untidy. It owns the tree; what is
//! looked for in it is the business of [`super::css`] and [`super::xpath`].

/// So many nodes are kept; a page that has more is cut there.
const NODES_MAX: usize = 200_000;

/// So deep a tree may be.
const DEPTH_MAX: usize = 512;

/// So much text all findings of one question may have together, in bytes: the texts of nested elements hold each other.
const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// So many elements one question may look at. A page of ours needs thousands; one that was made to be slow ends here.
const VISITS_MAX: u64 = 3_000_000;

/// What one question may cost.
pub(crate) struct Budget {
    visits: std::cell::Cell<u64>,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self { visits: std::cell::Cell::new(VISITS_MAX) }
    }

    /// Takes visits; false when there are none left.
    pub(crate) fn take(&self, visits: usize) -> bool {
        let left = self.visits.get().saturating_sub(u64::try_from(visits).unwrap_or(u64::MAX));
        self.visits.set(left);
        left > 0
    }

    /// Texts as findings, as far as they stay within bounds.
    ///
    /// # Errors
    /// Text that says that the question costs too much for this page.
    pub(crate) fn collect(&self, texts: impl Iterator<Item = String>) -> Result<Vec<serde_json::Value>, String> {
        let mut bytes = 0_usize;
        let mut all = Vec::new();
        for text in texts {
            bytes = bytes.saturating_add(text.len());
            if bytes > TEXT_BYTES_MAX {
                return Err("selects more text than can be looked at".to_owned());
            }
            all.push(serde_json::Value::String(text));
        }
        if self.visits.get() == 0 { Err("takes too long on a page of this size".to_owned()) } else { Ok(all) }
    }
}

/// The index of an element.
pub(crate) type Id = usize;

/// What an element holds.
#[derive(Debug, Clone)]
pub(crate) enum Child {
    Element(Id),
    Text(String),
}

/// An element.
#[derive(Debug, Default)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) parent: Option<Id>,
    pub(crate) children: Vec<Child>,
}

impl Element {
    /// An attribute's value.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A tree; element 0 is the document itself.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) elements: Vec<Element>,
    xml: bool,
}

const VOID: &[&str] =
    &["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"];

/// Whose content is text to the end tag.
const RAW: &[&str] = &["script", "style", "textarea", "title"];

/// An element that ends where another one of these begins.
fn ends_before(open: &str, next: &str) -> bool {
    match open {
        "li" => next == "li",
        "dt" | "dd" => matches!(next, "dt" | "dd"),
        "tr" => matches!(next, "tr" | "tbody" | "tfoot"),
        "td" | "th" => matches!(next, "td" | "th" | "tr" | "tbody" | "tfoot"),
        "thead" | "tbody" => matches!(next, "tbody" | "tfoot"),
        "option" => matches!(next, "option" | "optgroup"),
        "p" => matches!(
            next,
            "p" | "div"
                | "ul"
                | "ol"
                | "dl"
                | "table"
                | "h1"
                | "h2"
                | "h3"
                | "h4"
                | "h5"
                | "h6"
                | "form"
                | "section"
                | "article"
                | "pre"
                | "blockquote"
                | "header"
                | "footer"
                | "nav"
                | "main"
        ),
        _ => false,
    }
}

impl Document {
    /// Reads a page.
    ///
    /// # Errors
    /// Text when there is nothing that looks like an element.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('<') {
            return Err("the body is neither HTML nor XML".to_owned());
        }
        let head = text.trim_start();
        let xml = head.starts_with("<?xml");
        let mut builder = Builder { document: Self { elements: vec![Element::default()], xml }, open: vec![0] };
        builder.read(text);
        Ok(builder.document)
    }

    /// All text below an element.
    pub(crate) fn text(&self, id: Id) -> String {
        let mut out = String::new();
        let mut open: Vec<&Child> = self.elements[id].children.iter().rev().collect();
        while let Some(child) = open.pop() {
            match child {
                Child::Text(text) => out.push_str(text),
                Child::Element(id) => open.extend(self.elements[*id].children.iter().rev()),
            }
        }
        out
    }

    /// The elements right below an element.
    pub(crate) fn children(&self, id: Id) -> impl DoubleEndedIterator<Item = Id> + '_ {
        self.elements[id].children.iter().filter_map(|child| match child {
            Child::Element(id) => Some(*id),
            Child::Text(_) => None,
        })
    }

    /// All elements below an element, in the order of the page.
    pub(crate) fn descendants(&self, id: Id) -> Vec<Id> {
        let mut out = Vec::new();
        let mut open: Vec<Id> = self.children(id).rev().collect();
        while let Some(id) = open.pop() {
            out.push(id);
            open.extend(self.children(id).rev());
        }
        out
    }

    /// Whether names are compared as they are written.
    pub(crate) const fn is_xml(&self) -> bool {
        self.xml
    }
}

struct Builder {
    document: Document,
    open: Vec<Id>,
}

impl Builder {
    fn top(&self) -> Id {
        self.open.last().copied().unwrap_or(0)
    }

    fn read(&mut self, text: &str) {
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            self.text(&rest[..start], true);
            rest = &rest[start..];
            if self.document.elements.len() >= NODES_MAX {
                return;
            }
            rest = self.markup(rest);
        }
        self.text(rest, true);
    }

    fn text(&mut self, text: &str, entities: bool) {
        if !text.is_empty() {
            let text = if entities { unescape(text) } else { text.to_owned() };
            let top = self.top();
            self.document.elements[top].children.push(Child::Text(text));
        }
    }

    /// Reads what begins with `<`; gives what follows.
    fn markup<'t>(&mut self, rest: &'t str) -> &'t str {
        for (begin, end) in [("<!--", "-->"), ("<?", "?>")] {
            if rest.starts_with(begin) {
                return rest.find(end).map_or("", |at| &rest[at + end.len()..]);
            }
        }
        if let Some(data) = rest.strip_prefix("<![CDATA[") {
            let end = data.find("]]>").unwrap_or(data.len());
            self.text(&data[..end], false);
            return data.get(end + 3..).unwrap_or("");
        }
        if rest.starts_with("<!") {
            return rest.find('>').map_or("", |at| &rest[at + 1..]);
        }
        if let Some(tag) = rest.strip_prefix("</") {
            let end = tag.find('>').unwrap_or(tag.len());
            let name = self.cased(tag[..end].trim());
            self.close(&name);
            return tag.get(end + 1..).unwrap_or("");
        }
        if !rest[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            self.text("<", false);
            return &rest[1..];
        }
        self.element(&rest[1..])
    }

    fn cased(&self, name: &str) -> String {
        if self.document.xml { name.to_owned() } else { name.to_ascii_lowercase() }
    }

    fn close(&mut self, name: &str) {
        if let Some(at) = self.open.iter().rposition(|id| self.document.elements[*id].name == name).filter(|at| *at > 0)
        {
            self.open.truncate(at);
        }
    }

    fn element<'t>(&mut self, rest: &'t str) -> &'t str {
        let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(rest.len());
        let name = self.cased(&rest[..end]);
        let (attributes, self_closed, mut rest) = self.attributes(&rest[end..]);
        if !self.document.xml {
            while self.open.len() > 1 && ends_before(&self.document.elements[self.top()].name, &name) {
                self.open.pop();
            }
        }
        let parent = self.top();
        let id = self.document.elements.len();
        self.document.elements.push(Element {
            name: name.clone(),
            attributes,
            parent: Some(parent),
            children: Vec::new(),
        });
        self.document.elements[parent].children.push(Child::Element(id));
        let html = !self.document.xml;
        if self_closed || (html && VOID.contains(&name.as_str())) || self.open.len() >= DEPTH_MAX {
            return rest;
        }
        self.open.push(id);
        if html && RAW.contains(&name.as_str()) {
            let end = find_end(rest, &name).unwrap_or(rest.len());
            self.text(&rest[..end], matches!(name.as_str(), "title" | "textarea"));
            rest = &rest[end..];
        }
        rest
    }

    /// Reads attributes up to and with `>`.
    fn attributes<'t>(&self, mut rest: &'t str) -> (Vec<(String, String)>, bool, &'t str) {
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix("/>") {
                return (attributes, true, after);
            }
            if let Some(after) = rest.strip_prefix('>') {
                return (attributes, false, after);
            }
            if rest.is_empty() {
                return (attributes, false, rest);
            }
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
            if end == 0 {
                // Something that can't begin a name, such as a lone slash.
                rest = rest.get(rest.chars().next().map_or(1, char::len_utf8)..).unwrap_or("");
                continue;
            }
            let name = self.cased(&rest[..end]);
            rest = rest[end..].trim_start();
            let mut value = String::new();
            if let Some(after) = rest.strip_prefix('=') {
                (value, rest) = attribute_value(after.trim_start());
            }
            attributes.push((name, value));
        }
    }
}

fn attribute_value(rest: &str) -> (String, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = rest.strip_prefix(quote) {
            let end = inner.find(quote).unwrap_or(inner.len());
            return (unescape(&inner[..end]), inner.get(end + 1..).unwrap_or(""));
        }
    }
    let end = rest.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(rest.len());
    (unescape(&rest[..end]), &rest[end..])
}

/// Where the end tag of a raw element begins.
fn find_end(text: &str, name: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find("</") {
        let start = from + at;
        let tag = &text.as_bytes()[start + 2..];
        if tag.len() >= name.len() && tag[..name.len()].eq_ignore_ascii_case(name.as_bytes()) {
            return Some(start);
        }
        from = start + 2;
    }
    None
}

/// Replaces the entities that occur in practice; others stay as they are.
pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        let Some((end, c)) = end.and_then(|end| Some((end, entity(&rest[1..end])?))) else {
            out.push('&');
            rest = &rest[1..];
            continue;
        };
        out.push(c);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code);
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "copy" => '©',
        "hellip" => '…',
        "mdash" => '—',
        "ndash" => '–',
        "euro" => '€',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untidy_pages_become_trees() {
        let page = "<!doctype html><title>A &amp; B</title><ul><li>one<li class=x>two</ul><br><img src='a>b'>\
                    <script>if (a < b) {}</script><p>x<p>y &#x41; < z";
        let document = Document::parse(page).unwrap();
        let names: Vec<&str> =
            document.descendants(0).into_iter().map(|id| document.elements[id].name.as_str()).collect();
        assert_eq!(names, ["title", "ul", "li", "li", "br", "img", "script", "p", "p"]);
        assert_eq!(document.text(1), "A & B");
        assert!(document.text(0).ends_with("y A < z"), "{}", document.text(0));
        assert_eq!(document.elements[6].attribute("src"), Some("a>b"));
    }

    #[test]
    fn hostile_pages_stay_bounded() {
        let deep = Document::parse(&"<div>".repeat(300_000)).unwrap();
        assert_eq!(deep.elements.len(), NODES_MAX);
        for page in
            ["<", "<a", "<a b", "<a b=", "<a b='", "</", "<!--", "<![CDATA[", "<a />&", "&#x110000;<", "<é", "<a é=ü"]
        {
            drop(Document::parse(page));
        }
    }
}
