//! a backtest as a picture: a few lines of blocks for a terminal, or an SVG

use crate::error::{Error, Result};
use crate::scale::backtest::Report;
use crate::scale::backtest::report::Point;
use plotters::prelude::*;
use std::fmt::Write;

/// Columns of the terminal's picture.
const COLUMNS: usize = 72;
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The picture's size, how much of that the load has, and the room for labels.
const SIZE: (u32, u32) = (960, 440);
const LOAD_HEIGHT: u32 = 260;
const LABELS: u32 = 60;
const MARGIN: u32 = 16;
/// Latency above so many objectives is drawn at the edge.
const OBJECTIVES_MAX: f64 = 3.0;
/// Told apart also by those who see no red and green.
static COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

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
pub(super) fn svg(title: &str, runs: &[(String, &Report)], capacity: f64, objective: f64) -> Result<String> {
    let mut out = String::new();
    let drawn = draw(&SVGBackend::with_string(&mut out, SIZE).into_drawing_area(), title, runs, capacity, objective);
    drawn.map_err(|error| Error::internal(format!("the picture cannot be drawn: {error}")))?;
    Ok(out)
}

type Drawing<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(all: &Drawing<'_>, title: &str, runs: &[(String, &Report)], capacity: f64, objective: f64) -> Drawn {
    let Some((_, first)) = runs.first() else { return Ok(()) };
    let hours = (first.seconds / 3600.0).max(1e-9);
    let served = |point: &Point| f64::from(point.ready) * capacity;
    let rates = first.curve.iter().filter_map(|point| point.rate);
    let capacities = runs.iter().flat_map(|(_, run)| run.curve.iter().map(served));
    // The key stands above the curves.
    let room = 1.05 + 0.08 * (runs.len() + 1) as f64;
    let top = rates.chain(capacities).fold(1e-9, f64::max) * room;
    let limit = OBJECTIVES_MAX * objective;
    all.fill(&WHITE)?;
    let (load, latency) = all.titled(title, ("sans-serif", 16))?.split_vertically(LOAD_HEIGHT);

    let mut chart = ChartBuilder::on(&load)
        .margin_right(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, LABELS)
        .build_cartesian_2d(0.0..hours, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).y_labels(4).y_desc("load, and what is served");
    mesh.y_label_formatter(&|rate| format!("{}/s", figure(*rate))).draw()?;
    let line = curve(first, hours, |point| point.rate.unwrap_or_default());
    let area = AreaSeries::new(line, 0.0, BLACK.mix(0.12)).border_style(BLACK.mix(0.3));
    chart
        .draw_series(area)?
        .label("load")
        .legend(|(x, y)| Rectangle::new([(x, y - 4), (x + 12, y + 4)], BLACK.mix(0.2).filled()));
    for ((name, run), color) in runs.iter().zip(COLORS.iter().cycle()) {
        let line = LineSeries::new(curve(run, hours, served), color);
        chart
            .draw_series(line)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8)).draw()?;

    let mut chart = ChartBuilder::on(&latency)
        .margin_top(MARGIN)
        .margin_right(MARGIN)
        .set_label_area_size(LabelAreaPosition::Left, LABELS)
        .set_label_area_size(LabelAreaPosition::Bottom, LABELS / 2)
        .build_cartesian_2d(0.0..hours, 0.0..limit)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).y_labels(4).y_desc("longest answer");
    mesh.x_label_formatter(&|hours| format!("{} h", figure(*hours)));
    mesh.y_label_formatter(&|seconds| format!("{} s", figure(*seconds))).draw()?;
    chart.draw_series(LineSeries::new([(0.0, objective), (hours, objective)], BLACK.mix(0.5)))?;
    for ((_, run), color) in runs.iter().zip(COLORS.iter().cycle()) {
        chart.draw_series(LineSeries::new(curve(run, hours, |point| point.latency.min(limit)), color))?;
    }
    all.present()
}

/// A run's values over its hours.
fn curve<'a>(run: &'a Report, hours: f64, of: impl Fn(&Point) -> f64 + 'a) -> impl Iterator<Item = (f64, f64)> + 'a {
    let step = hours / run.curve.len().saturating_sub(1).max(1) as f64;
    run.curve.iter().enumerate().map(move |(index, point)| (step * index as f64, of(point)))
}
