//! Commands typed on the serial port while it listens to the hypervisor.

use core::sync::atomic::Ordering;

use crate::svm::exit_counts;
use crate::{clock, cpu_area, heap, reboot};

/// One command.
struct Key {
    letter: u8,
    what: &'static str,
    run: fn(),
}

const KEYS: [Key; 8] = [
    Key { letter: b'C', what: "trigger a crashdump", run: || panic!("crash requested by the key 'C'") },
    Key { letter: b'H', what: "dump heap info", run: show_heap },
    Key { letter: b'P', what: "reset performance counters", run: || exit_counts::reset(cpu_area::count()) },
    Key { letter: b'R', what: "reboot machine", run: || reboot::now() },
    Key { letter: b'c', what: "show the CPUs", run: show_cpus },
    Key { letter: b'h', what: "showing installed handlers", run: show_help },
    Key { letter: b'p', what: "print performance counters", run: show_exits },
    Key { letter: b't', what: "display the clock", run: show_clock },
];

/// Does what the key stands for.
pub fn press(letter: u8) {
    if letter == b'*' {
        crate::print!("'*' pressed -> firing all diagnostic keyhandlers");
        for key in KEYS.iter().filter(|key| matches!(key.letter, b'H' | b'c' | b'p' | b't')) {
            announce(key);
        }
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
    for key in &KEYS {
        crate::print!(" key '{}' (ascii '{:02x}') => {}", char::from(key.letter), key.letter, key.what);
    }
}

fn show_heap() {
    let usage = heap::usage();
    crate::print!("heap: {} KiB used, {} KiB free", usage.used_bytes >> 10, usage.free_bytes >> 10);
}

fn show_cpus() {
    for (cpu, area) in cpu_area::all() {
        crate::print!(
            "CPU{}: APIC {:#x}, {}, {}, {} stray NMIs",
            cpu.0,
            area.apic_id.load(Ordering::Relaxed),
            if area.online.load(Ordering::Relaxed) { "online" } else { "offline" },
            if area.at_work.load(Ordering::Relaxed) { "at work" } else { "waits for work" },
            area.stray_nmis.load(Ordering::Relaxed)
        );
    }
}

fn show_exits() {
    crate::print!("{}", exit_counts::Shown { cpus: cpu_area::count() });
}

fn show_clock() {
    crate::print!("system time {} ns, {} kHz", clock::nanoseconds(), clock::khz());
}
