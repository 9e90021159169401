//! `devices`: the machine's own disks and cards under Debian's drivers in dom0. What is written to a disk is checked
//! after a restart of the machine, what goes through a card is checked on both sides.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use xenolith_tests::places;

use super::exchange::{Exchange, Passed, Way};
use super::job::{self, Board, Run, Stage, UP, stage};
use super::{RunArguments, standstill};

/// A device that dom0 drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// A disk on the board's own controller
    Ahci,
    /// A disk of its own on PCI Express
    Nvme,
    /// A disk by virtio 1.0, which goes through the IOMMU
    VirtioBlk,
    /// Intel's 82574 network card
    E1000e,
    /// A network card by virtio 1.0, which goes through the IOMMU
    VirtioNet,
}

/// How much passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// Of the large file on each disk.
    pub disk_bytes: u64,
    /// Each way through each card.
    pub card_bytes: u64,
}

/// What a user is shown.
const WHOLE: Amounts = Amounts { disk_bytes: 32 << 20, card_bytes: 100 << 20 };
/// What the tests take.
pub const QUICK: Amounts = Amounts { disk_bytes: 8 << 20, card_bytes: 8 << 20 };

/// The most that all of it may take, in seconds.
const LONGEST: u64 = 7200;

/// The size of each disk, in bytes.
const DISK_BYTES: u64 = 256 << 20;

/// What a device is at work on, by the steps of dom0's job `devices`.
struct Work {
    device: Device,
    name: &'static str,
    /// Before the restart; nothing for a card.
    before: &'static [Stage],
    after: &'static [Stage],
}

const WORK: [Work; 5] = [
    Work {
        device: Device::Ahci,
        name: "ahci",
        before: &[stage("AHCI disk: written", "ahci-fill", 10, 1200)],
        after: &[stage("AHCI disk: checked", "ahci-verify", 5, 1200)],
    },
    Work {
        device: Device::Nvme,
        name: "nvme",
        before: &[stage("NVMe disk: written", "nvme-fill", 10, 1200)],
        after: &[stage("NVMe disk: checked", "nvme-verify", 5, 1200)],
    },
    Work {
        device: Device::VirtioBlk,
        name: "virtio-blk",
        before: &[stage("virtio disk: written", "virtio-blk-fill", 10, 1200)],
        after: &[stage("virtio disk: checked", "virtio-blk-verify", 5, 1200)],
    },
    Work {
        device: Device::E1000e,
        name: "e1000e",
        before: &[],
        after: &[stage("e1000e card: got", "e1000e-get", 20, 2400), stage("e1000e card: put", "e1000e-put", 20, 2400)],
    },
    Work {
        device: Device::VirtioNet,
        name: "virtio-net",
        before: &[],
        after: &[
            stage("virtio card: got", "virtio-net-get", 20, 2400),
            stage("virtio card: put", "virtio-net-put", 20, 2400),
        ],
    },
];

impl Work {
    /// Returns the device in the emulator's words.
    fn arguments(&self, image: &Path) -> Vec<String> {
        let drive =
            format!("if=none,id={},format=raw,file={}", self.name, image.display().to_string().replace(',', ",,"));
        // Virtio devices of old go past the IOMMU.
        const VIRTIO: &str = "disable-legacy=on,iommu_platform=on";
        let disk = |device: String| vec!["-drive".to_owned(), drive.clone(), "-device".into(), device];
        let card = |network: &str, device: String| {
            vec!["-netdev".to_owned(), format!("user,id={},net={network}.0/24", self.name), "-device".into(), device]
        };
        match self.device {
            Device::Ahci => disk("ide-hd,drive=ahci".into()),
            Device::Nvme => disk("nvme,drive=nvme,serial=xenolith".into()),
            Device::VirtioBlk => disk(format!("virtio-blk-pci,drive=virtio-blk,{VIRTIO}")),
            Device::E1000e => card("10.0.2", "e1000e,netdev=e1000e".into()),
            Device::VirtioNet => card("10.0.3", format!("virtio-net-pci,netdev=virtio-net,{VIRTIO}")),
        }
    }

    fn is_disk(&self) -> bool {
        !self.before.is_empty()
    }
}

/// Runs `cargo xtask run devices` for each device of `list`, or for all.
///
/// **Errors:** a step failed, or other bytes arrived than were sent.
pub fn command(arguments: &RunArguments, list: &[Device]) -> Result<()> {
    with(arguments, list, WHOLE)
}

