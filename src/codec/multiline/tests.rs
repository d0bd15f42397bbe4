//! traces as they are written and what they become: the same however the bytes arrive

use super::*;
use crate::codec::lines::{Limits, Lines};
use arrow::array::Array;
use std::path::Path;

/// A case: `> ` begins an event, `| ` belongs to it, `.` is an empty line that is no event, `# ` says something.
struct Case {
    input: Vec<u8>,
    events: Vec<String>,
}

fn case(text: &str) -> Case {
    let (mut input, mut events) = (String::new(), Vec::<String>::new());
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let rest = line.get(2..).unwrap_or_default();
        match line.as_bytes()[0] {
            b'>' => events.push(rest.to_owned()),
            b'|' => *events.last_mut().unwrap() += &format!("\n{rest}"),
            _ => assert_eq!(line, "."),
        }
        input += rest;
        input.push('\n');
    }
    Case { input: input.into_bytes(), events }
}

fn config(text: &str) -> Config {
    #[derive(Deserialize)]
    struct Source {
        multiline: Config,
    }
    toml::from_str::<Source>(&format!("multiline = {text}")).unwrap().multiline
}

/// Events of a stream that comes in pieces; every piece's length is told by `next`, and so is whether to take what is complete.
fn events(joiner: &Joiner, input: &[u8], mut next: impl FnMut() -> usize) -> Vec<String> {
    let mut lines = Lines::joined(Limits { rows: 7, ..Limits::default() }, Some(joiner.clone()));
    let (mut at, mut events, mut bytes) = (0, Vec::new(), 0);
    let mut take = |lines: &mut Lines| {
        let taken = lines.take().unwrap();
        bytes += taken.bytes;
        assert_eq!(taken.body.len(), taken.numbers.len());
        let shown = taken.body.iter().flatten().map(|body| String::from_utf8_lossy(body).into_owned());
        events.extend(shown);
        bytes
    };
    while at < input.len() {
        let piece = next().clamp(1, input.len() - at);
        let used = lines.feed(&input[at..at + piece]);
        at += used;
        if used < piece || next().is_multiple_of(2) {
            // What is complete, what is held and the line that has not ended are all there is.
            let covered = take(&mut lines) as usize;
            assert!(covered <= at);
            if lines.held().is_none() {
                assert_eq!(covered + lines.partial() as usize, at);
            }
        }
    }
    lines.end_partial();
    assert_eq!(take(&mut lines) as usize, input.len(), "every byte is of something");
    events
}

fn random(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % 90
    }
}

fn agree(config: &Config, case: &Case, name: &str) {
    let joiner = &config.joiner();
    assert_eq!(events(joiner, &case.input, || 1 << 20), case.events, "{name}");
    assert_eq!(events(joiner, &case.input, || 1), case.events, "{name}, byte by byte");
    for seed in 0..40 {
        assert_eq!(events(joiner, &case.input, random(seed)), case.events, "{name}, seed {seed}");
    }
    let crlf: Vec<u8> = String::from_utf8(case.input.clone()).unwrap().replace('\n', "\r\n").into_bytes();
    assert_eq!(events(joiner, &crlf, random(1)), case.events, "{name} with CRLF");
}

#[test]
fn traces_are_joined() {
    let rows = [
        ("\"java\"", include_str!("cases/java.txt")),
        ("[\"python\"]", include_str!("cases/python.txt")),
        ("{ languages = \"go\" }", include_str!("cases/go.txt")),
        ("\"dotnet\"", include_str!("cases/dotnet.txt")),
        ("[\"java\", \"python\", \"go\", \"dotnet\"]", include_str!("cases/several.txt")),
        ("[\"dotnet\", \"go\", \"python\", \"java\"]", include_str!("cases/several.txt")),
        ("[\"go\", \"java\", \"python\", \"dotnet\"]", include_str!("cases/java.txt")),
        ("[\"go\", \"java\", \"python\", \"dotnet\"]", include_str!("cases/go.txt")),
    ];
    for (multiline, text) in rows {
        agree(&config(multiline), &case(text), multiline);
    }
}

