//! what the visitor sees: a block of lines for a terminal, one line for everything else
//!
//! Pure: figures in, lines out. [`super::screen`] puts them on the screen.
//!
//! **Always:** no line of the block is wider than the terminal, or drawing over it would go wrong; the command to paste is broken
//! as the shell allows.

use super::latency::words;
use super::record::{Now, Point, Replicas};
use std::time::Duration;

/// The columns before the text of a line: ` replicas  `.
const LABEL: usize = 11;
/// Narrower terminals are drawn for as if they had this many columns.
const WIDTH_MIN: usize = 40;
/// How many lines the reason of a decision may take.
const REASON_LINES_MAX: usize = 4;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A decision of the scaler.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// seconds since the load started; less than none before
    pub second: i64,
    /// replicas before
    pub from: u32,
    /// replicas after
    pub to: u32,
    /// why, in its own words
    pub reason: String,
}

/// Everything that is shown.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// seconds since the load started
    pub second: u64,
    /// how long the demo takes, if it ends by itself
    pub span: Option<Duration>,
    /// the phase
    pub phase: String,
    /// the figures
    pub now: Now,
    /// how many replicas there are
    pub replicas: Replicas,
    /// the seconds so far
    pub history: Vec<Point>,
    /// the latest decision
    pub latest: Option<Decision>,
    /// the latest decision that changed something
    pub change: Option<Decision>,
    /// why there is no decision to show
    pub trouble: Option<String>,
    /// where questions are answered
    pub url: String,
    /// what the visitor should know
    pub notes: Vec<String>,
}

/// The SQL that explains every change.
pub const WHY: &str = "SELECT to_char(timestamp, '%H:%M:%S') AS at, replicas, decided, reason FROM tidemill.decisions \
                       WHERE event = 'decision' AND decided <> replicas ORDER BY timestamp";

/// The same in short, to be pasted.
pub const WHY_SHORT: &str =
    "SELECT timestamp, replicas, decided, reason FROM tidemill.decisions WHERE decided <> replicas";

/// A command that asks a question of the demo.
pub fn curl(url: &str, sql: &str) -> String {
    let quoted = sql.replace('\'', "'\\''");
    format!("curl -s '{url}/v1/sql?format=csv' -d '{quoted}'")
}

/// The block for a terminal that is this wide.
pub fn render(scene: &Scene, width: usize) -> Vec<String> {
    let width = width.max(WIDTH_MIN);
    let room = width - LABEL - 1;
    let now = &scene.now;
    let mut lines = vec![title(scene), String::new()];
    let mut labelled = |label: &str, text: &str| lines.push(line(label, text));
    labelled(
        "load",
        &format!(
            "{:.1}/s offered   {:.1}/s completed   {} open   {} failed",
            now.offered, now.completed, now.outstanding, now.failed
        ),
    );
    labelled("latency", &format!("p50 {}   p95 {}   since each request was due", words(now.p50), words(now.p95)));
    labelled("replicas", &replicas(scene.replicas));
    labelled("", "");
    for (label, figure, unit) in SPARKLINES {
        labelled(label, &sparkline(&scene.history, figure, unit, room));
    }
    labelled("", "");
    for (label, decision) in [("latest", &scene.latest), ("change", &scene.change)] {
        for (at, text) in told(decision.as_ref(), scene.trouble.as_deref(), room).iter().enumerate() {
            labelled(if at == 0 { label } else { "" }, text);
        }
    }
    labelled("", "");
    for (at, text) in broken(&curl(&scene.url, WHY_SHORT), room).iter().enumerate() {
        labelled(if at == 0 { "ask it" } else { "" }, text);
    }
    for note in &scene.notes {
        for (at, text) in wrapped(note, room, REASON_LINES_MAX).iter().enumerate() {
            labelled(if at == 0 { "note" } else { "" }, text);
        }
    }
    lines.iter().map(|line| clipped(line, width)).collect()
}

/// The same in one line, for a log file or a pipe.
pub fn plain(scene: &Scene) -> String {
    let now = &scene.now;
    format!(
        "{:>4} s  {:<16}  offered {:>4.1}/s  completed {:>4.1}/s  open {:>3}  failed {}  p50 {:>6}  p95 {:>6}  replicas {} of {} ready",
        scene.second,
        scene.phase,
        now.offered,
        now.completed,
        now.outstanding,
        now.failed,
        words(now.p50),
        words(now.p95),
        scene.replicas.ready,
        scene.replicas.asked,
    )
}

