//! Logstash's pattern sets, every pattern of them, and real lines; left out where the shared data is not

use std::path::{Path, PathBuf};

use grok::Grok;
use tidemill_plugin::{Batch, Binaries, Build, Context, Parsed, Parser, configure, wire};

fn shared(path: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../../../shared/data", "../../../../shared/data"].map(|place| root.join(place).join(path));
    let found = places.iter().find(|place| place.exists());
    if found.is_none() {
        eprintln!("left out: {} is not here", places[0].display());
    }
    found.cloned()
}

/// All files of a set, one after the other.
fn set(name: &str) -> Option<String> {
    let folder = shared(&format!("grok-patterns/{name}"))?;
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    files.sort();
    Some(files.iter().map(|file| std::fs::read_to_string(file).unwrap() + "\n").collect())
}

fn parser(pattern: &str, definitions: &str) -> Result<Grok, String> {
    let settings = serde_json::json!({ "pattern": pattern, "definitions": definitions });
    configure::<Grok>(&settings.to_string()).map(|(parser, _)| parser)
}

/// The rows that came out, and the errors.
fn parse(parser: &mut Grok, lines: &[&str]) -> (usize, Vec<String>) {
    let mut bodies = Binaries::default();
    lines.iter().for_each(|line| bodies.push(line));
    let (values, validity) = bodies.build();
    let input = Batch::new(lines.len(), vec![wire::Column { name: "body".into(), values, validity }]);
    let mut output = Parsed::new(lines.len());
    parser.parse(&input, &Context::default(), &mut output).unwrap();
    let answer = output.into_wire().unwrap();
    (answer.rows as usize, answer.errors.into_iter().map(|error| error.message).collect())
}

#[test]
fn every_pattern_of_the_legacy_set_compiles() {
    every_pattern_compiles("legacy");
}

#[test]
fn every_pattern_of_the_ecs_set_compiles() {
    every_pattern_compiles("ecs-v1");
}

fn every_pattern_compiles(name: &str) {
    let Some(definitions) = set(name) else { return };
    let names = definitions.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let mut count = 0;
    let mut refused = Vec::new();
    for (pattern, _) in names {
        count += 1;
        if let Err(error) = parser(&format!("%{{{pattern}:whole}}"), &definitions) {
            refused.push(format!("{name}: {pattern}: {error}"));
        }
    }
    println!("{name}: {count} patterns, {} refused", refused.len());
    assert!(count > 250 && refused.is_empty(), "{}", refused.join("\n"));
}

/// A file of real lines, the pattern for it, and how many of its lines it has to match.
const LINES: [(&str, &str, &str, usize); 12] = [
    ("loghub/OpenSSH_2k.log", "^%{SYSLOGLINE}$", "legacy", 2000),
    ("loghub/OpenSSH_2k.log", "^%{SYSLOGLINE}$", "ecs-v1", 2000),
    ("loghub/Apache_2k.log", "^%{HTTPD_ERRORLOG}$", "legacy", 2000),
    ("loghub/Apache_2k.log", "^%{HTTPD_ERRORLOG}$", "ecs-v1", 2000),
    ("lnav/haproxy.0", "%{HAPROXYHTTP}", "legacy", 13),
    ("lnav/haproxy.0", "%{HAPROXYHTTP}", "ecs-v1", 13),
    ("lnav/haproxy.0", "^%{SYSLOGLINE}$", "ecs-v1", 17),
    (
        "lnav/postgres.0",
        "^%{TIMESTAMP_ISO8601:time} %{TZ:zone} \\[%{POSINT:pid:int}\\] %{WORD:level}: +%{GREEDYDATA:message}$",
        "ecs-v1",
        21,
    ),
    ("lnav/access_log.0", "^%{HTTPD_COMMONLOG}", "legacy", 3),
    ("lnav/access_log.0", "^%{HTTPD_COMMONLOG}", "ecs-v1", 3),
    ("multiline/complex_java_exc.txt", "%{JAVASTACKTRACEPART}", "legacy", 26),
    ("multiline/complex_java_exc.txt", "%{JAVASTACKTRACEPART}", "ecs-v1", 26),
];

#[test]
fn real_lines() {
    for (file, pattern, name, wanted) in LINES {
        let (Some(path), Some(definitions)) = (shared(&format!("logs/{file}")), set(name)) else { return };
        let text = std::fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let mut parser = parser(pattern, &definitions).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let (rows, errors) = parse(&mut parser, &lines);
        println!("{file} with {pattern} ({name}): {rows} of {} lines", lines.len());
        assert!(rows >= wanted, "{file}: {rows} of {} lines; {:?}", lines.len(), errors.first());
    }
}
