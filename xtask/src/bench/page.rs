//! The figures as they stand in the documents, so that their chart can be drawn without a machine.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::columns::Column;
use super::rows::{Figure, Run};
use super::table::Table;

/// The page with the figures, and its chart, from the root of the tree.
pub const PLACE: &str = "docs/performance.md";
pub const CHART: &str = "docs/performance.svg";

/// Reads the rows of the page's table.
///
/// **Errors:** the page cannot be read, or has no such rows.
pub fn read(place: &Path) -> Result<Table> {
    let text = fs::read_to_string(place).with_context(|| format!("cannot read {}", place.display()))?;
    let table = rows(&text);
    if table.lines.is_empty() {
        bail!(
            "{} has no rows of figures: | `operation` | Xen | Xen, spec-ctrl=no | Xenolith | ratio |",
            place.display()
        );
    }
    Ok(table)
}

fn rows(text: &str) -> Table {
    let mut bare = Run::default();
    let mut runs = Column::SHOWN.map(|column| (column, Run::default()));
    for line in text.lines() {
        let Some((name, cells)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |")) else { continue };
        let cells: Vec<&str> = cells.split('|').map(str::trim).collect();
        let figures: Vec<Option<Figure>> = cells.iter().take(runs.len()).map(|cell| figure(cell)).collect();
        let has_ratio = cells.get(runs.len()).is_some_and(|ratio| !ratio.is_empty());
        if !has_ratio && figures.iter().all(Option::is_some) {
            // What the machine alone takes is no hypervisor's, and stands in each column.
            bare.rows.extend(figures.into_iter().flatten().take(1).map(|figure| (name.to_owned(), figure)));
            continue;
        }
        for ((_, run), figure) in runs.iter_mut().zip(figures) {
            run.rows.extend(figure.map(|figure| (name.to_owned(), figure)));
        }
    }
    Table::new(std::iter::once((Column::Bare, bare)).chain(runs).collect())
}

/// Returns a count with commas between its thousands, and a `~` before one that may differ from run to run.
fn figure(cell: &str) -> Option<Figure> {
    let digits = cell.trim_start_matches('~').replace(',', "");
    let count = digits.parse().ok()?;
    Some(if cell.starts_with('~') { Figure::About(count) } else { Figure::Exact(count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_stand_in_the_page() {
        let table = rows(
            "| operation | Xen |\n|---|---:|\n| `a/b` | 5,756 | ~5,000 | 500 | 0.10 |\n| `c` |  |  | 7 |  |\n\
                          | `bare` | 3 | 3 | 3 | |\n",
        );
        let of = |name: &str, column| table.lines.iter().find(|line| line.name == name)?.figure(column).cloned();
        assert_eq!(of("a/b", Column::Xen), Some(Figure::Exact(5756)));
        assert_eq!(of("a/b", Column::XenPlain), Some(Figure::About(5000)));
        assert_eq!(of("a/b", Column::Xenolith), Some(Figure::Exact(500)));
        assert_eq!((of("bare", Column::Bare), of("bare", Column::Xen)), (Some(Figure::Exact(3)), None));
        assert_eq!((of("c", Column::Xen), of("c", Column::Xenolith)), (None, Some(Figure::Exact(7))));
    }
}