#[test]
fn patterns_join() {
    let rows = [
        ("{ start = '^\\d' }", "> before the first\n| belongs to it\n> 1 a\n| b\n|\n| c\n> 2 d\n.\n> 3 e\n"),
        ("{ continue = '^\\s' }", "> a\n|  b\n|  c\n> d\n.\n>  e\n|  f\n"),
        ("{ start = '^BEGIN', continue = '^-' }", "> BEGIN\n| - a\n> b\n> -BEGINS\n> BEGIN\n"),
        ("{ end = ';$' }", "> SELECT\n| 1;\n> SELECT 2;\n> SELECT\n|\n| 3\n"),
        ("{ start = '^\\{', end = '^\\}' }", "> out\n> side\n> {\n| a\n|\n| }\n> out\n> {\n> {\n| }\n"),
        ("{ unfinished = '\\\\$' }", "> a \\\n| b \\\n| c\n> d\n"),
    ];
    for (multiline, text) in rows {
        let mut case = case(text);
        if multiline.contains("BEGIN'") {
            // Without a start before it, a line that goes on has nothing to go on from but the line before it.
            case.events = ["BEGIN\n- a", "b\n-BEGINS", "BEGIN"].map(str::to_owned).to_vec();
        }
        agree(&config(multiline), &case, multiline);
    }
}

/// The event, and which part it is.
fn parts(config: &Config, pieces: &[&str]) -> Vec<(String, u32)> {
    let mut lines = Lines::joined(Limits::default(), Some(config.joiner()));
    let mut shown = Vec::new();
    for piece in pieces {
        match *piece {
            "wait" => lines.release(),
            "end" => lines.end_partial(),
            piece => assert_eq!(lines.feed(piece.as_bytes()), piece.len()),
        }
        let taken = lines.take().unwrap();
        let part = |row| taken.parts.iter().find(|(of, _)| *of == row).map_or(0, |(_, part)| *part);
        shown.extend(taken.body.iter().flatten().enumerate().map(|(row, body)| {
            let body = String::from_utf8_lossy(body).into_owned();
            (body, part(row))
        }));
    }
    shown
}

#[test]
fn what_is_too_large_is_cut_and_what_waits_too_long_goes_out() {
    let trace =
        "12:00:00 ERROR x\na.b.CException: y\n\tat a.B.c(B.java:1)\n\tat a.B.c(B.java:2)\n\tat a.B.c(B.java:3)\nz\n";
    let told = |parts: Vec<(String, u32)>| -> Vec<String> {
        parts.into_iter().map(|(body, part)| format!("{part}: {}", body.replace('\n', "/"))).collect()
    };
    let rows: &[(&str, &[&str], &[&str])] = &[
        (
            "{ languages = \"java\", lines_max = 2 }",
            &[trace, "end"],
            &[
                "1: 12:00:00 ERROR x/a.b.CException: y",
                "2: \tat a.B.c(B.java:1)/\tat a.B.c(B.java:2)",
                "3: \tat a.B.c(B.java:3)",
                "0: z",
            ],
        ),
        (
            "{ continue = '^ ', bytes_max = \"9B\" }",
            &["1234\n 567\n 8\nx\n 90123456789\n 1\n", "end"],
            &["1: 1234/ 567", "2:  8", "1: x", "2:  90123456789", "3:  1"],
        ),
        // A trace that goes on after the wait is a further part, joined in itself; a line that stood alone is over.
        (
            "\"java\"",
            &[
                "12:00:00 ERROR x\njava.lang.Error: y\n\tat a.B.c(B.java:1)\n",
                "wait",
                "\tat a.B.c(B.java:2)\n\t... 3 more\n",
                "end",
            ],
            &["0: 12:00:00 ERROR x/java.lang.Error: y/\tat a.B.c(B.java:1)", "2: \tat a.B.c(B.java:2)/\t... 3 more"],
        ),
        (
            "\"java\"",
            &["12:00:00 ERROR x\n", "wait", "java.lang.Error: y\n\tat a.B.c(B.java:1)\n", "end"],
            &["0: 12:00:00 ERROR x", "0: java.lang.Error: y/\tat a.B.c(B.java:1)"],
        ),
        ("{ start = '^a' }", &["a1\nb\n", "wait", "wait", "c\na2\n", "end"], &["0: a1/b", "2: c", "0: a2"]),
        ("{ start = '^a' }", &["a1\nb", "end", "c\n", "end"], &["0: a1/b", "0: c"]),
    ];
    for (multiline, pieces, want) in rows {
        assert_eq!(told(parts(&config(multiline), pieces)), *want, "{multiline}");
    }
}

