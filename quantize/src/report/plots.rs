//! Plots as SVG text.

use plotters::prelude::*;
use pocketbert::{Error, Result};

use crate::calibration::Layer;
use crate::stats::Bin;
use crate::validate::SetResult;

const BLUE: RGBColor = RGBColor(37, 99, 235);
const GREY: RGBColor = RGBColor(148, 163, 184);
const RED: RGBColor = RGBColor(220, 38, 38);
const INK: RGBColor = RGBColor(71, 85, 105);

fn failed<E: std::fmt::Display>(e: E) -> Error {
    Error::internal(format!("a plot failed: {e}"))
}

fn small() -> TextStyle<'static> {
    ("sans-serif", 13).into_font().color(&INK)
}

/// Share of flips of each set with its interval, in percent; a line at `goal`.
pub fn flips(sets: &[&SetResult], goal: Option<f64>) -> Result<String> {
    let mut svg = String::new();
    let height = 46 + 30 * sets.len() as u32;
    {
        let area = SVGBackend::with_string(&mut svg, (720, height)).into_drawing_area();
        let most = sets
            .iter()
            .map(|r| 100.0 * r.flips_interval.1)
            .fold(goal.unwrap_or(0.0), f64::max)
            .clamp(0.5, 12.0);
        let rows = sets.len() as f64;
        let mut chart = ChartBuilder::on(&area)
            .margin_right(16)
            .margin_top(6)
            .x_label_area_size(30)
            .y_label_area_size(210)
            .build_cartesian_2d(0.0..most * 1.05, 0.0..rows)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_labels(7)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.35))
            .axis_style(GREY)
            .x_label_formatter(&|x| format!("{x:.1} %"))
            .label_style(small())
            .draw()
            .map_err(failed)?;
        for (i, r) in sets.iter().enumerate() {
            let y = rows - i as f64 - 0.5;
            let (lo, hi) = (100.0 * r.flips_interval.0, (100.0 * r.flips_interval.1).min(most * 1.05));
            let at = 100.0 * r.flips as f64 / r.units.max(1) as f64;
            chart.draw_series(LineSeries::new([(lo, y), (hi, y)], BLUE.stroke_width(3))).map_err(failed)?;
            chart
                .draw_series(std::iter::once(Circle::new((at.min(most), y), 5, BLUE.filled())))
                .map_err(failed)?;
            let name = format!("{} · {}", r.head, r.name);
            let place = (8, 6 + ((rows - y) / rows * f64::from(height - 36)) as i32 - 7);
            area.draw_text(&name, &small(), place).map_err(failed)?;
        }
        if let Some(g) = goal {
            chart.draw_series(LineSeries::new([(g, 0.0), (g, rows)], RED.stroke_width(1))).map_err(failed)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// Confidence against being right.
pub fn reliability(bins: &[Bin]) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (340, 300)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(44)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .x_labels(5)
            .y_labels(5)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GREY.mix(0.35))
            .axis_style(GREY)
            .label_style(small())
            .x_desc("confidence")
            .y_desc("right")
            .draw()
            .map_err(failed)?;
        let total: usize = bins.iter().map(|b| b.n).sum();
        for (i, b) in bins.iter().enumerate().filter(|(_, b)| b.n > 0) {
            let (x, weight) = (i as f64 / 10.0, 0.25 + 0.75 * (b.n as f64 / total.max(1) as f64).sqrt());
            chart
                .draw_series(std::iter::once(Rectangle::new(
                    [(x + 0.005, 0.0), (x + 0.095, b.accuracy)],
                    BLUE.mix(weight).filled(),
                )))
                .map_err(failed)?;
        }
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], RED.stroke_width(1))).map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// How often values occur in a layer's input, in powers of ten.
pub fn histogram(l: &Layer) -> Result<String> {
    const BARS: usize = 96;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (340, 150)).into_drawing_area();
        let (low, high) = (f64::from(l.min.0), f64::from(l.max.0).max(f64::from(l.min.0) + 1e-6));
        let width = 2.0 * f64::from(l.reach) / l.histogram.len().max(1) as f64;
        let mut bars = [0u64; BARS];
        for (i, n) in l.histogram.iter().enumerate() {
            let x = (i as f64 + 0.5) * width - f64::from(l.reach);
            let at = ((x - low) / (high - low) * BARS as f64).clamp(0.0, BARS as f64 - 1.0);
            bars[at as usize] += n;
        }
        let log = |n: u64| if n == 0 { 0.0 } else { 1.0 + (n as f64).log10() };
        let top = bars.iter().map(|&n| log(n)).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .x_label_area_size(24)
            .build_cartesian_2d(low..high, 0.0..top)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .y_labels(0)
            .x_labels(6)
            .axis_style(GREY)
            .label_style(small())
            .draw()
            .map_err(failed)?;
        let step = (high - low) / BARS as f64;
        chart
            .draw_series(bars.iter().enumerate().map(|(i, &n)| {
                let x = low + i as f64 * step;
                Rectangle::new([(x, 0.0), (x + step, log(n))], BLUE.mix(0.7).filled())
            }))
            .map_err(failed)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}
