//! The ratios as a chart.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::table::Table;

/// How high a bar and what surrounds it all are, in pixels.
const BAR: usize = 17;
const FRAME: usize = 90;
const WIDTH: u32 = 900;
/// Where the chart ends: a bar that would reach further is cut, so that one of them does not make the others vanish.
const MOST: f64 = 1.1;

/// The colours of a row below the targets for small exits and for larger work, of one below Xen's, and of one above.
const COLOURS: [(f64, RGBColor); 4] = [
    (0.25, RGBColor(0x1b, 0x78, 0x37)),
    (0.5, RGBColor(0x7f, 0xbf, 0x7b)),
    (1.0, RGBColor(0xe0, 0xb0, 0x50)),
    (f64::INFINITY, RGBColor(0xb2, 0x18, 0x2b)),
];

/// Writes a bar for each row that has a ratio, the first on top.
///
/// **Errors:** the file cannot be written.
pub fn write(place: &Path, table: &Table) -> Result<()> {
    let bars: Vec<(&str, f64)> =
        table.lines.iter().rev().filter_map(|line| Some((line.name.as_str(), line.ratio()?))).collect();
    draw(place, &bars).map_err(|error| anyhow!("cannot write {}: {error}", place.display()))
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(place: &'a Path, bars: &[(&str, f64)]) -> Drawn<'a> {
    let height = u32::try_from(bars.len() * BAR + FRAME).unwrap_or(u32::MAX);
    let root = SVGBackend::new(place, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let rows = (0..bars.len()).into_segmented();
    let mut chart = ChartBuilder::on(&root)
        .caption("Instructions on Xenolith, as a part of those on Xen 4.17 (spec-ctrl=no)", ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(250)
        .build_cartesian_2d(0.0..MOST, rows)?;
    let name = |row: &SegmentValue<usize>| match row {
        SegmentValue::CenterOf(index) => bars.get(*index).map_or(String::new(), |(name, _)| (*name).to_owned()),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    chart.configure_mesh().disable_y_mesh().y_labels(bars.len()).y_label_formatter(&name).draw()?;
    chart.draw_series(bars.iter().enumerate().map(|(index, (_, ratio))| {
        let colour = COLOURS.iter().find(|(most, _)| ratio <= most).map_or(BLACK, |(_, colour)| *colour);
        let corners = [(0.0, SegmentValue::Exact(index)), (ratio.min(MOST), SegmentValue::Exact(index + 1))];
        let mut bar = Rectangle::new(corners, colour.filled());
        bar.set_margin(2, 2, 0, 0);
        bar
    }))?;
    let xen = vec![(1.0, SegmentValue::Exact(0)), (1.0, SegmentValue::Last)];
    chart.draw_series([PathElement::new(xen, BLACK)])?;
    root.present()
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::of;
    use super::*;

    #[test]
    fn a_chart_names_its_rows() {
        let place = xenolith_tests::places::target().join("bench-chart-test.svg");
        write(&place, &of("exit/cpuid", 100, 40)).unwrap();
        let text = std::fs::read_to_string(&place).unwrap();
        assert!(text.contains("<svg") && text.contains("exit/cpuid"), "{text}");
    }
}