#[test]
fn a_line_that_is_too_long_ends_what_is_held() {
    let mut lines =
        Lines::joined(Limits { line: 10, ..Limits::default() }, Some(config("{ continue = '^ ' }").joiner()));
    let text = "one\n two\n far too long a line\n three\n";
    assert_eq!(lines.feed(text.as_bytes()), text.len());
    lines.end_partial();
    let taken = lines.take().unwrap();
    let bodies: Vec<&[u8]> = taken.body.iter().flatten().collect();
    assert_eq!(bodies, [b"one\n two".as_slice(), b" three"]);
    assert_eq!((taken.numbers, taken.long[0].number, taken.bytes), (vec![1, 4], 3, text.len() as u64));
}

/// Any bytes: all that is not an empty line comes out, in order, and nothing else.
#[test]
fn no_line_is_lost_whatever_it_is() {
    let words: &[&str] = &[
        "",
        "",
        "\tat a.B.c(B.java:1)",
        "Caused by: x",
        "java.lang.Error: y",
        "12:00:00 ERROR x",
        "Traceback (most recent call last):",
        "  File \"x\", line 1",
        "ValueError: z",
        "During handling of the above exception, another exception occurred:",
        "panic: p",
        "goroutine 1 [running]:",
        "main.main()",
        "\t/x.go:1",
        "fail: A[1]",
        "      b",
        " ---> C.DException: e",
        "   at F.G() in h:line 1",
        "\u{fffd}",
        "a\\",
        "b;",
        "1 c",
        "  + Exception Group Traceback (most recent call last):",
        "  | x",
        "exit status 2",
    ];
    let configs = [
        "[\"java\", \"python\", \"go\", \"dotnet\"]",
        "{ start = '^\\d', lines_max = 3 }",
        "{ continue = '^\\s', bytes_max = \"40B\" }",
        "{ end = ';$' }",
        "{ unfinished = '\\\\$', end = ';$' }",
        "{ start = '^1', end = ';$', continue = '^\\s' }",
    ];
    for multiline in configs {
        let joiner = config(multiline).joiner();
        for seed in 0..200 {
            let mut next = random(seed + 7);
            let text: String = (0..40).map(|_| format!("{}\n", words[next() % words.len()])).collect();
            let whole = events(&joiner, text.as_bytes(), || 1 << 20);
            assert_eq!(events(&joiner, text.as_bytes(), random(seed)), whole, "{multiline}, seed {seed}");
            let full = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(full(&whole.join("\n")), full(&text), "{multiline}, seed {seed}");
        }
    }
}

/// Traces that other people collected, each of which is one event.
#[test]
fn traces_of_others() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/logs/multiline");
    if !folder.is_dir() {
        return println!("skipped: {} is absent", folder.display());
    }
    let read = |name: &str| String::from_utf8_lossy(&std::fs::read(folder.join(name)).unwrap()).into_owned();
    let all = config("[\"java\", \"python\", \"go\", \"dotnet\"]").joiner();
    let rows = [
        ("complex_java_exc.txt", "\"java\""),
        ("csharp_exc.txt", "\"dotnet\""),
        ("go_on_gae_exc.txt", "\"go\""),
        ("go_signal_exc.txt", "\"go\""),
        ("python_exc.txt", "\"python\""),
    ];
    let mut stream = String::new();
    let mut want = Vec::new();
    for (name, multiline) in rows {
        let text = read(name);
        let text = text.trim_end();
        for joiner in [&config(multiline).joiner(), &all] {
            assert_eq!(events(joiner, text.as_bytes(), random(3)), [text], "{name}");
        }
        for record in ["a word".to_owned(), format!("2025-10-18 18:01:47 ERROR {name}")] {
            stream += &format!("{record}\n{text}\n");
            want.push(record);
            want.push(text.to_owned());
        }
    }
    let got = events(&all, stream.as_bytes(), random(4));
    // Under a record the trace is of it, except where Go begins one by itself.
    let lines: Vec<String> = got.iter().flat_map(|event| event.lines().map(str::to_owned)).collect();
    assert_eq!(lines, want.iter().flat_map(|event| event.lines()).collect::<Vec<_>>());
    assert_eq!(got.len(), want.len() - 3, "{got:#?}");
    let plain = read("arbitrary_text.txt");
    assert_eq!(events(&all, plain.as_bytes(), random(5)).len(), 3);
}
