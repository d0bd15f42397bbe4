//! a backtest as a picture: a few lines of blocks for a terminal, or an SVG

use crate::scale::backtest::Report;
use crate::scale::backtest::report::Point;
use std::fmt::Write;

/// Columns of the terminal's picture.
const COLUMNS: usize = 72;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The picture's size, and the room for its labels.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const LOAD: (f64, f64) = (44.0, 260.0);
const LATENCY: (f64, f64) = (300.0, 400.0);
/// Latency above so many objectives is drawn at the edge.
const OBJECTIVES_MAX: f64 = 3.0;
/// Told apart also by those who see no red and green.
const COLORS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// Load, replicas and latency of one run, a line each; what is over the objective is marked below.
pub(super) fn blocks(report: &Report, objective: f64) -> String {
    let most = |of: fn(&Point) -> Option<f64>| squeezed(&report.curve, of);
    let load = most(|point| point.rate);
    let ready = most(|point| Some(f64::from(point.ready)));
    let latency = most(|point| Some(point.latency));
    let mut text = String::new();
    let mut line = |name: &str, values: &[Option<f64>], top: f64, unit: &str| {
        let cells: String = values.iter().map(|value| value.map_or(' ', |value| block(value, top))).collect();
        let _ = writeln!(text, "  {name:<9}{cells}  up to {}{unit}", figure(top));
    };
    let top = |values: &[Option<f64>]| values.iter().flatten().copied().fold(0.0, f64::max);
    line("load", &load, top(&load), "/s");
    line("replicas", &ready, top(&ready), "");
    line("latency", &latency, top(&latency), " s");
    let marks: String =
        latency.iter().map(|value| if value.is_some_and(|value| value > objective) { '!' } else { ' ' }).collect();
    if !marks.trim().is_empty() {
        let _ = writeln!(text, "  {:<9}{}  over {objective} s", "", marks);
    }
    text
}

fn squeezed(curve: &[Point], of: fn(&Point) -> Option<f64>) -> Vec<Option<f64>> {
    let length = curve.len().div_ceil(COLUMNS).max(1);
    curve.chunks(length).map(|chunk| chunk.iter().filter_map(of).reduce(f64::max)).collect()
}

fn block(value: f64, top: f64) -> char {
    let share = if top > 0.0 { value / top } else { 0.0 };
    let index = (share * 7.0).round().clamp(0.0, 7.0) as usize;
    BLOCKS.get(index).copied().unwrap_or(' ')
}

fn figure(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        value => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// The load, what the replicas of each run serve, and how long requests take, over time.
pub(super) fn svg(title: &str, runs: &[(String, &Report)], capacity: f64, objective: f64) -> String {
    let Some((_, first)) = runs.first() else { return String::new() };
    let served = |point: &Point| f64::from(point.ready) * capacity;
    let rates = first.curve.iter().filter_map(|point| point.rate);
    let capacities = runs.iter().flat_map(|(_, run)| run.curve.iter().map(served));
    let top = rates.chain(capacities).fold(1e-9, f64::max);
    let mut out = String::new();
    let height = LATENCY.1 + 36.0;
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"18\" font-size=\"14\">{}</text>",
        escaped(title)
    );
    let mut at = LEFT;
    let mut key = |color: &str, words: &str| {
        let drawn = format!(
            "<rect x=\"{at:.0}\" y=\"27\" width=\"12\" height=\"8\" fill=\"{color}\"/><text x=\"{:.0}\" y=\"35\">{}</text>",
            at + 16.0,
            escaped(words)
        );
        at += 30.0 + 6.6 * words.chars().count() as f64;
        drawn
    };
    let _ = writeln!(out, "{}", key("#bbb", "load"));
    for ((name, _), color) in runs.iter().zip(COLORS.iter().cycle()) {
        let _ = writeln!(out, "{}", key(color, name));
    }
    for (share, label) in [(0.0, "0".to_owned()), (0.5, figure(top / 2.0)), (1.0, format!("{}/s", figure(top)))] {
        rule(&mut out, height_of(share, LOAD), &label);
    }
    let limit = OBJECTIVES_MAX * objective;
    for (value, label) in [
        (0.0, "0".to_owned()),
        (objective, format!("{} s", figure(objective))),
        (limit, format!("{} s", figure(limit))),
    ] {
        rule(&mut out, height_of(value / limit, LATENCY), &label);
    }
    let load = line(&first.curve, LOAD, |point| point.rate.unwrap_or_default() / top);
    let _ = writeln!(
        out,
        "<polygon points=\"{LEFT},{0} {load} {1},{0}\" fill=\"#ddd\" stroke=\"#bbb\" stroke-width=\"0.5\"/>",
        LOAD.1,
        WIDTH - RIGHT
    );
    for ((_, run), color) in runs.iter().zip(COLORS.iter().cycle()) {
        let ready = line(&run.curve, LOAD, |point| served(point) / top);
        let latency = line(&run.curve, LATENCY, |point| (point.latency / limit).min(1.0));
        for points in [ready, latency] {
            let _ =
                writeln!(out, "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.2\"/>");
        }
    }
    let hours = first.seconds / 3600.0;
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{y}\">0 h</text><text x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{} h</text>\n\
         <text x=\"{LEFT}\" y=\"{above}\" fill=\"#555\">longest time to an answer; the line in the middle is the objective</text>\n</svg>",
        figure(hours),
        x = WIDTH - RIGHT,
        y = LATENCY.1 + 18.0,
        above = LATENCY.0 - 8.0,
    );
    out
}

fn height_of(share: f64, (top, bottom): (f64, f64)) -> f64 {
    bottom - share * (bottom - top)
}

fn rule(out: &mut String, y: f64, label: &str) {
    let _ = writeln!(
        out,
        "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#eee\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
        WIDTH - RIGHT,
        LEFT - 6.0,
        y + 4.0
    );
}

fn line(curve: &[Point], room: (f64, f64), of: impl Fn(&Point) -> f64) -> String {
    let width = (WIDTH - LEFT - RIGHT) / (curve.len().saturating_sub(1).max(1)) as f64;
    let points = curve.iter().enumerate();
    let points =
        points.map(|(index, point)| format!("{:.1},{:.1}", LEFT + width * index as f64, height_of(of(point), room)));
    points.collect::<Vec<_>>().join(" ")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
