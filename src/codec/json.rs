//! one JSON object cut into its leaves, with every number and array exactly as written
//!
//! serde_json would turn a number beyond 64 bits into a float and forget how an array was written; here a leaf borrows its text from
//! the line. What is accepted is RFC 8259, which a test holds against serde_json.

use memchr::memchr2;
use std::borrow::Cow;
use std::ops::Range;

/// How deep objects and arrays may nest.
pub const DEPTH_MAX: usize = 64;
/// How many leaves an object may have.
pub const FIELDS_MAX: usize = 1000;

/// A leaf's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// true or false
    Boolean(bool),
    /// a whole number of 64 bits
    Int(i64),
    /// a number with a fraction or an exponent
    Float(&'a str),
    /// a number that fits neither
    Wide(&'a str),
    /// a string
    Text(Cow<'a, str>),
    /// an array, as JSON text
    Array(&'a str),
}

/// What is wrong with a text, and where.
#[derive(Debug, PartialEq)]
pub struct Wrong {
    /// the byte it was seen at, from 1
    pub column: usize,
    /// in words
    pub what: String,
}

/// The leaves of one object; used again for the next, so that names need no memory of their own.
#[derive(Default)]
pub struct Leaves<'a> {
    names: String,
    fields: Vec<(Range<usize>, Value<'a>)>,
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Leaves<'a> {
    /// Reads an object; nested objects' names are joined with `.`, null and empty objects are absent.
    pub fn read(&mut self, text: &'a str) -> Result<(), Wrong> {
        self.names.clear();
        self.fields.clear();
        let mut scanner = Scanner { text, at: 0 };
        scanner.space();
        if scanner.peek() != Some(b'{') {
            return Err(scanner.expected("a JSON object"));
        }
        scanner.object(self, &mut String::new(), 1)?;
        scanner.end()
    }

    /// The leaves in the order they were written. A name may come twice.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.fields.iter().map(|(name, value)| (self.names.get(name.clone()).unwrap_or_default(), value))
    }

    fn push(&mut self, name: &str, value: Value<'a>) {
        let start = self.names.len();
        self.names.push_str(name);
        self.fields.push((start..self.names.len(), value));
    }
}

/// The elements of an array as texts; of anything else, itself.
pub fn elements(text: &str) -> Result<Vec<&str>, Wrong> {
    let mut scanner = Scanner { text, at: 0 };
    let mut elements = Vec::new();
    scanner.space();
    if scanner.peek() != Some(b'[') {
        elements.push(scanner.skipped(1)?);
        return scanner.end().map(|()| elements);
    }
    scanner.at += 1;
    scanner.space();
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
        return scanner.end().map(|()| elements);
    }
    loop {
        scanner.space();
        elements.push(scanner.skipped(2)?);
        if !scanner.next_of(b']')? {
            return scanner.end().map(|()| elements);
        }
    }
}

impl Value<'_> {
    /// The value as text: a string without its quotes, anything else as JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Value::Boolean(true) => "true".into(),
            Value::Boolean(false) => "false".into(),
            Value::Int(value) => value.to_string().into(),
            Value::Float(text) | Value::Wide(text) | Value::Array(text) => (*text).into(),
            Value::Text(text) => text.as_ref().into(),
        }
    }

    /// The value as JSON.
    pub fn json(&self) -> Cow<'_, str> {
        match self {
            Value::Text(text) => serde_json::Value::from(text.as_ref()).to_string().into(),
            other => other.text(),
        }
    }
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn slice(&self, from: usize) -> &'a str {
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn wrong(&self, what: impl Into<String>) -> Wrong {
        Wrong { column: self.at + 1, what: what.into() }
    }

    fn expected(&self, what: &str) -> Wrong {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(found) if found.is_control() => {
                self.wrong(format!("expected {what}, found `{}`", found.escape_default()))
            }
            Some(found) => self.wrong(format!("expected {what}, found `{found}`")),
            None => self.wrong(format!("expected {what}, but the text ends")),
        }
    }

    fn end(&mut self) -> Result<(), Wrong> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.expected("nothing more")) }
    }

    /// After a value: true if a comma says that there is another one, false if the object or array ends here.
    fn next_of(&mut self, end: u8) -> Result<bool, Wrong> {
        self.space();
        let more = match self.peek() {
            Some(b',') => true,
            Some(found) if found == end => false,
            _ => return Err(self.expected(&format!("`,` or `{}`", char::from(end)))),
        };
        self.at += 1;
        Ok(more)
    }

    /// Every member of an object: `member` reads its value.
    fn members(&mut self, mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), Wrong>) -> Result<(), Wrong> {
        self.at += 1;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.expected("a field's name in quotes"));
            }
            let name = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.expected("`:`"));
            }
            self.at += 1;
            self.space();
            member(self, name)?;
            if !self.next_of(b'}')? {
                return Ok(());
            }
        }
    }

    fn object(&mut self, leaves: &mut Leaves<'a>, path: &mut String, depth: usize) -> Result<(), Wrong> {
        self.deep(depth)?;
        let outer = path.len();
        self.members(|scanner, name| {
            if depth > 1 {
                path.push('.');
            }
            path.push_str(&name);
            let start = scanner.at;
            match scanner.peek() {
                Some(b'{') => scanner.object(leaves, path, depth + 1)?,
                Some(b'[') => {
                    scanner.array(depth + 1)?;
                    leaves.push(path, Value::Array(scanner.slice(start)));
                }
                _ => {
                    if let Some(value) = scanner.scalar()? {
                        leaves.push(path, value);
                    }
                }
            }
            path.truncate(outer);
            if leaves.fields.len() > FIELDS_MAX {
                return Err(scanner.wrong(format!("the object has more than {FIELDS_MAX} fields")));
            }
            Ok(())
        })
    }

    fn array(&mut self, depth: usize) -> Result<(), Wrong> {
        self.deep(depth)?;
        self.at += 1;
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            self.skipped(depth + 1)?;
            if !self.next_of(b']')? {
                return Ok(());
            }
        }
    }

    /// Reads over any value and gives its text.
    fn skipped(&mut self, depth: usize) -> Result<&'a str, Wrong> {
        let start = self.at;
        match self.peek() {
            Some(b'{') => {
                self.deep(depth)?;
                self.members(|scanner, _| scanner.skipped(depth + 1).map(|_| ()))?;
            }
            Some(b'[') => self.array(depth)?,
            _ => {
                self.scalar()?;
            }
        }
        Ok(self.slice(start))
    }

    fn deep(&self, depth: usize) -> Result<(), Wrong> {
        if depth <= DEPTH_MAX { Ok(()) } else { Err(self.wrong(format!("nested deeper than {DEPTH_MAX}"))) }
    }

    fn scalar(&mut self) -> Result<Option<Value<'a>>, Wrong> {
        match self.peek() {
            Some(b'"') => Ok(Some(Value::Text(self.string()?))),
            Some(b'-' | b'0'..=b'9') => self.number().map(Some),
            Some(b't') => self.word("true").map(|()| Some(Value::Boolean(true))),
            Some(b'f') => self.word("false").map(|()| Some(Value::Boolean(false))),
            Some(b'n') => self.word("null").map(|()| None),
            _ => Err(self.expected("a value")),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Wrong> {
        if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Wrong> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.expected("a digit"));
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value<'a>, Wrong> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = self.slice(start);
        if !whole {
            let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
            return Ok(if finite { Value::Float(text) } else { Value::Wide(text) });
        }
        Ok(text.parse().map_or(Value::Wide(text), Value::Int))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Wrong> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                self.at = self.text.len();
                return Err(self.expected("the closing `\"`"));
            };
            let stretch = rest.get(..found).unwrap_or_default();
            if let Some(control) = stretch.iter().position(|byte| *byte < 0x20) {
                self.at += control;
                return Err(self.wrong("a control character in a string must be escaped"));
            }
            let quote = rest.get(found) == Some(&b'"');
            self.at += found + if quote { 1 } else { 2 };
            if quote {
                break;
            }
            escaped = true;
        }
        let quoted = self.slice(start);
        if !escaped {
            return Ok(Cow::Borrowed(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default()));
        }
        match serde_json::from_str::<String>(quoted) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(error) => {
                self.at = start + error.column().saturating_sub(1);
                Err(self.wrong("an escape that JSON does not have in a string"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(text: &str) -> Result<Vec<(String, String)>, Wrong> {
        let mut leaves = Leaves::default();
        leaves.read(text)?;
        Ok(leaves.iter().map(|(name, value)| (name.to_owned(), format!("{value:?}"))).collect())
    }

    #[test]
    fn leaves_are_as_written() {
        let rows: &[(&str, &[(&str, &str)])] = &[
            ("{}", &[]),
            (r#" {"a":1} "#, &[("a", "Int(1)")]),
            (r#"{"a":{"b":{"c":true}},"d":null,"e":{}}"#, &[("a.b.c", "Boolean(true)")]),
            (r#"{"a":[1, {"b":2}],"t":"x\ny"}"#, &[("a", r#"Array("[1, {\"b\":2}]")"#), ("t", r#"Text("x\ny")"#)]),
            (r#"{"i":9223372036854775807}"#, &[("i", "Int(9223372036854775807)")]),
            (r#"{"i":9223372036854775808}"#, &[("i", r#"Wide("9223372036854775808")"#)]),
            (
                r#"{"f":1.0,"g":1e3,"h":1e999}"#,
                &[("f", r#"Float("1.0")"#), ("g", r#"Float("1e3")"#), ("h", r#"Wide("1e999")"#)],
            ),
            (r#"{"a":1,"a":2}"#, &[("a", "Int(1)"), ("a", "Int(2)")]),
            (r#"{"\u00e4":"\ud83d\ude00"}"#, &[("ä", "Text(\"😀\")")]),
        ];
        for (text, want) in rows {
            let want: Vec<(String, String)> = want.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
            assert_eq!(leaves(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_column() {
        let rows = [
            ("", 1, "expected a JSON object, but the text ends"),
            ("[1]", 1, "expected a JSON object, found `[`"),
            (r#"{"a" 1}"#, 6, "expected `:`, found `1`"),
            (r#"{"a":}"#, 6, "expected a value, found `}`"),
            (r#"{"a":1,}"#, 8, "expected a field's name in quotes, found `}`"),
            (r#"{"a":01}"#, 7, "expected `,` or `}`, found `1`"),
            (r#"{"a":1.}"#, 8, "expected a digit, found `}`"),
            (r#"{"a":"x"#, 8, "expected the closing `\"`, but the text ends"),
            (r#"{"a":1} x"#, 9, "expected nothing more, found `x`"),
            ("{\"a\":\"\t\"}", 7, "a control character in a string must be escaped"),
        ];
        for (text, column, what) in rows {
            assert_eq!(leaves(text), Err(Wrong { column, what: what.into() }), "{text}");
        }
    }

    #[test]
    fn depth_and_width_have_an_end() {
        let deep = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
        assert!(leaves(&deep(64)).is_ok());
        assert_eq!(leaves(&deep(65)).unwrap_err().what, "nested deeper than 64");
        let arrays = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
        assert!(leaves(&arrays(63)).is_ok());
        assert!(leaves(&arrays(64)).is_err());
        assert!(leaves(&arrays(100_000)).is_err());
        let wide = |n: usize| format!("{{{}}}", (0..n).map(|i| format!("\"f{i}\":1")).collect::<Vec<_>>().join(","));
        assert!(leaves(&wide(1000)).is_ok());
        assert_eq!(leaves(&wide(1001)).unwrap_err().what, "the object has more than 1000 fields");
    }

    #[test]
    fn arrays_are_cut_into_elements() {
        assert_eq!(elements(r#" [ {"a":1} , 2,[3] ] "#), Ok(vec![r#"{"a":1}"#, "2", "[3]"]));
        assert_eq!(elements("{\"a\":\n1}"), Ok(vec!["{\"a\":\n1}"]));
        assert_eq!(elements("[]"), Ok(vec![]));
        assert!(elements("[1").is_err());
        assert!(elements("[1]]").is_err());
    }

    /// Texts one byte away from valid ones are accepted exactly when serde_json accepts them.
    #[test]
    fn what_is_json_is_what_serde_json_says() {
        let seeds = [
            r#"{"a":{"b":[1,-2.5e+3,"x\u0041\n"],"c":null},"d":true,"e":""}"#,
            r#"{"k":"\ud83d\ude00","n":0,"m":-0.0,"z":[{},[],[[]],{"q":false}]}"#,
        ];
        let bytes: Vec<char> = "{}[]:,\"\\0123456789.eE+-truefalsn u/ \t\n\u{1}ä".chars().collect();
        let mut tried = 0;
        for seed in seeds {
            let letters: Vec<char> = seed.chars().collect();
            for at in 0..letters.len() {
                for byte in &bytes {
                    for way in 0..3 {
                        let mut text = letters.clone();
                        match way {
                            0 => text[at] = *byte,
                            1 => text.insert(at, *byte),
                            _ => text.truncate(at),
                        }
                        let text: String = text.into_iter().collect();
                        let theirs = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
                        assert_eq!(leaves(&text).is_ok(), theirs.is_ok(), "{text} {theirs:?}");
                        tried += 1;
                    }
                }
            }
        }
        assert!(tried > 10_000);
    }
}
