//! one regular expression out of a pattern and all it names
//!
//! ```text
//! %{NUMBER:[a][b]:int}  ─►  (?<g0>…)    g0 is field a.b, int64
//! %{NUMBER}             ─►  (?:…)
//! (?<[a][b]>…)          ─►  (?<g1>…)    names as Logstash takes them
//! ```

use tidemill_plugin::fields::FieldType;

use crate::library::Library;

/// Patterns within patterns beyond this are taken for a circle.
const DEPTH_MAX: usize = 64;

/// A pattern written out.
pub struct Expanded {
    pub regex: String,
    pub groups: Vec<Group>,
}

/// A group of the expression that is a field.
pub struct Group {
    pub name: String,
    pub field: String,
    pub field_type: FieldType,
}

/// Writes a pattern out; `all` gives patterns without a field their own name as one.
pub fn expand(pattern: &str, library: &Library<'_>, all: bool, bytes_max: usize) -> Result<Expanded, String> {
    let mut expansion = Expansion {
        library,
        all,
        bytes_max,
        open: Vec::new(),
        expanded: Expanded { regex: String::new(), groups: Vec::new() },
    };
    expansion.pattern(pattern)?;
    Ok(expansion.expanded)
}

struct Expansion<'l> {
    library: &'l Library<'l>,
    all: bool,
    bytes_max: usize,
    /// The patterns we are in.
    open: Vec<String>,
    expanded: Expanded,
}

impl Expansion<'_> {
    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        let mut rest = pattern;
        while let Some(at) = next_special(rest) {
            self.text(&rest[..at])?;
            rest = &rest[at..];
            rest = match rest.strip_prefix("%{") {
                Some(inside) => {
                    let end = inside.find('}').ok_or_else(|| format!("`{}` has no closing brace", first(rest)))?;
                    self.reference(&inside[..end])?;
                    &inside[end + 1..]
                }
                None => self.named_group(rest)?,
            };
        }
        self.text(rest)
    }

    fn text(&mut self, text: &str) -> Result<(), String> {
        self.expanded.regex.push_str(text);
        if self.expanded.regex.len() > self.bytes_max {
            return Err(format!("written out it has more than {} kB; name fewer patterns", self.bytes_max >> 10));
        }
        Ok(())
    }

    /// `SYNTAX`, `SYNTAX:field` or `SYNTAX:field:type`.
    fn reference(&mut self, inside: &str) -> Result<(), String> {
        let mut parts = inside.splitn(3, ':');
        let (name, field, written) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let definition = self.library.get(name).ok_or_else(|| match self.library.like(name) {
            Some(like) => format!("there is no pattern `{name}`; did you mean `{like}`?"),
            None => format!("there is no pattern `{name}`; define it in `definitions`"),
        })?;
        if self.open.len() >= DEPTH_MAX || self.open.iter().any(|open| open == name) {
            return Err(format!("the pattern `{name}` names itself, by way of {}", self.open.join(", ")));
        }
        let field = field.filter(|field| !field.is_empty()).or(self.all.then_some(name));
        match field {
            Some(field) => {
                let field_type = field_type(written).map_err(|error| format!("`%{{{inside}}}`: {error}"))?;
                let group = self.group(field, field_type);
                self.text(&format!("(?<{group}>"))?;
            }
            None => self.text("(?:")?,
        }
        self.open.push(name.to_owned());
        self.pattern(definition)?;
        self.open.pop();
        self.text(")")
    }

    /// `(?<name>`: the name may have brackets here, and characters that engines do not take.
    fn named_group<'p>(&mut self, rest: &'p str) -> Result<&'p str, String> {
        let inside = rest.get(3..).unwrap_or_default();
        let end = inside.find('>').ok_or_else(|| format!("`{}` has no closing bracket", first(rest)))?;
        let group = self.group(&inside[..end], FieldType::Utf8);
        self.text(&format!("(?<{group}>"))?;
        Ok(&inside[end + 1..])
    }

    fn group(&mut self, field: &str, field_type: FieldType) -> String {
        let name = format!("g{}", self.expanded.groups.len());
        self.expanded.groups.push(Group { name: name.clone(), field: dotted(field), field_type });
        name
    }
}

/// Where the next `%{` or `(?<name>` begins that is not escaped; `(?<=` and `(?<!` look behind.
fn next_special(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'\\', ..] => at += 1,
            [b'%', b'{', ..] => return Some(at),
            [b'(', b'?', b'<', next, ..] if !matches!(next, b'=' | b'!') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// `[a][b]` as `a.b`.
fn dotted(field: &str) -> String {
    match field.strip_prefix('[').and_then(|field| field.strip_suffix(']')) {
        Some(inside) => inside.replace("][", "."),
        None => field.to_owned(),
    }
}

fn field_type(written: Option<&str>) -> Result<FieldType, String> {
    Ok(match written {
        None | Some("" | "string") => FieldType::Utf8,
        Some("int" | "integer" | "long") => FieldType::Int64,
        Some("float" | "double") => FieldType::Float64,
        Some("boolean" | "bool") => FieldType::Boolean,
        Some(other) => return Err(format!("there is no type `{other}`; it is one of int, float, boolean, string")),
    })
}

fn first(text: &str) -> String {
    text.chars().take(30).collect()
}
