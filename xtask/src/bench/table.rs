//! The rows of all machines side by side.

use super::columns::Column;
use super::rows::{Figure, Run};

/// One operation on each machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub name: String,
    cells: Vec<(Column, Figure)>,
}

impl Line {
    /// Returns what it came to on one machine.
    #[must_use]
    pub fn figure(&self, column: Column) -> Option<&Figure> {
        self.cells.iter().find(|(of, _)| *of == column).map(|(_, figure)| figure)
    }

    /// Returns that figure as a count.
    #[must_use]
    pub fn count(&self, column: Column) -> Option<i64> {
        self.figure(column).and_then(Figure::count)
    }

    /// Returns Xenolith's figure divided by that of Xen without its mitigations of speculative execution.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (xen, own) = (self.count(Column::XenPlain)?, self.count(Column::Xenolith)?);
        (xen > 0 && own > 0).then(|| own as f64 / xen as f64)
    }

    /// Returns whether a figure may differ from run to run.
    #[must_use]
    pub fn is_about(&self) -> bool {
        self.cells.iter().any(|(_, figure)| matches!(figure, Figure::About(_)))
    }
}

/// All operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub lines: Vec<Line>,
    /// What made Xenolith's image, in its own words.
    pub compiler: Option<String>,
}

impl Table {
    /// Puts the runs side by side, in the order in which rows first come.
    #[must_use]
    pub fn new(runs: Vec<(Column, Run)>) -> Self {
        let mut table = Self::default();
        for (column, run) in runs {
            if column == Column::Xenolith {
                table.compiler = run.compiler;
            }
            for (name, figure) in run.rows {
                match table.lines.iter_mut().find(|line| line.name == name) {
                    Some(line) => line.cells.push((column, figure)),
                    None => table.lines.push(Line { name, cells: vec![(column, figure)] }),
                }
            }
        }
        table
    }

    /// Removes the rows that were recorded of Xen and not asked for now.
    #[must_use]
    pub fn without_absent(mut self) -> Self {
        self.lines.retain(|line| line.figure(Column::Xenolith).or(line.figure(Column::Bare)).is_some());
        self
    }

    /// Formats the table as text, aligned.
    #[must_use]
    pub fn shown(&self, columns: &[Column]) -> String {
        let titles = columns.iter().map(|column| column.title().to_owned());
        let head: Vec<String> =
            std::iter::once("instructions".to_owned()).chain(titles).chain(["ratio".to_owned()]).collect();
        let rows = self.lines.iter().map(|line| {
            // What the machine alone takes is the same on each.
            let cells = columns.iter().map(|&column| match line.figure(column).or(line.figure(Column::Bare)) {
                Some(Figure::Exact(count)) => count.to_string(),
                Some(Figure::About(count)) => format!("~{count}"),
                Some(Figure::None(why)) => format!("({why})"),
                None => String::new(),
            });
            let ratio = line.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
            std::iter::once(line.name.clone()).chain(cells).chain([ratio]).collect()
        });
        aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    }

    /// Returns how many rows have a ratio, how many are above Xen's, and the geometric mean of all ratios.
    #[must_use]
    pub fn summary(&self) -> String {
        let ratios: Vec<f64> = self.lines.iter().filter_map(Line::ratio).collect();
        let above = ratios.iter().filter(|ratio| **ratio > 1.0).count();
        if ratios.is_empty() {
            return format!("bench: {} rows, not compared with Xen", self.lines.len());
        }
        let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
        format!("bench: {} rows, {above} above Xen, geometric mean {mean:.3}", self.lines.len())
    }

    /// Returns every figure that is to be exact and is another in `again`.
    #[must_use]
    pub fn differences(&self, again: &Self) -> Vec<String> {
        let pairs =
            self.lines.iter().filter_map(|line| Some((line, again.lines.iter().find(|l| l.name == line.name)?)));
        pairs
            .flat_map(|(line, other)| {
                line.cells.iter().filter(|(_, figure)| matches!(figure, Figure::Exact(_))).filter_map(
                    |(column, figure)| {
                        let second = other.figure(*column)?;
                        (second != figure)
                            .then(|| format!("{} on {}: {figure:?}, then {second:?}", line.name, column.title()))
                    },
                )
            })
            .collect()
    }
}

/// Returns the first column to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Makes a table of one row.
    pub fn of(name: &str, xen: i64, own: i64) -> Table {
        let run = |count| Run { rows: vec![(name.to_owned(), Figure::Exact(count))], ..Run::default() };
        Table::new(vec![(Column::XenPlain, run(xen)), (Column::Xenolith, run(own))])
    }

    #[test]
    fn the_ratio_is_xenoliths_part_of_xens() {
        let table = of("exit/cpuid", 2000, 500);
        assert_eq!(table.lines[0].ratio(), Some(0.25));
        assert_eq!(table.summary(), "bench: 1 rows, 0 above Xen, geometric mean 0.250");
    }

    #[test]
    fn a_row_without_a_figure_has_no_ratio_and_says_why() {
        let missing = Run { rows: vec![("a".into(), Figure::None("result -38".into()))], ..Run::default() };
        let table = Table::new(vec![(Column::XenPlain, missing)]);
        assert_eq!(table.lines[0].ratio(), None);
        assert!(table.shown(&Column::ALL).contains("(result -38)"));
    }

    #[test]
    fn figures_that_change_are_named_unless_they_are_said_to() {
        assert_eq!(of("a", 10, 5).differences(&of("a", 10, 5)), Vec::<String>::new());
        assert_eq!(of("a", 10, 5).differences(&of("a", 10, 6)).len(), 1);
        let about = |count| Run { rows: vec![("a".into(), Figure::About(count))], ..Run::default() };
        let table = |count| Table::new(vec![(Column::Xenolith, about(count))]);
        assert!(table(1).differences(&table(2)).is_empty());
    }
}
