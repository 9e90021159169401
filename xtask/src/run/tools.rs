//! `tools`: what `xl` says of each of its commands, on real Xen and on Xenolith, compared line by line.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use xenolith_tests::places;

use super::account::{self, Said};
use super::job::{self, Run};
use super::{Dom0, RunArguments, standstill};
use crate::boot::Hypervisor;
use crate::explained;

/// The commands stand in `dom0/root/job/tools`, `others` and `maxmem`.
const JOBS: &str = "daemons+network+disk+tools+others+maxmem";

/// Steps that differ and are meant to, each with the reason.
const EXPLAINED: &str = "tests/explained-xl.toml";

/// What one step said: its lines, and how it came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    lines: Vec<String>,
    end: String,
}

/// The steps of the job by name. Those of the daemons are not compared.
type Transcript = BTreeMap<String, Told>;

/// Runs the commands on both and prints what differs.
///
/// **Errors:** a run did not come to its end, or something differs without a reason that is written down.
pub fn command(arguments: &RunArguments) -> Result<()> {
    let reasons = explained::read(&places::root().join(EXPLAINED))?;
    let dom0 = arguments.dom0.unwrap_or(Dom0::Pv);
    let xen = transcript(&RunArguments { hypervisor: Hypervisor::Xen, dom0: Some(dom0), ..arguments.clone() })?;
    let xenolith = transcript(&RunArguments { hypervisor: Hypervisor::Xenolith, dom0: None, ..arguments.clone() })?;
    let differences = compare(&xen, &xenolith);
    let (meant, faults): (Vec<_>, Vec<_>) =
        differences.iter().partition(|difference| reasons.contains_key(&difference.step));
    for difference in &meant {
        println!("{}: {}", difference.step, reasons.get(&difference.step).map_or("", String::as_str));
    }
    faults.iter().for_each(|difference| print!("{}", difference.shown));
    let stale = reasons.keys().filter(|step| !differences.iter().any(|difference| difference.step == **step));
    let stale: Vec<&str> = stale.map(String::as_str).collect();
    println!("tools: {} commands, {} differ for a reason, {} without one", xen.len(), meant.len(), faults.len());
    if !faults.is_empty() {
        bail!("xl says something else on Xenolith than on Xen");
    }
    if !stale.is_empty() {
        bail!("{EXPLAINED} explains what does not differ: {}", stale.join(", "));
    }
    Ok(())
}

fn transcript(arguments: &RunArguments) -> Result<Transcript> {
    let debian = job::prepare(arguments).map_err(job::spelled)?;
    let mut run = Run::start(arguments, &debian, JOBS, "off")?;
    eprintln!("==> xl's commands on {} (3 to 10 minutes)", arguments.hypervisor.name());
    standstill::jobs_end(&mut run, arguments.hypervisor)?;
    Ok(read(&run.machine.console.text()))
}

/// Reads what each step said from a console.
fn read(console: &str) -> Transcript {
    let mut transcript = Transcript::new();
    let mut lines = Vec::new();
    for line in console.lines() {
        match account::step(line) {
            Some((_, Said::Begun)) => lines.clear(),
            Some((step, said)) if step.starts_with("tools-") => {
                let end = if let Said::Failed(cause) = said { format!("failed: {cause}") } else { "ok".into() };
                transcript.insert(step.to_owned(), Told { lines: std::mem::take(&mut lines), end });
            }
            Some(_) => lines.clear(),
            None => lines.extend(line.strip_prefix("| ").map(|said| said.trim_end().to_owned())),
        }
    }
    transcript
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
}
