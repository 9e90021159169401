//! The differences from real Xen that are meant, each with its reason: `tests/explained.toml` for the test kernel's cases,
//! `tests/explained-xl.toml` for what xl says, `tests/explained-libvirt.toml` for what virsh says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Reads the list: under `[explained]`, the name of a case and why it differs.
///
/// **Errors:** the file cannot be read, is not such a list, or gives a reason that says nothing.
pub fn read(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{} is not as it should be", path.display()))
}

fn parse(text: &str) -> Result<BTreeMap<String, String>> {
    let table: toml::Table = text.parse().context("it is no TOML")?;
    let mut reasons = BTreeMap::new();
    for (name, reason) in table.get("explained").and_then(toml::Value::as_table).into_iter().flatten() {
        let Some(reason) = reason.as_str().filter(|reason| reason.trim().len() > 10) else {
            bail!("{name} needs a reason in words");
        };
        reasons.insert(name.clone(), reason.to_owned());
    }
    if let Some(stranger) = table.keys().find(|key| *key != "explained") {
        bail!("only [explained] may stand in it, not {stranger}");
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_read_by_the_names_of_cases() {
        let reasons = parse("[explained]\n\"cpuid.name\" = \"we give our own name\"\n").unwrap();
        assert_eq!(reasons["cpuid.name"], "we give our own name");
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn a_reason_that_says_nothing_is_refused() {
        assert!(parse("[explained]\na = \"\"").is_err());
        assert!(parse("[explained]\na = 1").is_err());
        assert!(parse("[explaned]\na = \"a long enough reason\"").is_err());
    }
}
