//! All figures as a file for other programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::columns::Column;
use super::table::{Line, Table};

/// Writes `{ "unit", "rows": [{ "name", "exact", "bare", "xen", "xen-spec-ctrl-no", "xenolith", "ratio" }] }`; what
/// could not be taken is null.
///
/// **Errors:** the file cannot be written.
pub fn write(place: &Path, table: &Table) -> Result<()> {
    let rows: Vec<Value> = table.lines.iter().map(row).collect();
    let text = serde_json::to_string_pretty(&json!({ "unit": "instructions", "rows": rows }))?;
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
