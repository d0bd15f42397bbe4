//! stack traces of Java, Python, Go and .NET: which line can follow which
//!
//! A language is a small machine: lines that begin a trace, and for each state the lines that go on. Any line may be the head of a
//! trace, so it is held until the next one is there. A trace belongs to the line before it where a frame shows it, or where
//! that line is a log record, one with a time or a level: that is how loggers write an exception. Under a record, the lines of an
//! exception's message go on until the next record; without one, only where they are indented.
//!
//! The shapes are those of `Throwable.printStackTrace` and logback, CPython's `traceback`, the Go runtime's `traceback.go`,
//! and `Exception.ToString` of .NET.

use super::Place;
use regex::bytes::{Regex, RegexSet};
use std::sync::Arc;

/// How one language writes its stack traces.
#[derive(Debug)]
pub struct Language {
    /// the word in `multiline`
    pub name: &'static str,
    starts: &'static [Start],
    states: &'static [State],
}

/// A line that begins a trace.
#[derive(Debug)]
struct Start {
    line: &'static str,
    after: After,
    to: &'static str,
}

/// Whether a line that begins a trace belongs to the line before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// To whichever there is.
    Any,
    /// To a log record.
    Record,
    /// To none; it is a record with its trace.
    Nothing,
}

/// What may follow.
#[derive(Debug)]
struct State {
    name: &'static str,
    /// lines, and the state after them; the first that matches counts
    next: &'static [(&'static str, &'static str)],
    /// the state after an empty line
    blank: Option<&'static str>,
    text: Text,
}

