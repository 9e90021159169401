//! Debug keys typed on the serial port while it listens to the hypervisor.
//!
//! Their handler runs with interrupts off at a point where they were enabled, so this CPU holds no lock; another one
//! may hang with any, and what is locked is reported as "busy" where a dump is for a machine that hangs.

use core::fmt;
use core::sync::atomic::Ordering;

use xenolith_hal::CpuId;
use xenolith_sync::Once;

use crate::bare::base::{clock, cpu_area};
use crate::bare::crash::{self, reboot};
use crate::bare::interrupts::device_interrupts;
use crate::bare::memory::heap;
use crate::bare::memory::stacks::{self, StackUse};
use crate::guest::svm::exit_counts;

/// One command.
struct Key {
    letter: u8,
    what: &'static str,
    run: fn(),
}

const KEYS: [Key; 10] = [
    Key { letter: b'C', what: "trigger a crashdump", run: || panic!("crash requested by the key 'C'") },
    Key { letter: b'H', what: "dump heap info", run: show_heap },
    Key { letter: b'P', what: "reset performance counters", run: || exit_counts::reset(cpu_area::count()) },
    Key { letter: b'R', what: "reboot machine", run: || reboot::now() },
    Key { letter: b'c', what: "show the CPUs", run: show_cpus },
    Key { letter: b'd', what: "dump registers", run: crash::show_all },
    Key { letter: b'h', what: "showing installed handlers", run: show_help },
    Key { letter: b'i', what: "dump interrupt bindings", run: device_interrupts::show },
    Key { letter: b'p', what: "print performance counters", run: show_exits },
    Key { letter: b't', what: "display the clock", run: show_clock },
];

/// The keys that `*` stands for: they only tell.
const DIAGNOSTIC: &[u8] = b"Hcdipt";

/// The keys of another part of the hypervisor, which come after the machine's own.
#[derive(Debug, Clone, Copy)]
pub struct MoreKeys {
    /// What each stands for.
    pub listed: &'static [(u8, &'static str)],
    /// Does what a key stands for that is one of them, or `*`. Called with interrupts off, anywhere that they were let
    /// in.
    pub press: fn(u8),
}

static MORE: Once<MoreKeys> = Once::new();

/// Adds the keys of another part; once.
pub fn add(keys: MoreKeys) {
    let _ = MORE.set(keys);
}

/// Handles a key that was typed.
pub fn press(letter: u8) {
    press_own(letter);
    if let Some(more) = MORE.get() {
        (more.press)(letter);
    }
}

/// Handles the machine's own part of a key.
pub fn press_own(letter: u8) {
    if letter == b'*' {
        crate::print!("'*' pressed -> firing all diagnostic keyhandlers");
        KEYS.iter().filter(|key| DIAGNOSTIC.contains(&key.letter)).for_each(announce);
        return;
    }
    if let Some(key) = KEYS.iter().find(|key| key.letter == letter) {
        announce(key);
    }
}

fn announce(key: &Key) {
    crate::print!("'{}' pressed -> {}", char::from(key.letter), key.what);
    (key.run)();
}

fn show_help() {
    crate::print!(" key '*' (ascii '2a') => print all diagnostics");
    let own = |letter: u8| KEYS.iter().find(|key| key.letter == letter).map(|key| key.what);
    let more = |letter: u8| MORE.get()?.listed.iter().find(|(key, _)| *key == letter).map(|(_, what)| *what);
    for letter in b'A'..=b'z' {
        if let Some(what) = own(letter).or_else(|| more(letter)) {
            crate::print!(" key '{}' (ascii '{letter:02x}') => {what}", char::from(letter));
        }
    }
}

fn show_heap() {
    let usage = heap::usage();
    crate::print!("heap: {} KiB used, {} KiB free", usage.used_bytes >> 10, usage.free_bytes >> 10);
}

fn show_cpus() {
    let now = clock::nanoseconds();
    for (cpu, area) in cpu_area::all() {
        crate::print!(
            "CPU{}: APIC {:#x}, {}, {}, {} stray NMIs",
            cpu.0,
            area.apic_id.load(Ordering::Relaxed),
            if area.online.load(Ordering::Relaxed) { "online" } else { "offline" },
            if area.at_work.load(Ordering::Relaxed) { "at work" } else { "waits for work" },
            area.stray_nmis.load(Ordering::Relaxed)
        );
        let at = |word: &core::sync::atomic::AtomicU64| Moment { now, at: word.load(Ordering::Relaxed) };
        crate::print!(
            "    events {:#x}, calls waiting {}, timer wanted {}, hardware armed {}",
            area.events.load(Ordering::Relaxed),
            area.calls.iter().map(|word| word.load(Ordering::Relaxed).count_ones()).sum::<u32>(),
            at(&area.deadline),
            at(&area.armed_until)
        );
        crate::print!("    bytes of stack reached: {}", Stacks(cpu));
    }
}

/// The high-water mark of each stack of a CPU.
struct Stacks(CpuId);

impl fmt::Display for Stacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stack in stacks::USES {
            if let Some((reached, bytes)) = stacks::reached(self.0, stack) {
                let comma = if matches!(stack, StackUse::Main) { "" } else { ", " };
                write!(f, "{comma}{} {reached} of {bytes}", stack.name())?;
            }
        }
        Ok(())
    }
}

/// A moment in nanoseconds since boot, as it stands to now. 0 and the largest number are none.
struct Moment {
    now: u64,
    at: u64,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            0 | u64::MAX => f.write_str("never"),
            at if at >= self.now => write!(f, "in {} us", at.wrapping_sub(self.now) / 1000),
            at => write!(f, "{} us ago", self.now.wrapping_sub(at) / 1000),
        }
    }
}

fn show_exits() {
    crate::print!("{}", exit_counts::Shown { cpus: cpu_area::count() });
}

fn show_clock() {
    crate::print!("system time {} ns, {} kHz", clock::nanoseconds(), clock::khz());
}
