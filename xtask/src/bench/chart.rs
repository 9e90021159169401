//! The figures as a page to look at: bars in groups for the ratios to Xen, curves for what grows with a machine's load.

mod bars;
mod curves;
mod groups;

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::FontTransform;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::Table;
use groups::Group;

/// The page and what surrounds its parts, in pixels.
const WIDTH: i32 = 1200;
const MARGIN: i32 = 24;
const HEAD: i32 = 92;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const FAINT: RGBColor = RGBColor(0x77, 0x77, 0x77);
const LINE: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
/// Xen's own.
const XEN: RGBColor = RGBColor(0x99, 0x8e, 0xc3);

/// The colours of a row at most a quarter of Xen's, at most half of it, at most all of it, and of one above.
const COLOURS: [(f64, RGBColor, &str); 4] = [
    (0.25, RGBColor(0x1b, 0x78, 0x37), "at most a quarter of Xen's"),
    (0.5, RGBColor(0x7f, 0xbf, 0x7b), "at most half"),
    (1.0, RGBColor(0xe0, 0xb0, 0x50), "at most all of it"),
    (f64::INFINITY, RGBColor(0xb2, 0x18, 0x2b), "more than Xen's"),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// Writes the page for the rows that have a ratio.
///
/// **Errors:** the file cannot be written.
pub fn write(place: &Path, table: &Table) -> Result<()> {
    let groups = groups::of(table);
    let curves = curves::of(table);
    draw(place, &groups, &curves).map_err(|error| anyhow!("cannot write {}: {error}", place.display()))
}

fn draw<'a>(place: &'a Path, groups: &[Group], curves: &[curves::Curve]) -> Drawn<'a> {
    let (left, right) = groups::in_two_columns(groups);
    let bars = bars::height(left).max(bars::height(right));
    let height = HEAD + bars + curves::height(curves) + MARGIN;
    let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
    let page = SVGBackend::new(place, size).into_drawing_area();
    page.fill(&WHITE)?;
    head(&page)?;
    let column = (WIDTH - 3 * MARGIN) / 2;
    bars::draw(&page, left, (MARGIN, HEAD), column)?;
    bars::draw(&page, right, (2 * MARGIN + column, HEAD), column)?;
    curves::draw(&page, curves, HEAD + bars)?;
    page.present()
}

/// Draws what the page shows, and what the colours mean.
fn head(page: &Area) -> Drawn<'static> {
    text(
        page,
        "What operations cost on Xenolith, as a part of what they cost on Xen 4.17",
        (MARGIN, 26),
        20,
        INK,
        HPos::Left,
    )?;
    let what = "Instructions (of memory and image: bytes), beside Xen with spec-ctrl=no. Shorter is better; 1 is Xen.";
    text(page, what, (MARGIN, 49), 13, FAINT, HPos::Left)?;
    let mut x = MARGIN;
    for (_, colour, meaning) in COLOURS {
        page.draw(&Rectangle::new([(x, 66), (x + 14, 78)], colour.filled()))?;
        text(page, meaning, (x + 20, 72), 12, INK, HPos::Left)?;
        x += 210;
    }
    Ok(())
}

/// Writes words whose middle is at the height of `at`, and which begin, end or have their middle there.
fn text(page: &Area, words: &str, at: (i32, i32), size: i32, colour: RGBColor, anchor: HPos) -> Drawn<'static> {
    let font = ("sans-serif", f64::from(size) * 1.24).into_font().transform(FontTransform::None);
    let style = TextStyle::from(font).color(&colour).pos(Pos::new(anchor, VPos::Center));
    page.draw(&Text::new(words.to_owned(), at, style))
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::of;
    use super::super::{page, table::Table};
    use super::*;
    use xenolith_tests::places;

    fn drawn(name: &str, table: &Table) -> String {
        let place = places::target().join(name);
        write(&place, table).unwrap();
        std::fs::read_to_string(&place).unwrap()
    }

    #[test]
    fn a_chart_names_its_groups_and_rows_and_says_each_ratio() {
        let svg = drawn("bench-chart-test.svg", &of("exit/cpuid", 100, 40));
        for words in ["<svg", "Hypercalls and exits", "exit/cpuid", "0.40"] {
            assert!(svg.contains(words), "{words}: {svg}");
        }
        assert!(!svg.contains("Lives of domains"), "a group without a row has no place");
    }

    #[test]
    fn the_chart_of_the_documents_shows_the_figures_that_stand_beside_it() {
        let table = page::read(&places::root().join(page::PLACE)).unwrap();
        let kept = std::fs::read_to_string(places::root().join(page::CHART)).unwrap();
        let is_same = drawn("bench-page-test.svg", &table) == kept;
        assert!(is_same, "{} is not what is drawn from {}; run: cargo xtask bench --draw", page::CHART, page::PLACE);
    }
}