/// A change in one line.
pub fn plain_change(change: &Decision) -> String {
    format!("{:>4} s  {} → {} replicas: {}", change.second, change.from, change.to, printable(&change.reason))
}

/// Text in lines of at most `room` characters, the last one cut with an ellipsis when there are more than `lines_max`.
pub fn wrapped(text: &str, room: usize, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in printable(text).split_whitespace() {
        let fits = |line: &String| line.chars().count() + 1 + word.chars().count() <= room;
        match lines.last_mut() {
            Some(last) if fits(last) => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(clipped(word, room)),
        }
    }
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        if let Some(last) = lines.last_mut() {
            *last = format!("{}…", last.chars().take(room.saturating_sub(1)).collect::<String>());
        }
    }
    lines
}

/// The text cut to this many characters.
pub fn clipped(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

type Figure = fn(&Point) -> Option<f64>;
const SPARKLINES: [(&str, Figure, Unit); 3] = [
    ("offered", |point| Some(point.offered), Unit::Rate),
    ("p95", |point| point.p95, Unit::Seconds),
    ("replicas", |point| Some(point.ready), Unit::Count),
];

#[derive(Clone, Copy)]
enum Unit {
    Rate,
    Seconds,
    Count,
}

impl Unit {
    fn words(self, value: f64) -> String {
        match self {
            Unit::Rate => format!("{value:.0}/s"),
            Unit::Seconds => words(Some(Duration::from_secs_f64(value.max(0.0)))),
            Unit::Count => format!("{value:.0}"),
        }
    }
}

fn title(scene: &Scene) -> String {
    let of = scene.span.map(|span| format!(" of {} s", span.as_secs())).unwrap_or(" · Ctrl-C ends it".to_owned());
    format!(" tidemill demo · scrypt behind a balancer · {} · {} s{of}", scene.phase, scene.second)
}

fn line(label: &str, text: &str) -> String {
    format!(" {label:<width$}{text}", width = LABEL - 1)
}

fn replicas(replicas: Replicas) -> String {
    let full = replicas.ready.min(20) as usize;
    let coming = replicas.asked.saturating_sub(replicas.ready).min(20) as usize;
    let bar = "██ ".repeat(full) + &"░░ ".repeat(coming);
    format!("{bar} {} asked, {} ready", replicas.asked, replicas.ready)
}

/// The latest seconds as bars from zero to the most, and that in words.
fn sparkline(history: &[Point], figure: Figure, unit: Unit, room: usize) -> String {
    let bars_max = room.saturating_sub(16).clamp(10, 60);
    let shown: Vec<Option<f64>> = history.iter().skip(history.len().saturating_sub(bars_max)).map(figure).collect();
    let Some(most) = shown.iter().flatten().copied().reduce(f64::max) else {
        return "-".to_owned();
    };
    let bar = |value: &Option<f64>| match value {
        None => ' ',
        Some(value) => {
            let height = if most > 0.0 { value / most } else { 0.0 };
            BARS.get(((height * 8.0).ceil() as usize).saturating_sub(1)).copied().unwrap_or('▁')
        }
    };
    let bars: String = shown.iter().map(bar).collect();
    format!("{bars:<bars_max$}  up to {}", unit.words(most))
}

fn told(decision: Option<&Decision>, trouble: Option<&str>, room: usize) -> Vec<String> {
    match decision {
        Some(Decision { second, from, to, reason }) if from == to => {
            wrapped(&format!("{second} s: stays at {to}: {reason}"), room, REASON_LINES_MAX)
        }
        Some(Decision { second, from, to, reason }) => {
            wrapped(&format!("{second} s: {from} → {to}: {reason}"), room, REASON_LINES_MAX)
        }
        None => wrapped(trouble.unwrap_or("none yet"), room, REASON_LINES_MAX),
    }
}

/// A shell command in lines of at most `room` characters, which can be pasted as they are.
fn broken(command: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut quoted = false;
    for word in command.split(' ') {
        let Some(last) = lines.last_mut() else { break };
        let length = last.chars().count() + 1 + word.chars().count();
        match last.is_empty() {
            true => last.push_str(word),
            // Within quotes a line may end at any space: to SQL a new line is as good. Outside the shell needs a backslash.
            false if length + 2 > room => {
                if !quoted {
                    last.push_str(" \\");
                }
                lines.push(word.to_owned());
            }
            false => {
                last.push(' ');
                last.push_str(word);
            }
        }
        quoted ^= word.matches('\'').count() % 2 == 1;
    }
    lines
}

/// Without what would move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::record::tests::minute;

    fn scene() -> Scene {
        let record = minute();
        let reason = "Arrivals 18.0 / 5.0 a replica = 3.6 → 4 replicas; completed 7.5 / 8.0 a replica = 0.94 → 1 replica; was 1.";
        Scene {
            second: 23,
            span: Some(Duration::from_secs(60)),
            phase: "high, scaled".to_owned(),
            now: record.now(),
            replicas: Replicas { asked: 4, ready: 3 },
            history: record.history().iter().copied().take(40).collect(),
            latest: Some(Decision { second: 22, from: 4, to: 4, reason: reason.to_owned() }),
            change: Some(Decision { second: 10, from: 1, to: 4, reason: reason.to_owned() }),
            trouble: None,
            url: "http://127.0.0.1:7070".to_owned(),
            notes: vec!["no cgroup\x1b[2J here".to_owned()],
        }
    }

    #[test]
    fn everything_is_in_the_block() {
        let block = render(&scene(), 100).join("\n");
        for part in [
            "high, scaled · 23 s of 60 s",
            "3.0/s offered   3.0/s completed   2 open   0 failed",
            "p95 15",
            "██ ██ ██ ░░  4 asked, 3 ready",
            "▂▂▂▂▂▂███████████████",
            "▂▂▂▂▂▂▂▂▂▄▄▄▄▆▆▆▆█████",
            "up to 18/s",
            "up to 5.2 s",
            "up to 4",
            "stays at 4: Arrivals 18.0",
            "10 s: 1 → 4: Arrivals 18.0 / 5.0 a replica = 3.6 → 4 replicas",
            "curl -s 'http://127.0.0.1:7070/v1/sql?format=csv' -d 'SELECT",
            "no cgroup [2J here",
        ] {
            assert!(block.contains(part), "{part} is not in:\n{block}");
        }
    }

    #[test]
    fn no_line_is_too_wide_and_the_height_stays() {
        for width in [0, 40, 60, 80, 200] {
            for line in render(&scene(), width) {
                assert!(line.chars().count() <= width.max(WIDTH_MIN), "{width}: {line}");
                assert!(!line.contains(['\n', '\x1b']), "{line:?}");
            }
        }
        assert!(
            render(&scene(), 80).len() <= 24,
            "it fits a terminal of 24 lines:\n{}",
            render(&scene(), 80).join("\n")
        );
        assert!(render(&Scene::default(), 80).len() > 10, "and an empty one is fine");
    }

    #[test]
    fn a_broken_command_is_the_same_command() {
        let command = curl("http://127.0.0.1:7070", "SELECT 1 WHERE 'a' <> 'b'");
        assert!(command.ends_with("-d 'SELECT 1 WHERE '\\''a'\\'' <> '\\''b'\\'''"), "{command}");
        let command = curl("http://127.0.0.1:7070", "SELECT * FROM access ORDER BY timestamp DESC LIMIT 5");
        let lines = broken(&command, 40);
        assert!(lines.len() > 2);
        let joined: Vec<&str> = lines.iter().map(|line| line.trim_end_matches(" \\")).collect();
        assert_eq!(joined.join(" "), command);
    }

    #[test]
    fn one_line_says_the_same() {
        let line = plain(&scene());
        assert!(line.starts_with("  23 s  high, scaled"), "{line}");
        assert!(line.contains("replicas 3 of 4 ready"), "{line}");
        let change = plain_change(scene().change.as_ref().unwrap());
        assert!(change.starts_with("  10 s  1 → 4 replicas: Arrivals"), "{change}");
    }

    #[test]
    fn long_text_wraps_and_ends() {
        assert_eq!(wrapped("one two three four", 8, 9), ["one two", "three", "four"]);
        assert_eq!(wrapped("one two three four", 8, 2), ["one two", "three…"]);
        assert_eq!(wrapped("", 8, 2), Vec::<String>::new());
    }
}
