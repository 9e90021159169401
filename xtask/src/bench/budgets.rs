//! `bench/budgets.toml`: for each row a ceiling, in instructions and as a part of what Xen takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::columns::Column;
use super::table::{Line, Table};

/// What a row may be above its ceiling in an image of the compiler that made the one of the ceilings: the same code
/// takes the same instructions there, and a change elsewhere moves what is inlined by a few.
const SLACK: f64 = 1.03;
/// The same in an image of another compiler, which inlines other functions: rows were seen to move by 1 to 8 %.
const SLACK_OF_OTHERS: f64 = 1.12;
/// The same of a row that is not exact.
const SLACK_ABOUT: f64 = 1.25;

/// Rows that count what there is, and not what it costs.
const WITHOUT_CEILING: &str = "code/";

const HEAD: &str = "\
# What each row of `cargo xtask bench` may take on Xenolith at most: instructions, and the ratio to Xen's with
# spec-ctrl=no. A row that is more than 3 % above fails by name; in an image of another compiler than this one, 12 %. A
# change that makes a row cheaper lowers its ceiling:
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
pub struct Budgets {
    /// What made the image that the ceilings were set by.
    compiler: Option<String>,
    rows: BTreeMap<String, Ceiling>,
}

impl Budgets {
    /// Reads the file; one that is not there has no ceilings.
    ///
    /// **Errors:** it is no such file.
    pub fn read(place: &Path) -> Result<Self> {
        let text = if place.is_file() { fs::read_to_string(place)? } else { String::new() };
        Self::parse(&text).with_context(|| format!("cannot read {}", place.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut rows: toml::Table = text.parse()?;
        let compiler = rows.remove("compiler").and_then(|name| name.as_str().map(str::to_owned));
        let ceiling = |(name, value): (String, toml::Value)| {
            let instructions = value.get("instructions").and_then(toml::Value::as_integer);
            let instructions = instructions.with_context(|| format!("{name} has no instructions"))?;
            Ok((name, Ceiling { instructions, ratio: value.get("ratio").and_then(toml::Value::as_float) }))
        };
        let rows = rows.into_iter().map(ceiling).collect::<Result<_>>()?;
        Ok(Self { compiler, rows })
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
        let compiler = self.compiler.as_ref().map(|name| format!("compiler = \"{name}\"\n")).unwrap_or_default();
        format!("{HEAD}{compiler}\n{}", self.rows.iter().map(row).collect::<String>())
    }

    /// Lowers each ceiling to what the table holds, and adds what is missing.
    ///
    /// **Errors:** the image is another compiler's than that of the ceilings, which are then taken out of the file first.
    pub fn lower(&mut self, table: &Table) -> Result<()> {
        if self.compiler.is_none() {
            self.compiler.clone_from(&table.compiler);
        }
        if !self.is_of(table) {
            bail!(
                "the ceilings are those of {:?}, and the image was made by {:?}: to go over to that, take all rows and \
                 the compiler out of the file and run this for all rows",
                self.compiler,
                table.compiler
            );
        }
        for line in table.lines.iter().filter(|line| has_ceiling(line)) {
            let Some(instructions) = line.count(Column::Xenolith) else { continue };
            let ratio = line.ratio().map(|ratio| (ratio * 1000.0).ceil() / 1000.0);
            let ceiling = self.rows.entry(line.name.clone()).or_insert(Ceiling { instructions, ratio });
            ceiling.instructions = ceiling.instructions.min(instructions);
            ceiling.ratio = match (ceiling.ratio, ratio) {
                (Some(old), Some(new)) => Some(old.min(new)),
                (old, new) => old.or(new),
            };
        }
        Ok(())
    }

    /// Returns whether the image of the table was made by the compiler of the ceilings.
    fn is_of(&self, table: &Table) -> bool {
        self.compiler == table.compiler
    }

    /// Returns every row above its ceiling, and every row of Xenolith's without one.
    #[must_use]
    pub fn broken(&self, table: &Table) -> Vec<String> {
        let slack = if self.is_of(table) { SLACK } else { SLACK_OF_OTHERS };
        table.lines.iter().filter(|line| has_ceiling(line)).filter_map(|line| self.fault(line, slack)).collect()
    }

    fn fault(&self, line: &Line, slack: f64) -> Option<String> {
        let name = &line.name;
        let slack = if line.is_about() { SLACK_ABOUT } else { slack };
        let Some(ceiling) = self.rows.get(name) else {
            return line
                .figure(Column::Xenolith)
                .map(|_| format!("{name}: has no ceiling; run with --lower to set it"));
        };
        let Some(count) = line.count(Column::Xenolith) else {
            return Some(format!("{name}: has a ceiling, and could not be taken: {:?}", line.figure(Column::Xenolith)));
        };
        if count as f64 > ceiling.instructions as f64 * slack {
            return Some(format!("{name}: {count} instructions, ceiling {}", ceiling.instructions));
        }
        let (ratio, most) = (line.ratio()?, ceiling.ratio?);
        (ratio > most * slack).then(|| format!("{name}: {ratio:.3} of Xen's, ceiling {most:.3}"))
    }
}

fn has_ceiling(line: &Line) -> bool {
    !line.name.starts_with(WITHOUT_CEILING)
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
    fn an_image_of_another_compiler_may_take_a_little_more_and_lowers_nothing() {
        let mut others = of("a", 1000, 112);
        others.compiler = Some("rustc 2".into());
        assert_eq!(budgets().broken(&others), Vec::<String>::new());
        let mut kept = Budgets { compiler: Some("rustc 1".into()), ..budgets() };
        assert!(kept.lower(&others).is_err());
        others.lines.clone_from(&of("a", 1000, 113).lines);
        assert_eq!(kept.broken(&others), ["a: 113 instructions, ceiling 100"]);
    }

    #[test]
    fn a_row_without_a_ceiling_fails_unless_it_only_counts_what_there_is() {
        assert!(budgets().broken(&of("b", 2, 1))[0].contains("no ceiling"));
        assert_eq!(budgets().broken(&of("code/b", 2, 1)), Vec::<String>::new());
    }

    #[test]
    fn ceilings_go_down_and_never_up() {
        let mut lowered = budgets();
        lowered.compiler = Some("rustc 1".into());
        let table = |own| Table { compiler: Some("rustc 1".into()), ..of("a", 1000, own) };
        lowered.lower(&table(50)).unwrap();
        lowered.lower(&table(200)).unwrap();
        assert_eq!(lowered.rows["a"], Ceiling { instructions: 50, ratio: Some(0.05) });
        assert_eq!(Budgets::parse(&lowered.spelled()).unwrap(), lowered);
    }
}
