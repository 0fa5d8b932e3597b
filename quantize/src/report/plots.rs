//! Plots as SVG text. The page's style gives the colours named here others in the dark.

use plotters::coord::Shift;
use plotters::prelude::*;
use pocketbert::{Error, Result};

use crate::stats::Bin;
use crate::validate::layers::LayerNoise;

const BLUE: RGBColor = RGBColor(37, 99, 235);
const ORANGE: RGBColor = RGBColor(217, 119, 6);
const GREY: RGBColor = RGBColor(148, 163, 184);
const LINE: RGBColor = RGBColor(203, 213, 225);
const RED: RGBColor = RGBColor(220, 38, 38);
const SOFT: RGBColor = RGBColor(71, 85, 105);
const INK: RGBColor = RGBColor(15, 23, 42);

fn failed<E: std::fmt::Display>(e: E) -> Error {
    Error::internal(format!("a plot failed: {e}"))
}

fn text(size: i32, color: &'static RGBColor) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).color(color)
}

/// An SVG of `size` that `draw` fills.
fn svg(size: (u32, u32), draw: impl FnOnce(&DrawingArea<SVGBackend, Shift>) -> Result<()>) -> Result<String> {
    let mut out = String::new();
    {
        let area = SVGBackend::with_string(&mut out, size).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(out)
}

/// A value with its interval, under its name.
pub struct Whisker {
    /// Name.
    pub name: String,
    /// Value.
    pub at: f64,
    /// Interval.
    pub interval: (f64, f64),
}

/// Values with intervals below each other, all in one unit; a red line at `goal`.
pub fn whiskers(rows: &[Whisker], unit: &str, goal: Option<f64>) -> Result<String> {
    const ROW: u32 = 40;
    let height = 34 + ROW * rows.len() as u32;
    let ends = rows.iter().flat_map(|r| [r.interval.0, r.interval.1]).chain(goal).chain([0.0]);
    let (low, high) = ends.fold((0.0f64, 0.0f64), |(l, h), x| (l.min(x), h.max(x)));
    // One wide interval should not squeeze the others: what leaves the plot is cut.
    let mut highs: Vec<f64> = rows.iter().map(|r| r.interval.1).collect();
    highs.sort_by(f64::total_cmp);
    let usual = highs.get(highs.len() * 3 / 4).copied().unwrap_or(high).max(goal.unwrap_or(0.0)) * 2.5;
    let high = if low < 0.0 { high } else { high.min(usual) };
    let room = ((high - low) * 0.04).max(1e-9);
    let (low, high) = (if low < 0.0 { low - room } else { 0.0 }, high + room);
    svg((480, height), |area| {
        let n = rows.len() as f64;
        let mut chart = ChartBuilder::on(area)
            .margin(4)
            .margin_right(14)
            .x_label_area_size(26)
            .build_cartesian_2d(low..high, 0.0..n)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_labels(6)
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .x_label_formatter(&|x| format!("{x:.1} {unit}"))
            .label_style(text(13, &SOFT))
            .draw()
            .map_err(failed)?;
        let lines = [(0.0, GREY, low < 0.0), (goal.unwrap_or(0.0), RED, goal.is_some())];
        for (x, color, _) in lines.into_iter().filter(|l| l.2) {
            chart.draw_series(LineSeries::new([(x, 0.0), (x, n)], color.stroke_width(1))).map_err(failed)?;
        }
        for (i, r) in rows.iter().enumerate() {
            let y = n - i as f64 - 0.72;
            let line = [(r.interval.0.max(low), y), (r.interval.1.min(high), y)];
            chart.draw_series(LineSeries::new(line, BLUE.stroke_width(3))).map_err(failed)?;
            let dot = Circle::new((r.at.clamp(low, high), y), 5, BLUE.filled());
            chart.draw_series(std::iter::once(dot)).map_err(failed)?;
            let label = Text::new(r.name.clone(), (low, n - i as f64 - 0.1), text(14, &INK));
            chart.draw_series(std::iter::once(label)).map_err(failed)?;
        }
        Ok(())
    })
}

/// Confidence against being right.
pub fn reliability(bins: &[Bin]) -> Result<String> {
    svg((340, 280), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(36)
            .y_label_area_size(46)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .label_style(text(13, &SOFT))
            .x_desc("confidence")
            .y_desc("right")
            .draw()
            .map_err(failed)?;
        let total: usize = bins.iter().map(|b| b.n).sum();
        for (i, b) in bins.iter().enumerate().filter(|(_, b)| b.n > 0) {
            let (x, weight) = (i as f64 / 10.0, 0.25 + 0.75 * (b.n as f64 / total.max(1) as f64).sqrt());
            let bar = Rectangle::new([(x + 0.006, 0.0), (x + 0.094, b.accuracy)], BLUE.mix(weight).filled());
            chart.draw_series(std::iter::once(bar)).map_err(failed)?;
        }
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], RED.stroke_width(1))).map_err(failed)?;
        Ok(())
    })
}

