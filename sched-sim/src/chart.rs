//! Charts: CPU shares beside the ideal, wake-up latencies, and a trace of which vCPU ran where.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::measure::Span;
use crate::report::Report;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Quantiles for which the latency is drawn.
const PARTS: [f64; 11] = [0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0];

/// Draws a workload's result: the ratio of each vCPU's share to its ideal one, and the quantiles of wake-up latency.
///
/// **Errors:** the file cannot be written.
pub fn write(place: &Path, title: &str, reports: &[Report]) -> Result<()> {
    let root = SVGBackend::new(place, (1000, 460)).into_drawing_area();
    let draw = || -> Drawn {
        root.fill(&WHITE)?;
        let inner = root.titled(title, ("sans-serif", 18))?;
        let (left, right) = inner.split_horizontally(500);
        draw_shares(&left, reports)?;
        draw_latencies(&right, reports)?;
        root.present()
    };
    draw().map_err(|error| anyhow!("cannot write {}: {error}", place.display()))
}

fn draw_shares<'a>(area: &Area<'a>, reports: &[Report]) -> Drawn<'a> {
    let all = reports.iter().flat_map(|report| &report.shares);
    let most = all.fold(0.01f64, |most, (had, ideal)| most.max(*had).max(*ideal)) * 1.05;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(45)
        .build_cartesian_2d(0.0..most, 0.0..most)?;
    chart.configure_mesh().x_desc("ideal share of a CPU").y_desc("share that it had").light_line_style(WHITE).draw()?;
    chart.draw_series([PathElement::new(vec![(0.0, 0.0), (most, most)], BLACK.mix(0.4))])?;
    for (index, report) in reports.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let points = report.shares.iter().map(|(had, ideal)| Circle::new((*ideal, *had), 3, colour.mix(0.6).filled()));
        let mark = move |(x, y)| Circle::new((x + 8, y), 4, colour.filled());
        chart.draw_series(points)?.label(report.policy).legend(mark);
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.3)).draw()
}

fn draw_latencies<'a>(area: &Area<'a>, reports: &[Report]) -> Drawn<'a> {
    let us = |ns: u64| (ns as f64 / 1000.0).max(0.1);
    let most = reports.iter().map(|report| us(report.measures.latencies.most())).fold(10.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(60)
        .build_cartesian_2d(0..PARTS.len() - 1, (0.1..most * 1.5).log_scale())?;
    let name = |index: &usize| PARTS.get(*index).map_or(String::new(), |part| format!("{}", part * 100.0));
    chart
        .configure_mesh()
        .x_labels(PARTS.len())
        .x_label_formatter(&name)
        .x_desc("% of wake-ups")
        .y_desc("took at most, us")
        .light_line_style(WHITE)
        .draw()?;
    for (index, report) in reports.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let latencies = &report.measures.latencies;
        let points = PARTS.iter().enumerate().map(|(index, part)| (index, us(latencies.percentile(*part))));
        let mark = move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour.stroke_width(2));
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?.label(report.policy).legend(mark);
    }
    chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).border_style(BLACK.mix(0.3)).draw()
}

/// Draws a trace: which vCPU ran on which CPU, from 0 to `until` nanoseconds. CPU 0 is the topmost row.
///
/// **Errors:** the file cannot be written.
pub fn write_trace(place: &Path, title: &str, cpus: u32, until: u64, spans: &[Span]) -> Result<()> {
    let height = 110 + cpus * 26;
    let root = SVGBackend::new(place, (1200, height)).into_drawing_area();
    draw_trace(&root, title, cpus, until, spans).map_err(|error| anyhow!("cannot write {}: {error}", place.display()))
}

fn draw_trace<'a>(root: &Area<'a>, title: &str, cpus: u32, until: u64, spans: &[Span]) -> Drawn<'a> {
    root.fill(&WHITE)?;
    let ms = |ns: u64| ns as f64 / 1e6;
    let mut chart = ChartBuilder::on(root)
        .caption(title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..ms(until), (0..cpus.saturating_sub(1)).into_segmented())?;
    let name = |row: &SegmentValue<u32>| match row {
        SegmentValue::CenterOf(row) if *row < cpus => format!("CPU {}", cpus - 1 - row),
        _ => String::new(),
    };
    let labels = cpus as usize;
    chart.configure_mesh().disable_y_mesh().y_labels(labels).y_label_formatter(&name).x_desc("ms").draw()?;
    let shown = || spans.iter().filter(|span| span.from < until && span.cpu.0 < cpus);
    let row = |span: &Span| cpus - 1 - span.cpu.0;
    chart.draw_series(shown().map(|span| {
        let corners = [
            (ms(span.from), SegmentValue::Exact(row(span))),
            (ms(span.to.min(until)), SegmentValue::Exact(row(span) + 1)),
        ];
        let mut bar = Rectangle::new(corners, Palette99::pick(span.vcpu).filled());
        bar.set_margin(2, 2, 0, 0);
        bar
    }))?;
    // The vCPU's number, where there is room for it.
    let wide = shown().filter(|span| span.to.min(until) - span.from > until / 45);
    let style = ("sans-serif", 12).into_font().color(&BLACK);
    chart.draw_series(wide.map(|span| {
        let at = (ms(span.from) + ms(until) * 0.003, SegmentValue::CenterOf(row(span)));
        Text::new(span.vcpu.to_string(), at, style.clone())
    }))?;
    root.present()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_hal::CpuId;

    #[test]
    fn a_trace_names_its_cpus_and_draws_each_span() {
        let place = std::env::temp_dir().join(format!("sched-sim-trace-{}.svg", std::process::id()));
        let span = |vcpu, from, to| Span { cpu: CpuId(0), vcpu, from, to };
        write_trace(&place, "two vCPUs", 2, 1_000_000, &[span(7, 0, 400_000), span(8, 400_000, 2_000_000)]).unwrap();
        let text = std::fs::read_to_string(&place).unwrap();
        std::fs::remove_file(&place).unwrap();
        assert!(text.contains("CPU 0") && text.contains("CPU 1") && text.contains("two vCPUs"));
        let bars = text.matches("<rect").count();
        assert!(bars >= 3, "{bars} rectangles: a background and two spans");
    }
}