/// What any other line is, as long as it is no log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    /// not of this trace
    Else,
    /// of an exception's message, if the trace stands under a record
    UnderRecord(&'static str),
    /// of the message
    Message(&'static str),
}

/// Every language there is.
pub const LANGUAGES: &[Language] = &[JAVA, PYTHON, GO, DOTNET];

/// A line with a time or a level near its start, as loggers write them.
const RECORD: &str = r"^(?-u)(?:.{0,80}?\b(?:TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|CRIT|CRITICAL|FATAL|SEVERE|ALERT|EMERG)\b|.{0,40}?\b\d\d:\d\d:\d\d\b|\W{0,2}\d{4}[-/.]\d\d[-/.]\d\d|.{0,60}?\[(?:trace|debug|info|notice|warn|warning|error|crit|critical|fatal)\]|.{0,60}?\blevel=\w|[IWEF]\d{4} |(?:trce|dbug|info|warn|fail|crit): )";
/// How much of a line is looked at for that.
const RECORD_BYTES: usize = 160;

const JAVA_CAUSE: (&str, &str) = (r"^\s*(?:Caused by|Suppressed|Wrapped by): ?", "exception");
const JAVA_FRAME: (&str, &str) = (r"^\s+at \S", "frames");
const JAVA_MORE: (&str, &str) =
    (r"^\s+\.\.\. ?\d* ?(?:more|common frames|frames|lines|stack frames|truncated|omitted)", "frames");
const JAVA: Language = Language {
    name: "java",
    starts: &[
        Start { line: r"^\s+at [^\s(]*\.[^()]*\([^()]*\)", after: After::Any, to: "frames" },
        Start { line: JAVA_CAUSE.0, after: After::Any, to: "exception" },
        // The runtime itself says so, and no logger.
        Start { line: r#"^Exception in thread ".*?" \S"#, after: After::Nothing, to: "exception" },
        Start {
            line: r"^(?:[\pL_$][\w$]*\.)+[\w$]*?(?:Exception|Error|Throwable|Failure|Fault|Interrupt)(?:[:(\s]|$)",
            after: After::Record,
            to: "exception",
        },
    ],
    states: &[
        State {
            name: "exception",
            next: &[
                JAVA_FRAME,
                JAVA_MORE,
                JAVA_CAUSE,
                (r"^\s*nested exception is:", "exception"),
                (r"^\s+\S", "exception"),
            ],
            blank: Some("exception"),
            text: Text::UnderRecord("exception"),
        },
        State {
            name: "frames",
            next: &[
                JAVA_FRAME,
                JAVA_MORE,
                JAVA_CAUSE,
                (r"^\s*nested exception is:", "exception"),
                (r"^\s*\[CIRCULAR REFERENCE", "frames"),
                (r"^\s+- (?:locked|waiting|parking|eliminated) ", "frames"),
            ],
            blank: None,
            text: Text::Else,
        },
    ],
};

const PYTHON_CHAIN: (&str, &str) =
    (r"^[\s|]*(?:During handling of the above exception, another|The above exception was the direct cause)", "chained");
const PYTHON_TRACEBACK: (&str, &str) = (r"^[\s|]*Traceback \(most recent call last\)", "code");
const PYTHON_GROUP: (&str, &str) = (r"^\s*\+ Exception Group Traceback \(most recent call last\)", "group");
const PYTHON: Language = Language {
    name: "python",
    starts: &[
        Start { line: PYTHON_TRACEBACK.0, after: After::Record, to: "code" },
        Start { line: PYTHON_GROUP.0, after: After::Record, to: "group" },
        Start { line: r"Traceback \(most recent call last\):\s*$", after: After::Nothing, to: "code" },
    ],
    states: &[
        State {
            name: "code",
            next: &[
                (r"^\s+\+ Exception Group", "group"),
                (r"^\s", "code"),
                (r"^\[Previous line repeated \d+ more", "code"),
                (r"^[\pL_][\w.<>]*(?:\[[^\]]*\])?(?::\s|:?$)", "exception"),
            ],
            blank: None,
            text: Text::Else,
        },
        State {
            name: "exception",
            next: &[PYTHON_CHAIN, (r"^\s+\S", "exception")],
            blank: Some("between"),
            text: Text::UnderRecord("exception"),
        },
        State { name: "between", next: &[PYTHON_CHAIN], blank: Some("between"), text: Text::UnderRecord("exception") },
        State {
            name: "chained",
            next: &[PYTHON_TRACEBACK, PYTHON_GROUP],
            blank: Some("chained"),
            text: Text::UnderRecord("exception"),
        },
        State {
            name: "group",
            next: &[(r"^\s*[|+]", "group"), PYTHON_CHAIN],
            blank: Some("between"),
            text: Text::Else,
        },
    ],
};

const GO_ROUTINE: (&str, &str) = (r"^goroutine \d+ .*\[", "goroutine");
const GO_RUNTIME: (&str, &str) = (r"^runtime stack:", "goroutine");
const GO_SIGNAL: (&str, &str) = (r"^\[(?:signal |originating from |recovered)", "panic");
const GO: Language = Language {
    name: "go",
    starts: &[
        Start {
            line: r"^(?:panic: |fatal error: |unexpected fault address |SIG[A-Z]+: )",
            after: After::Nothing,
            to: "panic",
        },
        Start { line: r"\bpanic serving \S+: ", after: After::Nothing, to: "panic" },
        Start { line: GO_ROUTINE.0, after: After::Any, to: "goroutine" },
    ],
    states: &[
        State {
            name: "panic",
            next: &[
                GO_ROUTINE,
                GO_RUNTIME,
                GO_SIGNAL,
                (r"^\s*(?:panic|fatal error): ", "panic"),
                (r"^exit status \d+$", "over"),
            ],
            blank: Some("after"),
            text: Text::Message("panic"),
        },
        State {
            name: "after",
            next: &[
                GO_ROUTINE,
                GO_RUNTIME,
                GO_SIGNAL,
                (r"^r[a-z0-9]{1,2}\s+0x", "goroutine"),
                (r"^exit status \d+$", "over"),
            ],
            blank: Some("after"),
            text: Text::Else,
        },
        State {
            name: "goroutine",
            next: &[
                GO_ROUTINE,
                (r"^\t", "goroutine"),
                (r"^created by ", "goroutine"),
                (r"^[^\s(]\S*\(.*\)$", "goroutine"),
                (r"^\.\.\..*elided", "goroutine"),
                (r"^(?:r[a-z0-9]{1,2}|[cfg]s|rflags)\s+0x", "goroutine"),
                (r"^exit status \d+$", "over"),
            ],
            blank: Some("after"),
            text: Text::Else,
        },
        State { name: "over", next: &[], blank: None, text: Text::Else },
    ],
};

/// The word before a frame, in the languages that .NET speaks.
const NET_FRAME: (&str, &str) = (r"^\s+(?:at|bei|à|en|в|在|場所) \S.*\(.*\)", "frames");
const NET_ARROW: (&str, &str) = (r"^\s*--->", "exception");
const NET_END: (&str, &str) = (r"^\s*--- .+ ---\s*$", "frames");
const NET_NAME: &str = r"^\s*(?:[\pL_][\w`+]*\.)+[\w`+]*?(?:Exception|Error|Failure)(?:`\d)?(?:[: (]|$)";
const DOTNET: Language = Language {
    name: "dotnet",
    starts: &[
        Start { line: r"^(?:trce|dbug|info|warn|fail|crit): \S.*\[\d+\]\s*$", after: After::Nothing, to: "console" },
        Start { line: r"^\s+(?:at|bei|à|en|в|在|場所) \S*\.\S.*\(.*\)", after: After::Any, to: "frames" },
        Start { line: r"^\s*---> ", after: After::Any, to: "exception" },
        Start { line: NET_NAME, after: After::Record, to: "exception" },
        Start { line: r"^Unhandled [Ee]xception[.:]", after: After::Nothing, to: "exception" },
    ],
    states: &[
        State {
            name: "console",
            next: &[(r"^ {6}", "console"), (r"^\s+--- .+ ---", "console")],
            blank: Some("console"),
            text: Text::Else,
        },
        State {
            name: "exception",
            next: &[NET_FRAME, NET_ARROW, NET_END, (r"^\s+\S", "exception")],
            blank: Some("exception"),
            text: Text::UnderRecord("exception"),
        },
        State {
            name: "frames",
            next: &[NET_FRAME, NET_ARROW, NET_END, (r"^\s*<---", "frames")],
            blank: Some("frames"),
            text: Text::Else,
        },
    ],
};

/// Finds the traces of some languages in a stream of lines.
#[derive(Clone, Debug)]
pub struct Traces {
    compiled: Arc<Compiled>,
    at: At,
    /// In a trace: language and state of each machine that took every line of it so far.
    states: Vec<(usize, usize)>,
    /// In a trace: whether it stands under a log record.
    under_record: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The line before is empty, or too far away.
    Nowhere,
    /// The line before is any line.
    Plain,
    /// The line before is of a trace.
    Trace,
}

#[derive(Debug)]
struct Compiled {
    record: Option<Regex>,
    starts: RegexSet,
    /// what each of `starts` begins
    begins: Vec<Begin>,
    languages: Vec<Vec<Step>>,
}

#[derive(Debug)]
struct Begin {
    language: usize,
    state: usize,
    after: After,
}

/// A state, ready to be asked.
#[derive(Debug)]
struct Step {
    lines: RegexSet,
    next: Vec<usize>,
    blank: Option<usize>,
    text: Option<usize>,
    always: bool,
}

impl Traces {
    /// Looks for the traces of these.
    pub fn new(languages: &[&'static Language]) -> Traces {
        let state = |language: &Language, name: &str| {
            // A state that is not there is a mistake of the tables above, which a test finds.
            language.states.iter().position(|state| state.name == name).unwrap_or(usize::MAX)
        };
        let mut starts = Vec::new();
        let mut begins = Vec::new();
        let mut steps = Vec::new();
        for (at, language) in languages.iter().enumerate() {
            for start in language.starts {
                starts.push(start.line);
                begins.push(Begin { language: at, state: state(language, start.to), after: start.after });
            }
            let step = |from: &State| Step {
                lines: RegexSet::new(from.next.iter().map(|(line, _)| *line)).unwrap_or_default(),
                next: from.next.iter().map(|(_, to)| state(language, to)).collect(),
                blank: from.blank.map(|to| state(language, to)),
                text: match from.text {
                    Text::Else => None,
                    Text::UnderRecord(to) | Text::Message(to) => Some(state(language, to)),
                },
                always: matches!(from.text, Text::Message(_)),
            };
            steps.push(language.states.iter().map(step).collect());
        }
        let starts = RegexSet::new(starts).unwrap_or_default();
        let compiled = Compiled { record: Regex::new(RECORD).ok(), starts, begins, languages: steps };
        Traces { compiled: Arc::new(compiled), at: At::Nowhere, states: Vec::new(), under_record: false }
    }

    /// Where a line belongs; `held` is what comes before it.
    pub fn place(&mut self, held: Option<&[u8]>, line: &[u8]) -> Place {
        let compiled = &self.compiled;
        if self.at == At::Trace {
            let under_record = self.under_record;
            self.states.retain_mut(|(language, state)| {
                let next = compiled.goes_on(*language, *state, under_record, line);
                *state = next.unwrap_or(*state);
                next.is_some()
            });
            if !self.states.is_empty() {
                return Place { joins: true, ends: false };
            }
            self.at = At::Nowhere;
        }
        let alone = Place { joins: false, ends: false };
        if line.is_empty() {
            self.at = At::Nowhere;
            return alone;
        }
        let before = held.filter(|_| self.at == At::Plain);
        let matched = compiled.starts.matches(line);
        let begins: Vec<&Begin> = matched.iter().filter_map(|at| compiled.begins.get(at)).collect();
        if begins.is_empty() {
            self.at = At::Plain;
            return alone;
        }
        let of_record = before.is_some_and(|before| compiled.is_record(before));
        let joins = begins.iter().any(|begin| match begin.after {
            After::Any => before.is_some(),
            After::Record => of_record,
            After::Nothing => false,
        });
        self.at = At::Trace;
        self.under_record = if joins { of_record } else { compiled.is_record(line) };
        self.states.clear();
        for begin in begins {
            // The first line of a language's table that matches counts.
            if self.states.iter().all(|(language, _)| *language != begin.language) {
                self.states.push((begin.language, begin.state));
            }
        }
        Place { joins, ends: false }
    }

    /// A trace may go on; any other line is over.
    pub fn released(&mut self) {
        if self.at == At::Plain {
            self.at = At::Nowhere;
        }
    }

    /// Nothing that comes belongs to what came before.
    pub fn reset(&mut self) {
        self.at = At::Nowhere;
    }
}

impl Compiled {
    /// The state after a line, if it is of the trace.
    fn goes_on(&self, language: usize, state: usize, under_record: bool, line: &[u8]) -> Option<usize> {
        let step = self.languages.get(language)?.get(state)?;
        if line.is_empty() {
            return step.blank;
        }
        let matched = step.lines.matches(line).iter().next();
        if let Some(next) = matched.and_then(|at| step.next.get(at)) {
            return Some(*next);
        }
        let text = step.text.filter(|_| step.always || under_record)?;
        (!self.is_record(line) && !self.starts.is_match(line)).then_some(text)
    }

    fn is_record(&self, line: &[u8]) -> bool {
        let start = line.get(..RECORD_BYTES).unwrap_or(line);
        self.record.as_ref().is_some_and(|record| record.is_match(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_hold() {
        assert!(Regex::new(RECORD).is_ok());
        for language in LANGUAGES {
            let known = |name: &str| assert!(language.states.iter().any(|state| state.name == name), "{name}");
            for start in language.starts {
                Regex::new(start.line).unwrap();
                known(start.to);
            }
            for state in language.states {
                for (line, to) in state.next {
                    Regex::new(line).unwrap();
                    known(to);
                }
                state.blank.iter().for_each(|to| known(to));
                match state.text {
                    Text::Else => {}
                    Text::UnderRecord(to) | Text::Message(to) => known(to),
                }
            }
        }
    }

    #[test]
    fn records_are_told() {
        let compiled = Traces::new(&[]).compiled;
        let rows: &[(&str, bool)] = &[
            ("2025-10-18 18:01:47,978 INFO [main] org.apache.Foo: hello", true),
            ("ERROR:root:boom", true),
            ("Oct 18 18:01:47 host app[1]: x", true),
            ("[error] mod_jk child workerEnv in error state 6", true),
            ("time=x level=warn msg=y", true),
            ("E0718 18:01:47.000 1 x.go:1] y", true),
            ("fail: Microsoft.AspNetCore[13]", true),
            ("java.lang.Error: it is an error", false),
            ("the details of it", false),
            ("Caused by: java.io.IOException", false),
            ("[SQL: SELECT 1]", false),
        ];
        for (line, want) in rows {
            assert_eq!(compiled.is_record(line.as_bytes()), *want, "{line}");
        }
    }
}
