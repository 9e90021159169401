//! Debian's rows: how long its dom0 takes for what people do, and what a byte takes between a guest and dom0, on a machine
//! whose clock counts instructions.

use anyhow::{Result, ensure};

use super::columns::Column;
use super::rows::Figure;
use crate::progress::Step;
use crate::run::{self, Timed};

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

/// The jobs of dom0 that move bytes; each `TRAFFIC` line of theirs becomes a row.
const TRAFFIC_JOBS: &str = "daemons+network+disk+traffic";
const TRAFFIC_GUEST: &str = "traffic";
/// How many of those rows there are: disk and network, each both ways.
const TRAFFIC_ROWS: usize = 4;
const NS_PER_MS: i64 = 1_000_000;

/// Returns the rows of one machine. Dom0 waits for its disk and its timers meanwhile, and its clock is read to a
/// hundredth of a second, a guest's to a thousandth: so they are not exact.
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
    let life = tried(column, "Debian's dom0", || run::timed(&words, JOBS))?;
    let row = |(name, step): &(&str, &str)| {
        let (_, took) = life.steps.iter().find(|(found, _)| found == step)?;
        Some(((*name).to_owned(), Figure::About(took.as_nanos().try_into().ok()?)))
    };
    let traffic = tried(column, "a guest's traffic", || run::timed_with_traffic(&words, TRAFFIC_JOBS))?;
    let moved: Vec<_> = traffic.console.lines().filter_map(per_kib).collect();
    ensure!(moved.len() == TRAFFIC_ROWS, "the guest said {} of {TRAFFIC_ROWS} times what it moved", moved.len());
    Ok(ROWS.iter().filter_map(row).chain(moved).collect())
}

/// Runs a job, which may be tried again on real Xen.
fn tried(column: Column, what: &str, run: impl Fn() -> Result<Timed>) -> Result<Timed> {
    let mut attempt = 1;
    loop {
        let step = Step::begin(format!("measuring: {}, {what}", column.title()));
        let timed = run();
        step.end(if timed.is_ok() { "done" } else { "failed" });
        match timed {
            Err(error) if attempt < TRIES && column != Column::Xenolith => {
                eprintln!("    try {attempt} of {TRIES}: {error:#}");
                attempt += 1;
            }
            timed => return timed,
        }
    }
}

/// Returns the row of a line `TRAFFIC name KiB milliseconds` that a step told: instructions, which are nanoseconds, for
/// a KiB. The guest's own console, which may stop showing in the middle, begins its lines with the guest's name.
fn per_kib(line: &str) -> Option<(String, Figure)> {
    let (before, said) = line.split_once("| TRAFFIC ")?;
    if before.ends_with(TRAFFIC_GUEST) {
        return None;
    }
    let mut words = said.split_whitespace();
    let name = words.next()?;
    let (kib, ms): (i64, i64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((format!("debian/{name}-per-kib"), Figure::About(ms.checked_mul(NS_PER_MS)?.checked_div(kib)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_says_what_it_moved_and_in_what_time() {
        let row = per_kib("(XEN) | TRAFFIC disk-read 2000 500\r");
        assert_eq!(row, Some(("debian/disk-read-per-kib".into(), Figure::About(250_000))));
        assert_eq!(per_kib("| TRAFFIC disk-read 0 500"), None);
        assert_eq!(per_kib("traffic| TRAFFIC disk-read 2000 500\r"), None, "it is told twice");
        assert_eq!(per_kib("| TRAFFIC end"), None);
        assert_eq!(per_kib("| TRAFFIC failed: fio: 12 13"), None);
    }
}
