//! the Prometheus text format 0.0.4 and OpenMetrics 1.0
//!
//! A mistake anywhere fails the whole scrape, as it does in Prometheus: half a scrape would look like a service that lost its
//! series. Exemplars are checked and left out. In OpenMetrics `# EOF` must end the text, lines may not be empty and comments must be
//! metadata. Samples of one name and labels that come twice are both kept: they were exposed.
//!
//! Sources: prometheus.io/docs/instrumenting/exposition_formats, the OpenMetrics 1.0 text, and Prometheus' `model/textparse`.

use crate::error::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::collections::HashMap;

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`: timestamps in ms
    Text,
    /// `application/openmetrics-text`: timestamps in seconds, `# EOF` at the end
    OpenMetrics,
}

/// One sample, borrowing from the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// as exposed
    pub name: Cow<'a, str>,
    /// the word for the kind of the family it belongs to
    pub kind: &'static str,
    /// labels as exposed
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// its value
    pub value: f64,
    /// ns UTC, if the sample has one
    pub timestamp: Option<i64>,
}

/// What a `# TYPE` line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

/// Labels a sample may have.
const LABELS_MAX: usize = 128;

impl Format {
    /// Which format a response is in; without a content type, `# EOF` tells.
    pub fn of(content_type: Option<&str>, body: &str) -> Format {
        match content_type {
            Some(content_type) if content_type.trim_start().starts_with("application/openmetrics-text") => {
                Format::OpenMetrics
            }
            Some(content_type) if content_type.trim_start().starts_with("text/plain") => Format::Text,
            _ if body.trim_end().ends_with("# EOF") => Format::OpenMetrics,
            _ => Format::Text,
        }
    }
}

/// Reads all samples.
pub fn parse<'a>(bytes: &'a [u8], content_type: Option<&str>, samples_max: usize) -> Result<Vec<Sample<'a>>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        Error::invalid(format!("line {line}: not UTF-8"))
    })?;
    let format = Format::of(content_type, text);
    let mut reader = Reader { format, families: HashMap::new(), samples: Vec::new(), samples_max, ended: false };
    let lines = text.strip_suffix('\n').unwrap_or(text);
    if !lines.is_empty() {
        for (at, line) in lines.split('\n').enumerate() {
            reader.line(line).map_err(|error| match line.is_empty() {
                true => error.within(format!("line {}", at + 1)),
                false => error.within(format!("line {}, `{}`", at + 1, shortened(line))),
            })?;
        }
    }
    if format == Format::OpenMetrics && !reader.ended {
        return Err(Error::invalid("the text does not end with `# EOF`, so it may be cut off"));
    }
    Ok(reader.samples)
}

struct Reader<'a> {
    format: Format,
    families: HashMap<Cow<'a, str>, Family>,
    samples: Vec<Sample<'a>>,
    samples_max: usize,
    ended: bool,
}

impl<'a> Reader<'a> {
    fn line(&mut self, line: &'a str) -> Result<()> {
        let strict = self.format == Format::OpenMetrics;
        if self.ended {
            return Err(Error::invalid("there is more after `# EOF`"));
        }
        let line = if strict { line } else { line.trim_matches([' ', '\t', '\r']) };
        match line.as_bytes().first() {
            None if strict => Err(Error::invalid("empty lines are not allowed in OpenMetrics")),
            None => Ok(()),
            Some(b'#') if strict && line == "# EOF" => {
                self.ended = true;
                Ok(())
            }
            Some(b'#') => self.comment(line),
            Some(_) => self.sample(line),
        }
    }

