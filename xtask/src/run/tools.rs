//! `--tools`: what `xl` says of each of its commands, on real Xen and on Xenolith, compared line by line.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::account::{self, Said};
use super::job::{self, Run};
use super::{Dom0, RunArguments};
use crate::boot::Hypervisor;

/// The commands stand in `dom0/root/job/tools`.
const JOBS: &str = "daemons+network+disk+tools";

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
/// **Errors:** a run did not come to its end, or something differs.
pub fn command(arguments: &RunArguments) -> Result<()> {
    let xen = transcript(&RunArguments { hypervisor: Hypervisor::Xen, dom0: Some(Dom0::Pv), ..arguments.clone() })?;
    let xenolith = transcript(&RunArguments { hypervisor: Hypervisor::Xenolith, dom0: None, ..arguments.clone() })?;
    let differences = compare(&xen, &xenolith);
    print!("{}", differences.concat());
    println!("tools: {} commands, {} differ", xen.len(), differences.len());
    if !differences.is_empty() {
        bail!("xl says something else on Xenolith than on Xen");
    }
    Ok(())
}

fn transcript(arguments: &RunArguments) -> Result<Transcript> {
    let debian = job::prepare(arguments).map_err(job::spelled)?;
    let mut run = Run::start(arguments, &debian, JOBS, "off")?;
    eprintln!("==> xl's commands on {} (3 to 10 minutes)", arguments.hypervisor.name());
    run.machine.expect("JOBS END")?;
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

/// Each step that differs, with both sides.
fn compare(xen: &Transcript, xenolith: &Transcript) -> Vec<String> {
    let nothing = Told { lines: Vec::new(), end: "(not reached)".into() };
    let side = |name: &str, told: &Told| {
        let lines: String = told.lines.iter().map(|line| format!("    {name}: {line}\n")).collect();
        format!("{lines}    {name}: [{}]\n", told.end)
    };
    let differing = xen.iter().filter_map(|(step, on_xen)| {
        let on_xenolith = xenolith.get(step).unwrap_or(&nothing);
        (on_xen != on_xenolith)
            .then(|| format!("{step}\n{}{}", side("xen     ", on_xen), side("xenolith", on_xenolith)))
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
        assert_eq!(compare(&read(XEN), &read(XEN)), Vec::<String>::new());
        assert_eq!(compare(&read(XEN), &read(&XEN.replace("tools 1", "tools 2"))).len(), 1);
        assert_eq!(compare(&read(XEN), &read(&XEN.replace("code 1", "code 2"))).len(), 1);
        assert_eq!(compare(&read(XEN), &read("")).len(), 2);
    }
}
