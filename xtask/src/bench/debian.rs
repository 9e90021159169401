//! Debian's rows: how long its dom0 takes for what people do, on a machine whose clock counts instructions.

use anyhow::Result;

use super::columns::Column;
use super::rows::Figure;
use crate::progress::Step;
use crate::run;

/// The jobs of dom0, and the steps that become rows.
const JOBS: &str = "daemons+ram+destroy";
const ROWS: [(&str, &str); 4] = [
    ("debian/dom0-to-userspace", "userspace"),
    ("debian/xl-create", "create"),
    ("debian/guest-to-userspace", "guest-userspace"),
    ("debian/xl-destroy", "destroy"),
];

/// How often real Xen may be started: the emulator loses a PVH domain 0 once in a while, by faults of its own.
const TRIES: u32 = 3;

/// The rows of one machine. Dom0 waits for its disk and its timers meanwhile, and its clock is read to a hundredth of a
/// second: so they are not exact.
///
/// **Errors:** a step failed.
pub fn rows(column: Column) -> Result<Vec<(String, Figure)>> {
    let words: &[&str] = match column {
        Column::Bare => return Ok(Vec::new()),
        Column::Xen => &["--hypervisor", "xen", "--dom0", "pvh"],
        Column::XenPlain => &["--hypervisor", "xen", "--dom0", "pvh", "--options", "spec-ctrl=no"],
        Column::Xenolith => &["--no-build"],
    };
    let words: Vec<&str> = words.iter().copied().chain(["--cpus", "1", "--steady"]).collect();
    let mut attempt = 1;
    let steps = loop {
        let step = Step::begin(format!("measuring: {}, Debian's dom0", column.title()));
        let timed = run::timed(&words, JOBS);
        step.end(if timed.is_ok() { "done" } else { "failed" });
        match timed {
            Err(error) if attempt < TRIES && column != Column::Xenolith => {
                eprintln!("    try {attempt} of {TRIES}: {error:#}");
                attempt += 1;
            }
            timed => break timed?,
        }
    };
    let row = |(name, step): &(&str, &str)| {
        let (_, took) = steps.iter().find(|(found, _)| found == step)?;
        Some(((*name).to_owned(), Figure::About(took.as_nanos().try_into().ok()?)))
    };
    Ok(ROWS.iter().filter_map(row).collect())
}
