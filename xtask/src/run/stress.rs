//! `stress`: two guests under load, and whether anything was lost.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::job::{self, Board, Run, Stage, UP, stage};
use super::{RunArguments, dmesg, standstill};
use crate::debian;

const JOBS: &str = "daemons+network+disk+stress";

/// How long the load itself may take besides its minutes, in seconds: dom0 ends it when nothing comes of it.
const LONGEST: u64 = 100_000;

const GUESTS: [Stage; 2] =
    [stage("bridge", "bridge", 3, 400), stage("two guests to their userspace", "load2-userspace", 30, 2400)];
const ENDS: [Stage; 3] = [
    stage("end of the guests", "stress-end", 20, 3000),
    stage("nothing lost in the guests", "stress-guests", 1, 100),
    stage("what dom0's kernel said meanwhile", "stress-dom0", 1, 100),
];

/// What rounds the guests do, and what each moves, in MiB.
const ROUNDS: [(&str, u64); 3] = [("disk", 8), ("fetch", 4), ("iperf", 8)];

/// Keeps two guests under load for this number of minutes of dom0's clock.
///
/// **Errors:** a byte was lost, a kernel warned, nothing came of the load, or something could not be made.
pub fn command(arguments: &RunArguments, minutes: u64) -> Result<()> {
    let began = Instant::now();
    let debian = job::prepare(arguments).map_err(job::spelled)?;
    let disk = debian::load_disk()?;
    let board = Board {
        name: "stress",
        devices: devices(&disk, "nvme,drive=second,serial=xenolith"),
        words: format!("minutes={minutes}"),
        ..Board::default()
    };
    let timeout = arguments.timeout.max(LONGEST);
    let arguments = RunArguments { timeout, ..arguments.clone() };
    let mut run = Run::on(&board, &arguments, &debian, JOBS, "off")?;
    eprintln!("The machine's console is logged in {}", run.machine.log().display());
    let load = Stage { usual: minutes.saturating_mul(60), ..stage("the load", "stress-load", 0, LONGEST) };
    let done = run
        .go_through(&UP)
        .and_then(|()| run.go_through(&GUESTS))
        .and_then(|()| run.go_through(&[load]))
        .and_then(|()| run.go_through(&ENDS));
    let text = run.machine.console.text();
    let counted = ROUNDS.map(|(what, mib)| {
        let count = rounds(&text, what);
        format!("{count} rounds of {what} ({} MiB)", count.saturating_mul(mib))
    });
    println!("{}", counted.join(", "));
    done.map_err(job::spelled)?;
    standstill::jobs_end(&mut run, arguments.hypervisor).context("dom0 did not come to its end")?;
    let warnings = unexplained(&run.machine.console.text())?;
    if !warnings.is_empty() {
        bail!("a kernel warned:\n{}\nthe whole log: {}", warnings.join("\n"), run.machine.log().display());
    }
    if let Some(line) = complaint(&run.machine.console.text()) {
        bail!("the hypervisor says: {line}; the whole log: {}", run.machine.log().display());
    }
    run.remember();
    let vcpus = arguments.dom0_vcpus();
    println!(
        "stress: ok, {minutes} minutes of two guests at {vcpus} dom0 vCPUs, nothing lost, no warning, {:.0} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Returns the emulator's words for two disks like this one, the second by a device of the kind `second`, and for a card
/// on which dom0's bridge is made. What is written to the disks is dropped at the end.
pub fn devices(disk: &Path, second: &str) -> Vec<String> {
    let drive = |id: &str| {
        format!("if=none,id={id},format=raw,snapshot=on,file={}", disk.display().to_string().replace(',', ",,"))
    };
    let words = [
        ["-netdev", "user,id=network"].map(str::to_owned),
        ["-device", "e1000e,netdev=network"].map(str::to_owned),
        ["-drive".into(), drive("first")],
        ["-device", "ide-hd,drive=first"].map(str::to_owned),
        ["-drive".into(), drive("second")],
        ["-device", second].map(str::to_owned),
    ];
    words.into_iter().flatten().collect()
}

/// Returns how many rounds of a kind came out well in both guests.
fn rounds(console: &str, what: &str) -> u64 {
    let well = |line: &&str| {
        let said = line.split_once("| LOAD ").map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
        matches!(said.as_deref(), Some([kind, _, "ok"]) if *kind == what)
    };
    console.lines().filter(well).count() as u64
}

/// Returns what the guests' kernels and dom0's warned of during the load, but for what `tests/explained-dmesg.toml`
/// gives a reason for.
fn unexplained(console: &str) -> Result<Vec<String>> {
    let reasons = dmesg::reasons()?;
    let (_, during) = console.rsplit_once("STEP stress-dom0 begin").context("dom0 did not say what its kernel said")?;
    let of_guests = console.lines().filter_map(|line| line.split_once("| LOAD warns: ")).map(|(who, said)| {
        let words = said.split_once("] ").map_or(said, |(_, words)| words);
        format!("{who}: {words}")
    });
    let (explained, other): (Vec<String>, Vec<String>) =
        of_guests.chain(dmesg::lines(during)).partition(|line| dmesg::is_explained(line, &reasons));
    for line in explained {
        println!("explained: {line}");
    }
    Ok(other)
}

/// Returns a line of the hypervisor's that speaks of a fault. What it quotes are others' words, as `panic=5` for dom0's
/// kernel.
fn complaint(console: &str) -> Option<&str> {
    const WORDS: [&str; 6] = ["crash", "fault", "panic", "BadAccess", "refused", "lost"];
    let speaks = |line: &str| line.split('"').step_by(2).any(|own| WORDS.iter().any(|word| own.contains(word)));
    console.lines().find(|line| line.contains("(XEN)") && speaks(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "load1| LOAD disk 1 ok\nload2| LOAD disk 1 ok\nload1| LOAD disk 2 FAILED: x\n\
                           load1| LOAD iperf 1 ok\n(XEN) Brought up 2 CPUs\n";

    #[test]
    fn rounds_that_came_out_well_are_counted_over_both_guests() {
        assert_eq!(["disk", "fetch", "iperf"].map(|what| rounds(CONSOLE, what)), [2, 0, 1]);
    }

    #[test]
    fn warnings_of_the_guests_count_and_those_of_dom0_from_the_load_on() {
        let text = "| <3>[ 1.0] early\nSTEP stress-dom0 begin\n| <3>[ 9.0] a disk broke\n| <6>[ 9.1] fine\n";
        assert_eq!(unexplained(text).unwrap(), ["a disk broke"]);
        assert!(unexplained("").is_err());
        let guests = format!("load1| LOAD warns: [ 7.0] BUG: a stall\n{text}");
        assert_eq!(unexplained(&guests).unwrap(), ["load1: BUG: a stall", "a disk broke"]);
    }

    #[test]
    fn a_fault_that_the_hypervisor_speaks_of_is_found() {
        assert_eq!(complaint(CONSOLE), None);
        assert_eq!(complaint("(XEN) module 0: [0x3a7000, 0xb847c0) \"console=hvc0 panic=5\"\n"), None);
        assert!(complaint("load1| a fault of mine\n(XEN) d1 crashed\n").unwrap().contains("d1"));
    }
}