/// Signal to noise in decibel of what the nodes read, in the order in which they run.
pub fn noise(layers: &[LayerNoise]) -> Result<String> {
    svg((960, 260), |area| {
        let n = layers.len().max(2) as f64;
        let finite = layers.iter().map(|l| l.sqnr.min(100.0));
        let (low, high) = finite.clone().fold((f64::INFINITY, 0.0f64), |(l, h), x| (l.min(x), h.max(x)));
        let (low, high) = ((low / 5.0).floor() * 5.0, (high / 5.0).ceil() * 5.0 + 0.1);
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .x_label_area_size(34)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..n - 1.0, low..high.max(low + 5.0))
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(8)
            .y_labels(6)
            .light_line_style(TRANSPARENT)
            .bold_line_style(LINE)
            .axis_style(LINE)
            .label_style(text(14, &SOFT))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0} dB"))
            .x_desc("nodes in the order in which they run")
            .draw()
            .map_err(failed)?;
        let points: Vec<(f64, f64)> = finite.enumerate().map(|(i, y)| (i as f64, y)).collect();
        chart.draw_series(LineSeries::new(points.clone(), BLUE.stroke_width(2))).map_err(failed)?;
        let linear = points.into_iter().zip(layers).filter(|(_, l)| l.op == "Linear");
        chart.draw_series(linear.map(|(p, _)| Circle::new(p, 4, BLUE.filled()))).map_err(failed)?;
        Ok(())
    })
}

/// How often values occur in what a layer reads, in powers of ten: filled before, a line after quantization.
pub fn histogram(l: &LayerNoise) -> Result<String> {
    svg((340, 150), |area| {
        let log = |n: u64| if n == 0 { 0.0 } else { 1.0 + (n as f64).log10() };
        let both = l.reference_histogram.iter().chain(&l.model_histogram);
        let top = both.map(|&n| log(n)).fold(1.0, f64::max);
        let (low, high) = (f64::from(l.shown.0), f64::from(l.shown.1));
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .x_label_area_size(24)
            .build_cartesian_2d(low..high, 0.0..top)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_labels(6)
            .axis_style(LINE)
            .label_style(text(13, &SOFT))
            .draw()
            .map_err(failed)?;
        let step = (high - low) / l.reference_histogram.len().max(1) as f64;
        let x = |i: usize| low + i as f64 * step;
        let bars = l.reference_histogram.iter().enumerate();
        let bars =
            bars.map(|(i, &n)| Rectangle::new([(x(i), 0.0), (x(i + 1), log(n))], BLUE.mix(0.45).filled()));
        chart.draw_series(bars).map_err(failed)?;
        let steps = l.model_histogram.iter().enumerate();
        let steps = steps.flat_map(|(i, &n)| [(x(i), log(n)), (x(i + 1), log(n))]);
        chart.draw_series(LineSeries::new(steps, ORANGE.stroke_width(1))).map_err(failed)?;
        Ok(())
    })
}
