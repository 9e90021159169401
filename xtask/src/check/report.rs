//! The size of each crate in figures: lines of code and of comment, unsafe blocks, the largest file.

use super::source::Source;
use super::tree::Tree;
use super::unsafe_places;

/// Files want to stay below this many lines.
const LARGE: usize = 400;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Figures {
    name: String,
    files: usize,
    code: usize,
    comment: usize,
    unsafe_blocks: usize,
    largest: usize,
}

impl Figures {
    fn add(&mut self, source: &Source) {
        self.files += 1;
        self.code += source.lines.iter().filter(|line| line.has_code()).count();
        self.comment += source.lines.iter().filter(|line| line.is_comment()).count();
        self.unsafe_blocks += source.lines.iter().map(|line| unsafe_places::blocks(&line.code)).sum::<usize>();
        self.largest = self.largest.max(source.lines.len());
    }

    fn row(&self) -> [String; 7] {
        let share = (self.comment * 100).checked_div(self.code + self.comment).unwrap_or(0);
        [
            self.name.clone(),
            self.files.to_string(),
            self.code.to_string(),
            self.comment.to_string(),
            format!("{share} %"),
            self.unsafe_blocks.to_string(),
            self.largest.to_string(),
        ]
    }
}

/// Returns the table, and after it the files that are too large.
#[must_use]
pub fn report(tree: &Tree) -> String {
    let mut all = Figures { name: "all".into(), ..Figures::default() };
    let mut rows = vec![["crate", "files", "code", "comment", "share", "unsafe", "largest"].map(str::to_owned)];
    for member in &tree.members {
        let mut figures = Figures { name: member.name.clone(), ..Figures::default() };
        for source in tree.sources.iter().filter(|source| tree.owner(source) == Some(member)) {
            figures.add(source);
            all.add(source);
        }
        rows.push(figures.row());
    }
    rows.push(all.row());
    let large = tree.sources.iter().filter(|source| source.lines.len() > LARGE);
    let notes: String = large
        .map(|source| format!("over {LARGE} lines: {} ({})\n", source.path.display(), source.lines.len()))
        .collect();
    format!("{}{notes}", aligned(&rows))
}

/// Returns the first column to the left, the figures to the right.
fn aligned(rows: &[[String; 7]]) -> String {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comment_and_unsafe_blocks_are_told_apart() {
        let mut figures = Figures::default();
        figures.add(&Source::new("a.rs", "// why\nfn f() { // because\n    unsafe { g() }\n}\n"));
        assert_eq!((figures.code, figures.comment, figures.unsafe_blocks), (3, 1, 1));
    }

    #[test]
    fn columns_line_up() {
        let row = |name: &str, figure: &str| {
            let mut row = [""; 7].map(str::to_owned);
            row[0] = name.into();
            row[1] = figure.into();
            row
        };
        let text = aligned(&[row("a", "100"), row("long", "1")]);
        let ends: Vec<usize> = text.lines().map(|line| line.trim_end().len()).collect();
        assert_eq!(ends[0], ends[1], "{text}");
    }
}
