//! Rows that may not grow: how long a lock is held, beside ever more memory or ports.

use super::columns::Column;
use super::table::Table;

/// The families: in each, the rows whose names differ only in the number at the end, in ascending order.
const FAMILIES: [&str; 2] = ["growth/lock/", "growth/lock-idle/"];

/// What the last row of a family may be of the first: what is met by chance differs, and from the first to the last there
/// are five times as many pages, and thousands of times as many ports.
const MOST: f64 = 2.0;

/// Returns what grows on Xenolith, and how far.
#[must_use]
pub fn grown(table: &Table) -> Vec<String> {
    let of_families = |name: &str| {
        let (family, _) = name.rsplit_once('-').filter(|_| FAMILIES.iter().any(|begin| name.starts_with(begin)))?;
        Some(family.to_owned())
    };
    let mut families: Vec<(String, i64, i64)> = Vec::new();
    for line in &table.lines {
        let (Some(family), Some(count)) = (of_families(&line.name), line.count(Column::Xenolith)) else { continue };
        match families.iter_mut().find(|(name, ..)| *name == family) {
            Some((_, _, last)) => *last = count,
            None => families.push((family, count, count)),
        }
    }
    families.retain(|(_, first, last)| *last as f64 > *first as f64 * MOST);
    families.iter().map(|(name, first, last)| format!("{name}: from {first} to {last} instructions")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::super::rows::{Figure, Run};
    use super::*;
    use xenolith_tests::places;

    fn table(family: &str, counts: [i64; 3]) -> Table {
        let row = |(size, count): (u32, i64)| (format!("{family}-{size}"), Figure::Exact(count));
        let rows = [1, 10, 100].into_iter().zip(counts).map(row).collect();
        Table::new(vec![(Column::Xenolith, Run { rows, ..Run::default() })])
    }

    #[test]
    fn a_family_whose_last_row_is_more_than_twice_its_first_fails_by_name() {
        assert_eq!(grown(&table("growth/lock/frames", [1000, 3000, 2000])), Vec::<String>::new());
        let expected = ["growth/lock/frames: from 1000 to 2001 instructions"];
        assert_eq!(grown(&table("growth/lock/frames", [1000, 900, 2001])), expected);
        assert_eq!(grown(&table("growth/lock-idle/frames", [10, 10, 100])).len(), 1);
    }

    #[test]
    fn what_may_grow_is_not_looked_at() {
        assert_eq!(grown(&table("growth/timers/halt-to-upcall", [1, 10, 100])), Vec::<String>::new());
        assert_eq!(grown(&table("growth/lock/unlocked", [100, 10, 1])), Vec::<String>::new());
    }

    #[test]
    fn the_figures_of_the_documents_do_not_grow() {
        let table = page::read(&places::root().join(page::PLACE)).unwrap();
        let there = |family: &&str| table.lines.iter().any(|line| line.name.starts_with(family));
        assert!(FAMILIES.iter().all(there), "a family is missing");
        assert_eq!(grown(&table), Vec::<String>::new());
    }
}
