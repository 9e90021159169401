//! What moves took on real Xen, from a file that is kept.

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::told::{Figures, median};

/// What real Xen took, and how that was measured.
const RECORD: &str = "bench/xen-4.17-migration.toml";

/// Returns what was recorded of these guests, if there is something of each of them.
///
/// **Errors:** the file cannot be read as what it should hold.
pub fn of(guests: &[String]) -> Result<Option<Figures>> {
    let place = places::root().join(RECORD);
    if !place.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&place).with_context(|| format!("cannot read {RECORD}"))?;
    of_text(&text, guests).with_context(|| format!("{RECORD} is not as it should be"))
}

/// Returns the same of a record's text: for each guest a list of milliseconds, and one of bytes in the table `sent`.
fn of_text(text: &str, guests: &[String]) -> Result<Option<Figures>> {
    let record: toml::Table = text.parse().context("it is no TOML")?;
    let nothing = toml::Table::new();
    let sent = record.get("sent").and_then(toml::Value::as_table).unwrap_or(&nothing);
    let Some(downtime) = of_lists(&record, guests)? else { return Ok(None) };
    Ok(Some(Figures { downtime: Some(downtime), sent: of_lists(sent, guests)? }))
}

fn of_lists(table: &toml::Table, guests: &[String]) -> Result<Option<u64>> {
    let mut values = Vec::new();
    for guest in guests {
        let Some(list) = table.get(guest) else { return Ok(None) };
        for value in list.as_array().with_context(|| format!("{guest} is no list"))? {
            let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
            values.push(number.with_context(|| format!("{guest} holds {value:?}"))?);
        }
    }
    Ok(median(values.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> [String; 2] {
        ["pvh", "hvm"].map(str::to_owned)
    }

    #[test]
    fn the_recording_is_that_of_the_guests_that_are_moved() {
        let guests = both();
        let text = "taken = \"once\"\npvh = [30, 10]\nhvm = [40, 20]\n[sent]\npvh = [5]\n";
        let of = |guests: &[String]| of_text(text, guests).unwrap();
        assert_eq!(of(&guests), Some(Figures { downtime: Some(20), sent: None }));
        assert_eq!(of(&guests[..1]), Some(Figures { downtime: Some(10), sent: Some(5) }));
        assert_eq!(of_text("pvh = [30, 10]", &guests).unwrap(), None);
        assert!(of_text("pvh = 5", &guests).is_err());
    }

    #[test]
    fn the_recording_that_is_kept_can_be_read() {
        assert!(of(&both()).unwrap().is_some_and(|figures| figures.downtime.is_some()));
    }
}
