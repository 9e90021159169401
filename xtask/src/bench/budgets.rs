//! `bench/budgets.toml`: for each row a ceiling, in instructions and as a part of what Xen takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::columns::Column;
use super::table::Table;

/// What a row may be above its ceiling before it counts: compilers change, and layouts with them.
const SLACK: f64 = 1.03;

const HEAD: &str = "\
# What each row of `cargo xtask bench` may take on Xenolith at most: instructions, and the ratio to Xen's with
# spec-ctrl=no. A row that is more than 3 % above fails by name. A change that makes a row cheaper lowers its ceiling:
# cargo xtask bench --lower
";

/// One ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ceiling {
    instructions: i64,
    /// None where there is nothing to compare with.
    ratio: Option<f64>,
}

/// All ceilings, by the rows' names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budgets(BTreeMap<String, Ceiling>);

impl Budgets {
    /// Reads the file; one that is not there has no ceilings.
    ///
    /// **Errors:** it is no such file.
    pub fn read(place: &Path) -> Result<Self> {
        let text = if place.is_file() { fs::read_to_string(place)? } else { String::new() };
        Self::parse(&text).with_context(|| format!("cannot read {}", place.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let rows: toml::Table = text.parse()?;
        let ceiling = |(name, value): (String, toml::Value)| {
            let instructions = value.get("instructions").and_then(toml::Value::as_integer);
            let instructions = instructions.with_context(|| format!("{name} has no instructions"))?;
            Ok((name, Ceiling { instructions, ratio: value.get("ratio").and_then(toml::Value::as_float) }))
        };
        rows.into_iter().map(ceiling).collect::<Result<_>>().map(Self)
    }

    /// Writes the file.
    ///
    /// **Errors:** it cannot be written.
    pub fn write(&self, place: &Path) -> Result<()> {
        fs::write(place, self.spelled()).with_context(|| format!("cannot write {}", place.display()))
    }

    fn spelled(&self) -> String {
        let row = |(name, ceiling): (&String, &Ceiling)| {
            let ratio = ceiling.ratio.map(|ratio| format!(", ratio = {ratio:.3}")).unwrap_or_default();
            format!("\"{name}\" = {{ instructions = {}{ratio} }}\n", ceiling.instructions)
        };
        format!("{HEAD}\n{}", self.0.iter().map(row).collect::<String>())
    }

    /// Lowers each ceiling to what the table holds, and adds what is missing.
    pub fn lower(&mut self, table: &Table) {
        for line in &table.lines {
            let Some(instructions) = line.count(Column::Xenolith) else { continue };
            let ratio = line.ratio().map(|ratio| (ratio * 1000.0).ceil() / 1000.0);
            let ceiling = self.0.entry(line.name.clone()).or_insert(Ceiling { instructions, ratio });
            ceiling.instructions = ceiling.instructions.min(instructions);
            ceiling.ratio = match (ceiling.ratio, ratio) {
                (Some(old), Some(new)) => Some(old.min(new)),
                (old, new) => old.or(new),
            };
        }
    }

    /// Every row above its ceiling, and every row of Xenolith's without one.
    #[must_use]
    pub fn broken(&self, table: &Table) -> Vec<String> {
        table.lines.iter().filter_map(|line| self.fault(line)).collect()
    }

    fn fault(&self, line: &super::table::Line) -> Option<String> {
        let name = &line.name;
        let Some(ceiling) = self.0.get(name) else {
            return line
                .figure(Column::Xenolith)
                .map(|_| format!("{name}: has no ceiling; run with --lower to set it"));
        };
        let Some(count) = line.count(Column::Xenolith) else {
            return Some(format!("{name}: has a ceiling, and could not be taken: {:?}", line.figure(Column::Xenolith)));
        };
        if count as f64 > ceiling.instructions as f64 * SLACK {
            return Some(format!("{name}: {count} instructions, ceiling {}", ceiling.instructions));
        }
        let (ratio, most) = (line.ratio()?, ceiling.ratio?);
        (ratio > most * SLACK).then(|| format!("{name}: {ratio:.3} of Xen's, ceiling {most:.3}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::of;
    use super::*;

    fn budgets() -> Budgets {
        Budgets::parse("\"a\" = { instructions = 100, ratio = 0.5 }\n").unwrap()
    }

    #[test]
    fn a_row_three_percent_worse_passes_and_one_more_fails_by_name() {
        assert_eq!(budgets().broken(&of("a", 1000, 103)), Vec::<String>::new());
        assert_eq!(budgets().broken(&of("a", 1000, 104)), ["a: 104 instructions, ceiling 100"]);
        assert_eq!(budgets().broken(&of("a", 180, 100)), ["a: 0.556 of Xen's, ceiling 0.500"]);
    }

    #[test]
    fn a_row_without_a_ceiling_fails() {
        assert!(budgets().broken(&of("b", 2, 1))[0].contains("no ceiling"));
    }

    #[test]
    fn ceilings_go_down_and_never_up() {
        let mut lowered = budgets();
        lowered.lower(&of("a", 1000, 50));
        lowered.lower(&of("a", 1000, 200));
        assert_eq!(lowered.0["a"], Ceiling { instructions: 50, ratio: Some(0.05) });
        assert_eq!(Budgets::parse(&lowered.spelled()).unwrap(), lowered);
    }
}