    /// `# TYPE name type`, `# HELP name text`, `# UNIT name unit`, or words for people.
    fn comment(&mut self, line: &'a str) -> Result<()> {
        let strict = self.format == Format::OpenMetrics;
        let mut cursor = Cursor { rest: line.get(1..).unwrap_or_default() };
        cursor.space();
        let word = cursor.until_space();
        if !matches!(word, "TYPE" | "HELP" | "UNIT") || (word == "UNIT" && !strict) {
            return if strict { Err(Error::invalid("a comment must be HELP, TYPE, UNIT or EOF")) } else { Ok(()) };
        }
        cursor.space();
        let name = match cursor.rest.starts_with('"') {
            true => cursor.quoted()?,
            false => Cow::Borrowed(cursor.until_space()),
        };
        if name.is_empty() {
            return Err(Error::invalid(format!("`# {word}` names no metric")));
        }
        cursor.space();
        let rest = cursor.rest.trim_end_matches([' ', '\t']);
        match word {
            "TYPE" => {
                let family = Family::read(rest, self.format)?;
                self.families.insert(name, family);
            }
            "UNIT" if !rest.is_empty() && !name.ends_with(&format!("_{rest}")) => {
                return Err(Error::invalid(format!("the metric `{name}` does not end with its unit `{rest}`")));
            }
            _ => {}
        }
        Ok(())
    }

    fn sample(&mut self, line: &'a str) -> Result<()> {
        if self.samples.len() >= self.samples_max {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("more than {} samples (`samples_max`)", self.samples_max),
            ));
        }
        let mut cursor = Cursor { rest: line };
        let (name, labels) = cursor.series()?;
        let value = number(cursor.word("a value")?)?;
        let timestamp = match cursor.at_value() {
            true => Some(self.timestamp(cursor.word("a timestamp")?)?),
            false => None,
        };
        let (kind, family) = self.kind(&name);
        cursor.space();
        if self.format == Format::OpenMetrics && cursor.rest.starts_with('#') {
            exemplar(&mut cursor, &name, family)?;
        }
        cursor.space();
        if !cursor.rest.is_empty() {
            return Err(Error::invalid(format!("`{}` is left over after the sample", shortened(cursor.rest))));
        }
        self.samples.push(Sample { name, kind, labels, value, timestamp });
        Ok(())
    }

    fn timestamp(&self, word: &str) -> Result<i64> {
        let wrong = || Error::invalid(format!("`{}` is no timestamp", shortened(word)));
        match self.format {
            Format::Text => word.parse::<i64>().ok().and_then(|ms| ms.checked_mul(1_000_000)).ok_or_else(wrong),
            Format::OpenMetrics => {
                let seconds = number(word).map_err(|_| wrong())?;
                if !seconds.is_finite() || seconds.abs() > 9.0e9 {
                    return Err(wrong());
                }
                // Whole milliseconds, as Prometheus keeps them: the digits below are the float's noise.
                Ok((seconds * 1000.0).round() as i64 * 1_000_000)
            }
        }
    }

    /// The family a sample belongs to is told by its name, with or without the suffix that the family's type allows.
    fn kind(&self, name: &str) -> (&'static str, Family) {
        if let Some(family) = self.families.get(name) {
            return (family.word(), *family);
        }
        const SUFFIXES: [&str; 8] = ["_total", "_created", "_bucket", "_sum", "_count", "_info", "_gsum", "_gcount"];
        for suffix in SUFFIXES {
            let family = name.strip_suffix(suffix).and_then(|base| self.families.get(base));
            if let Some(family) = family.filter(|family| family.allows(suffix)) {
                return (family.word(), *family);
            }
        }
        (Family::Unknown.word(), Family::Unknown)
    }
}

impl Family {
    fn read(word: &str, format: Format) -> Result<Family> {
        match (word, format) {
            ("counter", _) => Ok(Family::Counter),
            ("gauge", _) => Ok(Family::Gauge),
            ("histogram", _) => Ok(Family::Histogram),
            ("summary", _) => Ok(Family::Summary),
            ("untyped", Format::Text) | ("unknown", Format::OpenMetrics) => Ok(Family::Unknown),
            ("gaugehistogram", Format::OpenMetrics) => Ok(Family::GaugeHistogram),
            ("info", Format::OpenMetrics) => Ok(Family::Info),
            ("stateset", Format::OpenMetrics) => Ok(Family::StateSet),
            _ => Err(Error::invalid(format!("`{}` is no type of metric", shortened(word)))),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Family::Counter => "counter",
            Family::Gauge => "gauge",
            Family::Histogram | Family::GaugeHistogram => "histogram",
            Family::Summary => "summary",
            Family::Info => "info",
            Family::StateSet => "stateset",
            Family::Unknown => "unknown",
        }
    }

