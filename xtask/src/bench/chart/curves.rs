//! Operations beside 1, 10, 100 and 1000 others: a panel each, Xen's curve and Xenolith's.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::super::columns::Column;
use super::super::table::Table;
use super::groups::GROWTH;
use super::{Area, COLOURS, Drawn, FAINT, INK, LINE, MARGIN, WIDTH, XEN, text};

const PANELS_IN_A_ROW: usize = 5;
/// The heading above all panels; a panel with its title and marks, and the curves in it, in pixels.
const HEADING: i32 = 56;
const PANEL: i32 = 158;
const TITLE: i32 = 38;
const CURVES: i32 = 90;
/// The room for figures at the end of a curve.
const FIGURES: i32 = 48;

/// The largest of the counts on the axis below, which goes by powers of ten, where no point lies beyond it.
const MOST: f64 = 1000.0;

/// One operation: how many others there are, what Xen takes beside them, and what Xenolith does.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    operation: String,
    others: String,
    points: Vec<(f64, f64, f64)>,
}

/// Returns the curves in the order in which the table has them.
#[must_use]
pub fn of(table: &Table) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for line in &table.lines {
        let counts = line.count(Column::XenPlain).zip(line.count(Column::Xenolith));
        let (Some((operation, others, count)), Some((xen, own))) = (named(&line.name), counts) else { continue };
        let point = (count, xen as f64, own as f64);
        match curves.iter_mut().find(|curve| curve.operation == operation && curve.others == others) {
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { operation: operation.into(), others: others.into(), points: vec![point] }),
        }
    }
    curves.retain(|curve| curve.points.len() > 1);
    curves
}

/// Returns the operation, the others and their count in a row's name: `growth/domains/version-10` or
/// `growth/version/domains-10`.
fn named(row: &str) -> Option<(&str, &str, f64)> {
    let (name, count) = row.strip_prefix(GROWTH)?.rsplit_once('-')?;
    let (first, second) = name.split_once('/')?;
    let count: f64 = count.parse().ok().filter(|count| *count >= 1.0)?;
    Some(if matches!(first, "domains" | "timers") { (second, first, count) } else { (first, second, count) })
}

/// Returns how high all panels are, in pixels.
#[must_use]
pub fn height(curves: &[Curve]) -> i32 {
    let rows = i32::try_from(curves.len().div_ceil(PANELS_IN_A_ROW)).unwrap_or(i32::MAX);
    if rows == 0 { 0 } else { HEADING + rows * PANEL }
}

/// Draws the panels below `top`.
pub fn draw(page: &Area, curves: &[Curve], top: i32) -> Drawn<'static> {
    if curves.is_empty() {
        return Ok(());
    }
    text(page, "The same operation beside 1, 10, 100 and 1000 others", (MARGIN, top + 14), 14, INK, HPos::Left)?;
    let legend = [(XEN, "Xen 4.17"), (COLOURS[0].1, "Xenolith"), (WHITE, "instructions, from 0")];
    for (at, (colour, words)) in (0..).zip(legend) {
        let x = MARGIN + at * 110;
        page.draw(&Rectangle::new([(x, top + 32), (x + 18, top + 35)], colour.filled()))?;
        text(page, words, (x + 24, top + 33), 12, FAINT, HPos::Left)?;
    }
    let width = (WIDTH - 2 * MARGIN) / PANELS_IN_A_ROW as i32;
    for (index, curve) in curves.iter().enumerate() {
        let (row, column) = ((index / PANELS_IN_A_ROW) as i32, (index % PANELS_IN_A_ROW) as i32);
        panel(page, curve, (MARGIN + column * width, top + HEADING + row * PANEL), width - 14)?;
    }
    Ok(())
}

fn panel(page: &Area, curve: &Curve, (left, top): (i32, i32), width: i32) -> Drawn<'static> {
    text(page, &curve.operation, (left, top + 8), 13, INK, HPos::Left)?;
    text(page, &format!("beside {}", curve.others), (left, top + 25), 11, FAINT, HPos::Left)?;
    let greatest = curve.points.iter().map(|(_, xen, own)| xen.max(*own)).fold(1.0, f64::max);
    let bottom = top + TITLE + CURVES;
    let reach = f64::from(width - FIGURES);
    let most = curve.points.iter().map(|(count, ..)| *count).fold(MOST, f64::max);
    let x = |count: f64| left + (count.log10() / most.log10() * reach) as i32;
    let y = |cost: f64| bottom - (cost / greatest * f64::from(CURVES - 8)) as i32;
    for count in [1.0, 10.0, 100.0, MOST] {
        page.draw(&PathElement::new(vec![(x(count), top + TITLE), (x(count), bottom)], LINE))?;
        text(page, &count.to_string(), (x(count), bottom + 9), 10, FAINT, HPos::Center)?;
    }
    page.draw(&PathElement::new(vec![(left, bottom), (x(most), bottom)], FAINT))?;
    let of_xen: Vec<_> = curve.points.iter().map(|(count, xen, _)| (*count, *xen)).collect();
    let own: Vec<_> = curve.points.iter().map(|(count, _, own)| (*count, *own)).collect();
    for (points, colour) in [(of_xen, XEN), (own, COLOURS[0].1)] {
        let places: Vec<_> = points.iter().map(|(count, cost)| (x(*count), y(*cost))).collect();
        page.draw(&PathElement::new(places.clone(), colour.stroke_width(2)))?;
        for place in &places {
            page.draw(&Circle::new(*place, 3, colour.filled()))?;
        }
        if let (Some((_, cost)), Some(place)) = (points.last(), places.last()) {
            text(page, &short(*cost), (place.0 + 8, place.1), 11, colour, HPos::Left)?;
        }
    }
    Ok(())
}

/// Returns a count in three digits or so.
fn short(count: f64) -> String {
    match count {
        1e6.. => format!("{:.1} M", count / 1e6),
        1e4.. => format!("{:.0} k", count / 1e3),
        1e3.. => format!("{:.1} k", count / 1e3),
        _ => format!("{count:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::rows::{Figure, Run};
    use super::*;

    #[test]
    fn the_points_of_an_operation_make_one_curve() {
        let rows = |cost: i64| {
            let row = |name: &str, times: i64| (name.to_owned(), Figure::Exact(cost * times));
            Run {
                rows: vec![
                    row("growth/domains/version-1", 1),
                    row("growth/domains/version-1000", 2),
                    row("growth/version/ports-1", 3),
                    row("exit/cpuid", 1),
                ],
                ..Run::default()
            }
        };
        let curves = of(&Table::new(vec![(Column::XenPlain, rows(100)), (Column::Xenolith, rows(10))]));
        let points = vec![(1.0, 100.0, 10.0), (1000.0, 200.0, 20.0)];
        assert_eq!(curves, [Curve { operation: "version".into(), others: "domains".into(), points }]);
    }

    #[test]
    fn a_name_says_what_is_done_beside_how_many_of_what() {
        assert_eq!(named("growth/domains/copy-64-100"), Some(("copy-64", "domains", 100.0)));
        assert_eq!(named("growth/copy-64/grants-10"), Some(("copy-64", "grants", 10.0)));
        assert_eq!(named("growth/copy-64/grants-none"), None);
        assert_eq!(named("exit/cpuid-10"), None);
    }

    #[test]
    fn figures_are_short() {
        assert_eq!([534.0, 1415.0, 38_091.0, 749_356.0, 2.5e6].map(short), ["534", "1.4 k", "38 k", "749 k", "2.5 M"]);
    }
}
