//! What the steps of jobs said on real Xen and on Xenolith, compared line by line, and the reasons for what differs.

use std::collections::BTreeMap;

use anyhow::Result;
use xenolith_tests::places;

use super::account::{self, Said};
use crate::explained;

/// What one step said: its lines, and how it came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    lines: Vec<String>,
    end: String,
}

/// The steps of jobs by name.
pub type Transcript = BTreeMap<String, Told>;

/// How many steps were compared, and what came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub commands: usize,
    /// How many differ for a reason that is written down, and how many without one.
    pub meant: usize,
    pub faults: usize,
    /// What is explained and does not differ.
    pub stale: Vec<String>,
}

/// Reads from a console what each step said whose name begins with `prefix`. The others, such as those of daemons, are not
/// compared.
#[must_use]
pub fn read(console: &str, prefix: &str) -> Transcript {
    let mut transcript = Transcript::new();
    let mut lines = Vec::new();
    for line in console.lines() {
        match account::step(line) {
            Some((_, Said::Begun)) => lines.clear(),
            Some((step, said)) if step.starts_with(prefix) => {
                let end = if let Said::Failed(cause) = said { format!("failed: {cause}") } else { "ok".into() };
                transcript.insert(step.to_owned(), Told { lines: std::mem::take(&mut lines), end });
            }
            Some(_) => lines.clear(),
            None => lines.extend(line.strip_prefix("| ").map(|said| said.trim_end().to_owned())),
        }
    }
    transcript
}

/// Prints what differs, and returns how much does; `explained` names the file of reasons in the tree.
///
/// **Errors:** that file cannot be read as what it should hold.
pub fn judge(xen: &Transcript, xenolith: &Transcript, explained: &str) -> Result<Outcome> {
    let reasons = explained::read(&places::root().join(explained))?;
    let differences = compare(xen, xenolith);
    let (meant, faults): (Vec<_>, Vec<_>) =
        differences.iter().partition(|difference| reasons.contains_key(&difference.step));
    for difference in &meant {
        println!("{}: {}", difference.step, reasons.get(&difference.step).map_or("", String::as_str));
    }
    faults.iter().for_each(|difference| print!("{}", difference.shown));
    let stale = reasons.keys().filter(|step| !differences.iter().any(|difference| difference.step == **step));
    let stale = stale.cloned().collect();
    Ok(Outcome { commands: xen.len(), meant: meant.len(), faults: faults.len(), stale })
}

/// A step that differs, and both sides of it.
struct Difference {
    step: String,
    shown: String,
}

/// Returns each step that differs.
fn compare(xen: &Transcript, xenolith: &Transcript) -> Vec<Difference> {
    let nothing = Told { lines: Vec::new(), end: "(not reached)".into() };
    let side = |name: &str, told: &Told| {
        let lines: String = told.lines.iter().map(|line| format!("    {name}: {line}\n")).collect();
        format!("{lines}    {name}: [{}]\n", told.end)
    };
    let differing = xen.iter().filter_map(|(step, on_xen)| {
        let on_xenolith = xenolith.get(step).unwrap_or(&nothing);
        let shown = || format!("{step}\n{}{}", side("xen     ", on_xen), side("xenolith", on_xenolith));
        (on_xen != on_xenolith).then(|| Difference { step: step.clone(), shown: shown() })
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const XEN: &str = "STEP xenstored ok 1.0\nSTEP tools-list begin\n| Name ID\n(XEN) noise\n| tools 1\nSTEP tools-list ok 0.5\n\
                       STEP tools-gone begin\nSTEP tools-gone failed 9.0 code 1\n";

    fn read(console: &str) -> Transcript {
        super::read(console, "tools-")
    }

    #[test]
    fn what_each_command_said_is_read_among_other_lines() {
        let read = read(XEN);
        assert_eq!(read["tools-list"], Told { lines: vec!["Name ID".into(), "tools 1".into()], end: "ok".into() });
        assert_eq!(read["tools-gone"].end, "failed: code 1");
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn another_word_another_end_and_a_missing_command_differ() {
        assert_eq!(compare(&read(XEN), &read(XEN)).len(), 0);
        assert_eq!(compare(&read(XEN), &read(&XEN.replace("tools 1", "tools 2"))).len(), 1);
        assert_eq!(compare(&read(XEN), &read(&XEN.replace("code 1", "code 2"))).len(), 1);
        assert_eq!(compare(&read(XEN), &read("")).len(), 2);
    }

    #[test]
    fn what_differs_without_a_reason_is_a_fault_and_a_reason_for_nothing_is_stale() {
        let outcome = judge(&read(XEN), &read(&XEN.replace("tools 1", "tools 2")), "tests/explained-xl.toml").unwrap();
        assert_eq!((outcome.commands, outcome.meant, outcome.faults), (2, 0, 1));
        assert!(outcome.stale.iter().any(|step| step == "tools-cpupool-list"));
    }
}
