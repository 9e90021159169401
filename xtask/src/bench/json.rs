//! All figures as a file for other programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::columns::Column;
use super::rows::{Figure, Run};
use super::table::{Line, Table};

const UNIT: &str = "instructions; bytes in memory/ and image/, lines and uses in code/";

/// Writes `{ "unit", "rows": [{ "name", "exact", "bare", "xen", "xen-spec-ctrl-no", "xenolith", "ratio" }] }`; what
/// could not be taken is null.
///
/// **Errors:** the file cannot be written.
pub fn write(place: &Path, table: &Table) -> Result<()> {
    let rows: Vec<Value> = table.lines.iter().map(row).collect();
    let text = serde_json::to_string_pretty(&json!({ "unit": UNIT, "rows": rows }))?;
    fs::write(place, text + "\n").with_context(|| format!("cannot write {}", place.display()))
}

fn row(line: &Line) -> Value {
    let mut row = Map::new();
    row.insert("name".into(), json!(line.name));
    row.insert("exact".into(), json!(!line.is_about()));
    for column in Column::ALL {
        row.insert(column.name().into(), json!(line.count(column)));
    }
    row.insert("ratio".into(), json!(line.ratio()));
    Value::Object(row)
}

/// Reads what [`write()`] wrote of some machines.
///
/// **Errors:** the file cannot be read, or is no such file.
pub fn read(place: &Path, columns: &[Column]) -> Result<Vec<(Column, Run)>> {
    let text = fs::read_to_string(place).with_context(|| format!("cannot read {}", place.display()))?;
    let all: Value = serde_json::from_str(&text).with_context(|| format!("{} is no JSON", place.display()))?;
    let rows = all.get("rows").and_then(Value::as_array).with_context(|| format!("{} has no rows", place.display()))?;
    Ok(columns.iter().map(|&column| (column, run(rows, column))).collect())
}

fn run(rows: &[Value], column: Column) -> Run {
    let figure = |row: &Value| {
        let name = row.get("name")?.as_str()?.to_owned();
        let count = row.get(column.name())?.as_i64()?;
        let exact = row.get("exact").and_then(Value::as_bool).unwrap_or(true);
        Some((name, if exact { Figure::Exact(count) } else { Figure::About(count) }))
    };
    Run { rows: rows.iter().filter_map(figure).collect(), ..Run::default() }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::of;
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let place = xenolith_tests::places::target().join("bench-json-test.json");
        let table = of("exit/cpuid", 2000, 500);
        write(&place, &table).unwrap();
        let again = Table::new(read(&place, &[Column::XenPlain, Column::Xenolith]).unwrap());
        assert_eq!(again, table);
        assert!(read(&place, &[Column::Xen]).unwrap()[0].1.rows.is_empty());
    }
}
