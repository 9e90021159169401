//! Where the instructions of one operation go: a trace of every instruction, told by function.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xenolith_tests::{Machine, places};

use super::columns::Column;
use crate::build;
use crate::progress::Step;
use crate::setup;

/// How long the trace is taken, and how long the operation runs before.
const TRACED: Duration = Duration::from_secs(2);
const WARMED: Duration = Duration::from_secs(1);

/// Addresses from here on are the hypervisor's.
const HYPERVISOR: u64 = 1 << 47;

/// Runs a row for ever, traces it for a moment, and prints its functions.
///
/// **Errors:** the machine does not come to the row, or the trace holds no whole operation.
pub fn command(row: &str, column: Column) -> Result<()> {
    setup::ensure(&[&setup::EMULATOR])?;
    fs::create_dir_all(places::logs())?;
    let (socket, trace) = (places::logs().join("bench-monitor"), places::logs().join("bench-profile.trace"));
    let _ = fs::remove_file(&socket);
    let mut spec = column.spec(&format!("profile={row} only={row}"))?;
    let monitor = format!("socket,id=monitor,path={},server=on,wait=off", socket.display());
    let more = ["-chardev", &monitor, "-mon", "chardev=monitor,mode=readline", "-D", &trace.display().to_string()];
    spec.extra.extend(more.map(str::to_owned));
    let step = Step::begin(format!("tracing {row} on {}", column.title()));
    let mut machine = Machine::start(&spec)?;
    machine.expect("BENCH PROFILE").context("there is no such row, or it could not be taken")?;
    std::thread::sleep(WARMED);
    let mut monitor = Monitor::connect(&socket)?;
    for command in ["stop", "singlestep on", "log exec,nochain", "cont"] {
        monitor.say(command)?;
    }
    std::thread::sleep(TRACED);
    monitor.say("stop")?;
    machine.stop();
    step.end("done");
    let text = fs::read_to_string(&trace).with_context(|| format!("no trace in {}", trace.display()))?;
    let addresses: Vec<u64> = text.lines().filter_map(address).collect();
    let Some(operation) = shortest_round(&addresses) else {
        bail!("the trace holds no whole operation: {}", trace.display());
    };
    print!("{}", told(operation, column)?);
    Ok(())
}

/// The emulator's monitor.
struct Monitor(UnixStream);

impl Monitor {
    fn connect(socket: &PathBuf) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("the emulator's monitor does not answer")?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut monitor = Self(stream);
        monitor.prompt()?;
        Ok(monitor)
    }

    fn say(&mut self, command: &str) -> Result<()> {
        self.0.write_all(format!("{command}\n").as_bytes())?;
        self.prompt()
    }

    /// Reads until the monitor waits for a command.
    fn prompt(&mut self) -> Result<()> {
        let mut said = Vec::new();
        let mut bytes = [0; 4096];
        while !said.ends_with(b"(qemu) ") {
            match self.0.read(&mut bytes)? {
                0 => bail!("the emulator's monitor closed"),
                count => said.extend_from_slice(bytes.get(..count).unwrap_or_default()),
            }
        }
        Ok(())
    }
}

/// Returns the address in a line such as `Trace 0: 0x7f1 [00000000/ffff82d0/0040/ff0200] name`.
fn address(line: &str) -> Option<u64> {
    let (_, rest) = line.strip_prefix("Trace ")?.split_once('[')?;
    u64::from_str_radix(rest.split('/').nth(1)?, 16).ok()
}

/// Returns the shortest stretch of the trace from one round of the guest's loop to the next.
fn shortest_round(addresses: &[u64]) -> Option<&[u64]> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for address in addresses.iter().filter(|address| **address < HYPERVISOR) {
        *counts.entry(*address).or_default() += 1;
    }
    // Most of the guest's instructions run once in a round.
    let mut frequent: BTreeMap<usize, usize> = BTreeMap::new();
    counts.values().filter(|count| **count > 2).for_each(|count| *frequent.entry(*count).or_default() += 1);
    let (usual, _) = frequent.into_iter().max_by_key(|(_, addresses)| *addresses)?;
    let (mark, _) = counts.into_iter().find(|(_, count)| *count == usual)?;
    let marks: Vec<usize> = addresses.iter().enumerate().filter(|(_, a)| **a == mark).map(|(at, _)| at).collect();
    marks.windows(2).filter_map(|pair| addresses.get(*pair.first()?..*pair.last()?)).min_by_key(|round| round.len())
}

/// Returns the functions by how many instructions they take themselves, inlined ones apart.
fn told(operation: &[u64], column: Column) -> Result<String> {
    let guest = operation.iter().filter(|address| **address < HYPERVISOR).count();
    let mut text = format!("{} instructions, {guest} of them the guest's\n", operation.len());
    if column != Column::Xenolith {
        return Ok(text);
    }
    let image = build::linked_hypervisor();
    let names = Names::read(&image)?;
    let mut functions: BTreeMap<String, usize> = BTreeMap::new();
    for address in operation.iter().filter(|address| **address >= HYPERVISOR) {
        *functions.entry(names.of(*address)).or_default() += 1;
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (name, count) in functions {
        text.push_str(&format!("{count:>7}  {name}\n"));
    }
    Ok(text)
}

/// The functions of an image.
struct Names(addr2line::Loader);

impl Names {
    fn read(image: &Path) -> Result<Self> {
        let loader = addr2line::Loader::new(image);
        loader.map(Self).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", image.display()))
    }

    /// Returns the innermost function at an address, and the one that it was inlined into.
    fn of(&self, address: u64) -> String {
        let symbol = self.0.find_symbol(address).map(|name| format!("{:#}", rustc_demangle::demangle(name)));
        let mut frames = match self.0.find_frames(address) {
            Ok(frames) => frames,
            Err(_) => return symbol.unwrap_or_else(|| "?".into()),
        };
        let mut named = Vec::new();
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.and_then(|function| function.demangle().ok().map(std::borrow::Cow::into_owned));
            named.extend(name);
        }
        match named.as_slice() {
            [] => symbol.unwrap_or_else(|| "?".into()),
            [only] => short(only),
            [inner, .., outer] => format!("{} in {}", short(inner), short(outer)),
        }
    }
}

/// Returns a name without the crates and modules of its type arguments.
fn short(name: &str) -> String {
    let plain = name.split_once("::h").map_or(name, |(plain, hash)| if hash.len() == 16 { plain } else { name });
    plain.split('<').next().filter(|head| !head.is_empty()).unwrap_or(plain).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_from_a_line_of_the_trace() {
        let line = "Trace 0: 0x7f5fd4000100 [0000000000000000/ffffffff80201234/00c0c2b3/ff000201] f";
        assert_eq!(address(line), Some(0xffff_ffff_8020_1234));
        assert_eq!(address("cpu_tb_exec: something"), None);
    }

    #[test]
    fn the_shortest_round_begins_at_an_instruction_of_the_guests_loop() {
        let (a, b, h) = (0x100, 0x104, HYPERVISOR);
        let trace = [h, a, b, h, h, h, a, b, h, a, b, h, h, a, b];
        assert_eq!(shortest_round(&trace), Some([a, b, h].as_slice()));
        assert_eq!(shortest_round(&[h, a, h]), None);
    }
}
