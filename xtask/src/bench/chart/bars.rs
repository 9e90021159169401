//! Groups of bars under their headings.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::groups::Group;
use super::{Area, COLOURS, Drawn, FAINT, INK, LINE, text};

/// How high a heading, a bar and the space after a group are, in pixels.
const HEADING: i32 = 26;
const BAR: i32 = 18;
const SPACE: i32 = 14;

/// How much of a column the names take, and the figures at its end.
const NAMES: i32 = 222;
const FIGURES: i32 = 40;

/// Where a bar ends at the latest: one that would reach further is cut, and its figure tells.
const MOST: f64 = 1.1;

/// Returns how high groups are below each other, in pixels.
#[must_use]
pub fn height(groups: &[Group]) -> i32 {
    groups.iter().map(|group| HEADING + SPACE + BAR * i32::try_from(group.rows.len()).unwrap_or(i32::MAX)).sum()
}

/// Draws groups below each other into a column.
pub fn draw(page: &Area, groups: &[Group], (left, top): (i32, i32), width: i32) -> Drawn<'static> {
    let mut y = top;
    for group in groups {
        text(page, group.heading, (left, y + HEADING / 2 - 3), 14, INK, HPos::Left)?;
        y += HEADING;
        let from = left + NAMES;
        let reach = f64::from(width - NAMES - FIGURES);
        let x = |ratio: f64| from + (ratio / MOST * reach) as i32;
        let end = y + BAR * i32::try_from(group.rows.len()).unwrap_or(i32::MAX);
        for (mark, words) in [(0.5, "0.5"), (1.0, "Xen")] {
            text(page, words, (x(mark), y - 8), 10, FAINT, HPos::Center)?;
        }
        for mark in [0.25, 0.5, 0.75] {
            page.draw(&PathElement::new(vec![(x(mark), y), (x(mark), end)], LINE))?;
        }
        for (name, ratio) in &group.rows {
            let middle = y + BAR / 2;
            text(page, name, (from - 8, middle), 12, INK, HPos::Right)?;
            let colour = COLOURS.iter().find(|(most, ..)| ratio <= most).map_or(BLACK, |(_, colour, _)| *colour);
            page.draw(&Rectangle::new([(from, y + 3), (x(ratio.min(MOST)), y + BAR - 3)], colour.filled()))?;
            text(page, &format!("{ratio:.2}"), (left + width, middle), 12, FAINT, HPos::Right)?;
            y += BAR;
        }
        // Xen's own, over the bars.
        page.draw(&PathElement::new(vec![(x(1.0), end - BAR * group.rows.len() as i32), (x(1.0), end)], INK))?;
        y += SPACE;
    }
    Ok(())
}