    fn allows(self, suffix: &str) -> bool {
        match self {
            Family::Counter => matches!(suffix, "_total" | "_created"),
            Family::Histogram => matches!(suffix, "_bucket" | "_sum" | "_count" | "_created"),
            Family::GaugeHistogram => matches!(suffix, "_bucket" | "_gsum" | "_gcount"),
            Family::Summary => matches!(suffix, "_sum" | "_count" | "_created"),
            Family::Info => suffix == "_info",
            Family::Gauge | Family::StateSet | Family::Unknown => false,
        }
    }
}

/// ` # {labels} value [timestamp]`
fn exemplar(cursor: &mut Cursor<'_>, name: &str, family: Family) -> Result<()> {
    let allowed = match family {
        Family::Counter => name.ends_with("_total"),
        Family::Histogram | Family::GaugeHistogram => name.ends_with("_bucket"),
        _ => false,
    };
    if !allowed {
        return Err(Error::invalid(format!("`{name}` cannot have an exemplar")));
    }
    cursor.rest = cursor.rest.get(1..).unwrap_or_default();
    cursor.space();
    if !cursor.rest.starts_with('{') {
        return Err(Error::invalid("an exemplar starts with `{`"));
    }
    let (_, _) = cursor.braces()?;
    number(cursor.word("an exemplar's value")?)?;
    if cursor.at_value() && !number(cursor.word("an exemplar's timestamp")?)?.is_finite() {
        return Err(Error::invalid("an exemplar's timestamp must be a number"));
    }
    Ok(())
}

/// As Go reads it, without hexadecimal and underscores, as Prometheus does.
fn number(word: &str) -> Result<f64> {
    word.parse().map_err(|_| Error::invalid(format!("`{}` is no number", shortened(word))))
}

fn shortened(text: &str) -> String {
    let short: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(40).is_some() { format!("{short}…") } else { short }
}

/// A place in a line.
struct Cursor<'a> {
    rest: &'a str,
}

