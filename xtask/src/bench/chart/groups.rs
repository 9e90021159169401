//! Which rows stand together, and under which heading.

use super::super::table::Table;
use super::bars;

/// A heading, and the rows whose names begin with one of these.
type Heading = (&'static str, &'static [&'static str]);

/// The first heading that fits a row counts; what fits none stands under the last.
const HEADINGS: [Heading; 9] = [
    ("Hypercalls and exits", &["hypercall/", "multicall/", "schedule/", "exit/", "interrupt/"]),
    ("Lives of domains", &["life/"]),
    ("Memory and image, in bytes", &["memory/", "image/"]),
    ("Events and timers", &["event/", "timer/"]),
    ("Grants and foreign pages, between two domains", &["pair/map", "pair/copy", "pair/foreign"]),
    ("From vCPU to vCPU", &["pair/", "two-cpus/"]),
    ("Device models and migration", &["ioreq/", "dirty/", "context/"]),
    ("Debian's dom0 and guest as a whole", &["debian/"]),
    ("Other operations", &[""]),
];

/// What is shown as curves.
pub const GROWTH: &str = "growth/";

/// Rows of one kind, with their ratios to Xen's.
pub struct Group {
    pub heading: &'static str,
    pub rows: Vec<(String, f64)>,
}

/// Returns the groups that have rows, in their order.
#[must_use]
pub fn of(table: &Table) -> Vec<Group> {
    let mut groups = HEADINGS.map(|(heading, _)| Group { heading, rows: Vec::new() });
    for line in table.lines.iter().filter(|line| !line.name.starts_with(GROWTH)) {
        let fits = |(_, begins): &Heading| begins.iter().any(|begin| line.name.starts_with(begin));
        let group = HEADINGS.iter().position(fits).and_then(|at| groups.get_mut(at));
        if let (Some(group), Some(ratio)) = (group, line.ratio()) {
            group.rows.push((line.name.clone(), ratio));
        }
    }
    groups.into_iter().filter(|group| !group.rows.is_empty()).collect()
}

/// Parts the groups so that the higher of two columns is as low as can be.
#[must_use]
pub fn in_two_columns(groups: &[Group]) -> (&[Group], &[Group]) {
    let higher = |at: &usize| {
        let (left, right) = groups.split_at(*at);
        bars::height(left).max(bars::height(right))
    };
    groups.split_at((0..=groups.len()).min_by_key(higher).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::super::table::tests::of as table;
    use super::*;

    fn heading(row: &str) -> Option<&'static str> {
        of(&table(row, 10, 5)).first().map(|group| group.heading)
    }

    #[test]
    fn a_row_stands_under_the_first_heading_that_fits() {
        assert_eq!(heading("pair/copy-64"), Some("Grants and foreign pages, between two domains"));
        assert_eq!(heading("pair/ping-pong"), Some("From vCPU to vCPU"));
        assert_eq!(heading("newcomer/a"), Some("Other operations"));
        assert_eq!(heading("growth/domains/version-10"), None);
    }

    #[test]
    fn columns_are_as_even_as_their_groups_allow() {
        let group = |count: usize| Group { heading: "", rows: vec![(String::new(), 1.0); count] };
        let groups = [group(10), group(3), group(4), group(2)];
        let (left, right) = in_two_columns(&groups);
        assert_eq!((left.len(), right.len()), (1, 3));
    }
}
