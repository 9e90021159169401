//! Many small domains, one after another, and what making and ending them takes as there are more: for measuring.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domains::{Config, Hypervisor, Linux, NamedFile, Places, Tools, TscMode, Uuid};
use hypervisor_access::Hypercalls;
use rustix::time::{ClockId, clock_gettime};
use xenstore::Store;

use crate::small_kernel;

/// Of which numbers of domains it is told what one more takes; of each the least of this many in a row.
const TOLD: [u32; 4] = [1, 100, 1000, 2000];
const IN_A_ROW: u32 = 5;
/// How long a domain may take to its first instruction, and how often it is looked whether it has come to it.
const LIMIT: Duration = Duration::from_secs(30);
const LOOKED: Duration = Duration::from_micros(20);
const PAGE: usize = 4096;

/// What something took: by the clock, and of this program's own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Taken {
    clock: Duration,
    own: Duration,
}

/// The time before something.
struct Began(Instant, Duration);

impl Began {
    fn now() -> Self {
        Self(Instant::now(), own())
    }

    fn taken(&self) -> Taken {
        Taken { clock: self.0.elapsed(), own: own().saturating_sub(self.1) }
    }
}

/// Returns the time that the CPU has spent for this program: in it, in the kernel and in the hypervisor.
fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns what is told of the figures of domains from the first on: the least of some at each number, in nanoseconds.
fn told(what: &str, figures: &[Taken]) -> Vec<String> {
    let count = u32::try_from(figures.len()).unwrap_or(u32::MAX);
    let numbers = TOLD.into_iter().filter(|&number| number <= count);
    let line = |number: u32| {
        let end = number.max(IN_A_ROW).min(count) as usize;
        let least = figures.get(end.saturating_sub(IN_A_ROW as usize)..end)?;
        let (clock, own) = (least.iter().map(|taken| taken.clock).min()?, least.iter().map(|taken| taken.own).min()?);
        Some(format!("MANY {what} {number} {} {}", clock.as_nanos(), own.as_nanos()))
    };
    numbers.filter_map(line).collect()
}

fn config(number: u32, memory_mib: u64) -> Result<Config> {
    Ok(Config {
        name: format!("many-{number}"),
        uuid: Uuid::random().context("Linux makes no UUID; mount /proc")?,
        memory_mib,
        vcpus: 1,
        kernel: NamedFile { path: "small".into(), bytes: small_kernel::file() },
        ramdisk: None,
        command_line: String::new(),
        tsc: TscMode::Native,
        disks: Vec::new(),
        cards: Vec::new(),
    })
}

/// Makes a domain, and waits until it has run its first instruction.
fn started(
    hypervisor: &Hypercalls,
    store: &mut Store,
    places: &Places,
    number: u32,
    memory_mib: u64,
) -> Result<(u16, Taken)> {
    let config = config(number, memory_mib)?;
    let began = Began::now();
    let made = Tools { hypervisor, registry: store, host: &Linux, places }.create(&config, false)?;
    let mark = usize::try_from(small_kernel::MARK)?;
    let page = hypervisor.map_foreign(made.domain, &[u64::try_from(mark / PAGE)?])?;
    while page.load_u32(mark % PAGE) == 0 {
        ensure!(began.0.elapsed() < LIMIT, "domain {} has not run within {} s", made.domain, LIMIT.as_secs());
        sleep(LOOKED);
    }
    Ok((made.domain, began.taken()))
}

/// Makes `count` domains of `memory_mib` MiB, and tells what each of some took to its first instruction.
///
/// **Errors:** one cannot be made, or does not run.
pub fn make(hypervisor: &Hypercalls, store: &mut Store, places: &Places, count: u32, memory_mib: u64) -> Result<()> {
    let mut figures = Vec::new();
    for number in 1..=count {
        let outcome = started(hypervisor, store, places, number, memory_mib);
        figures.push(outcome.with_context(|| format!("the domain {number} of {count}"))?.1);
        if number % 100 == 0 {
            println!("{number} made");
        }
    }
    told(&format!("create-{memory_mib}"), &figures).iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Ends the domains that [`make`] made, the last first, and tells what each of some took.
///
/// **Errors:** one cannot be ended.
pub fn end(hypervisor: &Hypercalls, store: &mut Store, places: &Places) -> Result<()> {
    let mut figures = Vec::new();
    let mut found = Hypervisor::domains(hypervisor).context("the hypervisor does not list its domains")?;
    found.reverse();
    for domain in found {
        let id = domain.domain.0;
        let name =
            domains::Registry::read(store, &format!("{}/{id}/name", domains::DOMAINS)).map_err(anyhow::Error::msg)?;
        let Some(name) = name.filter(|name| name.starts_with("many-")) else { continue };
        let began = Began::now();
        domains::destroy(hypervisor, store, places, &name, id)?;
        figures.push(began.taken());
    }
    figures.reverse();
    told("destroy", &figures).iter().for_each(|line| println!("{line}"));
    println!("{} ended", figures.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_some_in_a_row_is_told_at_each_number() {
        let taken = |ns| Taken { clock: Duration::from_nanos(ns), own: Duration::from_nanos(ns / 2) };
        let figures: Vec<Taken> = (1..=120).map(taken).collect();
        assert_eq!(told("x", &figures), ["MANY x 1 1 0", "MANY x 100 96 48"]);
        assert_eq!(told("x", &[]), Vec::<String>::new());
        assert_eq!(told("x", &figures[2..4]), ["MANY x 1 3 1"]);
    }
}