type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl<'a> Cursor<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn split(&mut self, at: usize) -> &'a str {
        let (left, right) = self.rest.split_at_checked(at).unwrap_or((self.rest, ""));
        self.rest = right;
        left
    }

    fn until_space(&mut self) -> &'a str {
        self.split(self.rest.find([' ', '\t']).unwrap_or(self.rest.len()))
    }

    fn at_value(&mut self) -> bool {
        self.space();
        !self.rest.is_empty() && !self.rest.starts_with('#')
    }

    fn word(&mut self, what: &str) -> Result<&'a str> {
        self.space();
        let word = self.until_space();
        if word.is_empty() { Err(Error::invalid(format!("{what} is missing"))) } else { Ok(word) }
    }

    /// `name`, `name{labels}`, or `{"name", labels}`
    fn series(&mut self) -> Result<(Cow<'a, str>, Labels<'a>)> {
        let name = self.identifier(true);
        let directly = self.rest.starts_with([' ', '\t', '{']) || self.rest.is_empty();
        if !directly {
            return Err(Error::invalid(format!("`{}` is no name of a metric", shortened(self.rest))));
        }
        self.space();
        if !self.rest.starts_with('{') {
            return match name.is_empty() {
                true => Err(Error::invalid("the name of a metric is missing")),
                false => Ok((name.into(), Vec::new())),
            };
        }
        match (name.is_empty(), self.braces()?) {
            (false, (None, labels)) => Ok((name.into(), labels)),
            (true, (Some(name), labels)) if !name.is_empty() => Ok((name, labels)),
            (true, _) => Err(Error::invalid("the name of a metric is missing")),
            (false, (Some(second), _)) => {
                Err(Error::invalid(format!("the metric `{name}` has a second name, `{second}`")))
            }
        }
    }

    fn identifier(&mut self, colons: bool) -> &'a str {
        let part = |(at, c): (usize, char)| {
            c == '_' || (c == ':' && colons) || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit())
        };
        let end = self.rest.char_indices().find(|found| !part(*found)).map_or(self.rest.len(), |(at, _)| at);
        self.split(end)
    }

    /// What stands between braces: labels, and perhaps the metric's name in quotes.
    fn braces(&mut self) -> Result<(Option<Cow<'a, str>>, Labels<'a>)> {
        self.split(1);
        let (mut metric, mut labels) = (None, Vec::new());
        loop {
            self.space();
            if self.rest.starts_with('}') {
                self.split(1);
                return Ok((metric, labels));
            }
            let quoted = self.rest.starts_with('"');
            let name = if quoted { self.quoted()? } else { Cow::Borrowed(self.identifier(false)) };
            self.space();
            if self.rest.starts_with('=') {
                if name.is_empty() {
                    return Err(Error::invalid("the name of a label is missing"));
                }
                self.split(1);
                self.space();
                labels.push((name, self.quoted()?));
            } else if quoted && metric.is_none() && labels.is_empty() {
                metric = Some(name);
            } else {
                return Err(Error::invalid(format!("expected a label, found `{}`", shortened(self.rest))));
            }
            if labels.len() > LABELS_MAX {
                return Err(Error::new(ErrorKind::Limit, format!("a sample has more than {LABELS_MAX} labels")));
            }
            self.space();
            if self.rest.starts_with(',') {
                self.split(1);
            } else if !self.rest.starts_with('}') {
                return Err(Error::invalid(format!("expected `,` or `}}`, found `{}`", shortened(self.rest))));
            }
        }
    }

    /// A text in quotes; `\\`, `\"` and `\n` are escapes, any other backslash is itself.
    fn quoted(&mut self) -> Result<Cow<'a, str>> {
        if !self.rest.starts_with('"') {
            return Err(Error::invalid(format!("expected a text in quotes, found `{}`", shortened(self.rest))));
        }
        self.split(1);
        let bytes = self.rest.as_bytes();
        let (mut at, mut escaped) = (0, false);
        let end = loop {
            match memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
                Some(found) if bytes.get(at + found) == Some(&b'"') => break at + found,
                Some(found) => {
                    escaped = true;
                    at += found + 2;
                }
                None => return Err(Error::invalid("a text has no closing quote")),
            }
        };
        let text = self.split(end);
        self.split(1);
        Ok(if escaped { Cow::Owned(unescaped(text)) } else { Cow::Borrowed(text) })
    }
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => plain.push('\n'),
            Some(c @ ('"' | '\\')) => plain.push(c),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const OPEN: Option<&str> = Some("application/openmetrics-text; version=1.0.0; charset=utf-8");
    const TEXT: Option<&str> = Some("text/plain; version=0.0.4");

    fn shown(text: &str, content_type: Option<&str>) -> Result<Vec<String>, String> {
        let samples = parse(text.as_bytes(), content_type, 1000).map_err(|error| error.message().to_owned())?;
        let show = |s: &Sample<'_>| {
            let labels: Vec<String> = s.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
            let time = s.timestamp.map_or(String::new(), |time| format!(" @{time}"));
            format!("{} {}{{{}}} {}{time}", s.kind, s.name, labels.join(","), s.value)
        };
        Ok(samples.iter().map(show).collect())
    }

    #[test]
    fn samples_are_read_as_exposed() {
        let rows: &[(&str, Option<&str>, &[&str])] = &[
            ("", TEXT, &[]),
            ("a 1\n", TEXT, &["unknown a{} 1"]),
            ("a 1", None, &["unknown a{} 1"]),
            ("  a\t{ b = \"c\" , } 1  1500\r\n\n# words\n", TEXT, &["unknown a{b=\"c\"} 1 @1500000000"]),
            ("# TYPE a counter\na 1e3\n", TEXT, &["counter a{} 1000"]),
            (
                "a{b=\"\\\\x\\\"y\\nz\\q\"} +Inf\na NaN\na -Inf\n",
                TEXT,
                &["unknown a{b=\"\\\\x\\\"y\\nz\\\\q\"} inf", "unknown a{} NaN", "unknown a{} -inf"],
            ),
            ("{\"my.metric\",a=\"b\",\"c.d\"=\"e\"} 1\n", TEXT, &["unknown my.metric{a=\"b\",c.d=\"e\"} 1"]),
            (
                "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\nh_other 1\n",
                TEXT,
                &[
                    "histogram h_bucket{le=\"+Inf\"} 2",
                    "histogram h_sum{} 3",
                    "histogram h_count{} 2",
                    "unknown h_other{} 1",
                ],
            ),
            (
                "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 1\n",
                TEXT,
                &["summary s{quantile=\"0.5\"} 1", "summary s_sum{} 1"],
            ),
            (
                "# TYPE c counter\nc_total 1 # {t=\"x\"} 0.5 1.5\nc_created 1.5\n# EOF\n",
                OPEN,
                &["counter c_total{} 1", "counter c_created{} 1.5"],
            ),
            (
                "# TYPE i info\ni_info{v=\"1\"} 1\n# TYPE s stateset\ns{s=\"a\"} 1\n# EOF",
                OPEN,
                &["info i_info{v=\"1\"} 1", "stateset s{s=\"a\"} 1"],
            ),
            (
                "# TYPE a_s gauge\n# UNIT a_s s\na_s 1 1520879607.789\n# EOF\n",
                None,
                &["gauge a_s{} 1 @1520879607789000000"],
            ),
            ("# TYPE \"a.b\" gauge\n{\"a.b\"} 1\n# EOF\n", OPEN, &["gauge a.b{} 1"]),
            ("# TYPE g gaugehistogram\ng_gcount 1\n# EOF\n", OPEN, &["histogram g_gcount{} 1"]),
        ];
        for (text, content_type, want) in rows {
            assert_eq!(shown(text, *content_type), Ok(want.iter().map(|w| w.to_string()).collect()), "{text}");
        }
    }

    #[test]
    fn a_mistake_fails_the_scrape() {
        let rows = [
            ("a", TEXT, "line 1, `a`: a value is missing"),
            ("a 1\nb x\n", TEXT, "line 2, `b x`: `x` is no number"),
            ("a 1 2 3\n", TEXT, "line 1, `a 1 2 3`: `3` is left over after the sample"),
            ("a 1 1.5\n", TEXT, "line 1, `a 1 1.5`: `1.5` is no timestamp"),
            ("a{b=\"c} 1\n", TEXT, "line 1, `a{b=\"c} 1`: a text has no closing quote"),
            ("a{b=c} 1\n", TEXT, "line 1, `a{b=c} 1`: expected a text in quotes, found `c} 1`"),
            ("a{b} 1\n", TEXT, "line 1, `a{b} 1`: expected a label, found `} 1`"),
            ("a{=\"b\"} 1\n", TEXT, "line 1, `a{=\"b\"} 1`: the name of a label is missing"),
            ("a{b=\"c\" d=\"e\"} 1\n", TEXT, "line 1, `a{b=\"c\" d=\"e\"} 1`: expected `,` or `}`, found `d=\"e\"} 1`"),
            ("1a 1\n", TEXT, "line 1, `1a 1`: `1a 1` is no name of a metric"),
            ("a-b 1\n", TEXT, "line 1, `a-b 1`: `-b 1` is no name of a metric"),
            ("{} 1\n", TEXT, "line 1, `{} 1`: the name of a metric is missing"),
            ("a{\"b\"} 1\n", TEXT, "line 1, `a{\"b\"} 1`: the metric `a` has a second name, `b`"),
            ("# TYPE a thing\n", TEXT, "line 1, `# TYPE a thing`: `thing` is no type of metric"),
            ("a 1\n", OPEN, "the text does not end with `# EOF`, so it may be cut off"),
            ("a 1\n# EOF\nb 1\n", OPEN, "line 3, `b 1`: there is more after `# EOF`"),
            ("a 1\n\n# EOF\n", OPEN, "line 2: empty lines are not allowed in OpenMetrics"),
            ("# words\n# EOF\n", OPEN, "line 1, `# words`: a comment must be HELP, TYPE, UNIT or EOF"),
            ("# UNIT a_s m\n# EOF\n", OPEN, "line 1, `# UNIT a_s m`: the metric `a_s` does not end with its unit `m`"),
            ("# TYPE a gauge\na 1 # {} 1\n# EOF\n", OPEN, "line 2, `a 1 # {} 1`: `a` cannot have an exemplar"),
            (
                "# TYPE a counter\na_total 1 # {t=\"x\"}\n# EOF\n",
                OPEN,
                "line 2, `a_total 1 # {t=\"x\"}`: an exemplar's value is missing",
            ),
            ("a 1 NaN\n# EOF\n", OPEN, "line 1, `a 1 NaN`: `NaN` is no timestamp"),
        ];
        for (text, content_type, want) in rows {
            assert_eq!(shown(text, content_type), Err(want.into()), "{text}");
        }
        assert_eq!(parse(b"a 1\nb \xff\n", TEXT, 9).unwrap_err().message(), "line 2: not UTF-8");
        assert_eq!(parse(b"a 1\na 2\n", TEXT, 1).unwrap_err().kind(), ErrorKind::Limit);
    }

    /// Cut anywhere, or with any byte changed, a scrape is read or refused, and nothing panics.
    #[test]
    fn broken_texts_are_refused_without_a_panic() {
        let text =
            "# TYPE c counter\nc_total{a=\"\\n\\\"ä\",\"b.c\"=\"d\"} 1.5 2 # {t=\"x\"} 1 1\n{\"m\"} NaN\n# EOF\n";
        for at in 0..text.len() {
            let _ = parse(&text.as_bytes()[..at], OPEN, 10);
            for byte in [b'"', b'\\', b'{', b'}', b' ', b'#', b'\n', b'=', 0xff, b'0'] {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                let _ = parse(&bytes, OPEN, 10);
                let _ = parse(&bytes, TEXT, 10);
            }
        }
    }

    /// Every sample line of real scrapes is a sample: counted, and summed, by plain string handling.
    #[test]
    fn real_scrapes_are_read_whole() {
        let files = [
            "node_exporter/e2e-output.txt.gz",
            "node_exporter/e2e-output-darwin.txt",
            "cadvisor/prometheus_metrics.txt",
            "prometheus/1histogram.om.txt",
            "prometheus/alltypes.5mfs.om.txt",
            "telegraf/dovecot.om.txt",
        ];
        for file in files {
            let Ok(mut bytes) = std::fs::read(format!("../shared/data/metrics/{file}")) else { continue };
            if file.ends_with(".gz") {
                let packed = std::mem::take(&mut bytes);
                flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
            }
            let samples = parse(&bytes, None, 100_000).unwrap_or_else(|error| panic!("{file}: {error}"));
            let text = String::from_utf8(bytes.clone()).unwrap();
            let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
            assert_eq!(samples.len(), lines.len(), "{file}");
            for (sample, line) in samples.iter().zip(&lines) {
                let after = line.rsplit_once("} ").map_or_else(|| line.split_once(' ').unwrap().1, |(_, after)| after);
                let plain = line.split(" # ").next().unwrap();
                let after = if plain.len() < line.len() { plain.rsplit(' ').next().unwrap() } else { after };
                let value: f64 = after.split(' ').next().unwrap().parse().unwrap();
                assert!(sample.value == value || value.is_nan(), "{file}: {line}");
                assert!(line.starts_with(&*sample.name), "{file}: {line}");
            }
            let typed = samples.iter().filter(|sample| sample.kind != "unknown").count();
            assert!(typed * 10 > samples.len() * 5, "{file}: {typed} of {}", samples.len());
        }
    }
}