/// Runs them with these amounts of data.
///
/// **Errors:** as [`command`].
pub fn with(arguments: &RunArguments, list: &[Device], amounts: Amounts) -> Result<()> {
    let began = Instant::now();
    let chosen: Vec<&Work> = WORK.iter().filter(|work| list.is_empty() || list.contains(&work.device)).collect();
    let debian = job::prepare(arguments).map_err(job::spelled)?;
    let exchange = Exchange::start()?;
    let board = board(&chosen, &exchange, amounts)?;
    // What takes long is bounded step by step.
    let arguments = &RunArguments { timeout: arguments.timeout.max(LONGEST), ..arguments.clone() };
    let mut run = Run::on(&board, arguments, &debian, "devices", "off")?;
    eprintln!("The machine's console is logged in {}", run.machine.log().display());
    go(&mut run, &chosen).map_err(job::spelled)?;
    standstill::jobs_end(&mut run, arguments.hypervisor)?;
    let text = run.machine.console.text();
    let sums = sums(&text);
    for work in &chosen {
        judge(work, &sums, &exchange.passed(), amounts)
            .with_context(|| format!("the whole log: {}", run.machine.log().display()))?;
    }
    run.remember();
    let names: Vec<&str> = chosen.iter().map(|work| work.name).collect();
    println!(
        "devices: ok, {} with {} dom0 vCPUs, {:.0} s",
        names.join(", "),
        arguments.dom0_vcpus(),
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Goes through the stages: boot, the disks, boot again, the disks once more, the cards.
fn go(run: &mut Run, chosen: &[&Work]) -> Result<(), job::Failure> {
    const AGAIN: Stage = stage("restart to dom0's userspace", "userspace", 15, 600);
    run.go_through(&UP[..1])?;
    for work in chosen {
        run.go_through(work.before)?;
    }
    if chosen.iter().any(|work| work.is_disk()) {
        run.go_through(&[AGAIN])?;
    }
    for work in chosen {
        run.go_through(work.after)?;
    }
    Ok(())
}

fn board(chosen: &[&Work], exchange: &Exchange, amounts: Amounts) -> Result<Board> {
    let place = places::target().join("debian/devices");
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let mut devices = Vec::new();
    for work in chosen {
        let image = place.join(format!("{}.img", work.name));
        if work.is_disk() {
            empty_disk(&image)?;
        }
        devices.extend(work.arguments(&image));
    }
    let names: Vec<&str> = chosen.iter().map(|work| work.name).collect();
    let words = format!(
        "devices={} disk-bytes={} card-bytes={} server={}",
        names.join("+"),
        amounts.disk_bytes,
        amounts.card_bytes,
        exchange.port
    );
    Ok(Board { name: "devices", devices, words, restarts: true, cpu: None })
}

fn empty_disk(image: &PathBuf) -> Result<()> {
    let made = File::create(image).and_then(|file| file.set_len(DISK_BYTES));
    made.with_context(|| format!("cannot make {}", image.display()))
}

/// Returns what dom0 said that passed: the lines `SUM name digest`.
fn sums(console: &str) -> Vec<(&str, &str)> {
    let said = console.lines().filter_map(|line| {
        let mut words = line.split_once("SUM ")?.1.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    said.collect()
}

/// Compares what a device passed with what went in.
fn judge(work: &Work, sums: &[(&str, &str)], passed: &[Passed], amounts: Amounts) -> Result<()> {
    let said = |name: &str| -> Vec<&str> { sums.iter().filter(|(of, _)| *of == name).map(|(_, sum)| *sum).collect() };
    if work.is_disk() {
        return match *said(work.name) {
            [before, after] if before == after => Ok(()),
            [before, after] => bail!("{}: {before} was written and {after} found after the restart", work.name),
            _ => bail!("{}: dom0 did not say twice what is on it", work.name),
        };
    }
    for (way, name) in [(Way::Get, format!("{}-get", work.name)), (Way::Put, format!("{}-put", work.name))] {
        let said = said(&name);
        let [sum] = *said else { bail!("{name}: dom0 did not say once what passed") };
        let same = |each: &&Passed| each.way == way && each.sum == sum && each.bytes == amounts.card_bytes;
        passed.iter().find(same).with_context(|| format!("{name}: other bytes arrived than were sent"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMOUNTS: Amounts = Amounts { disk_bytes: 1, card_bytes: 5 };

    fn work(device: Device) -> &'static Work {
        WORK.iter().find(|work| work.device == device).unwrap()
    }

    fn passed(way: Way, bytes: u64, sum: &str) -> Passed {
        Passed { way, bytes, sum: sum.into() }
    }

    #[test]
    fn a_disk_is_good_when_the_same_is_found_after_the_restart() {
        let judged = |text| judge(work(Device::Nvme), &sums(text), &[], AMOUNTS).is_ok();
        assert!(judged("| SUM nvme aa  -\n(XEN) x\n| SUM nvme aa  -\n| SUM ahci bb\n"));
        assert!(!judged("| SUM nvme aa\n| SUM nvme ab\n"));
        assert!(!judged("| SUM nvme aa\n"));
        assert!(!judged(""));
    }

    #[test]
    fn a_card_is_good_when_both_sides_say_the_same_of_all_bytes_both_ways() {
        let text = "| SUM e1000e-get aa  -\n| SUM e1000e-put bb  -\n";
        let judged = |passed: &[Passed]| judge(work(Device::E1000e), &sums(text), passed, AMOUNTS).is_ok();
        assert!(judged(&[passed(Way::Get, 5, "aa"), passed(Way::Put, 5, "bb")]));
        assert!(!judged(&[passed(Way::Get, 5, "aa"), passed(Way::Put, 4, "bb")]));
        assert!(!judged(&[passed(Way::Get, 5, "bb"), passed(Way::Put, 5, "bb")]));
        assert!(!judged(&[passed(Way::Get, 5, "aa"), passed(Way::Get, 5, "bb")]));
    }

    #[test]
    fn a_virtio_device_goes_through_the_iommu() {
        for device in [Device::VirtioBlk, Device::VirtioNet] {
            let words = work(device).arguments(Path::new("x")).join(" ");
            assert!(words.contains("disable-legacy=on,iommu_platform=on"), "{words}");
        }
    }
}
