//! What is typed on the serial port: to dom0, or, after CTRL-a three times, to the hypervisor.

use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use arrayvec::ArrayVec;
use xenolith_bootinfo::Options;
use xenolith_sync::{SpinLock, rank};

/// How many characters wait for dom0; more are dropped.
const WAITING: usize = 128;
/// How often the switch character switches.
const TIMES: u8 = 3;

static TO_HYPERVISOR: AtomicBool = AtomicBool::new(true);
static SWITCH_CHARACTER: AtomicU8 = AtomicU8::new(1);
static STARTS_AT_HYPERVISOR: AtomicBool = AtomicBool::new(false);
static SWITCH_COUNT: AtomicU8 = AtomicU8::new(0);
static FOR_DOM0: SpinLock<ArrayVec<u8, WAITING>, rank::ConsoleInput> = SpinLock::new(ArrayVec::new_const());

/// What became of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It waits for dom0.
    ForDom0,
    /// It is a command to the hypervisor.
    Key(u8),
    /// It was part of a switch.
    Taken,
}

pub(super) fn configure(options: &Options) {
    SWITCH_CHARACTER.store(options.switch_character, Ordering::Relaxed);
    STARTS_AT_HYPERVISOR.store(options.input_starts_at_hypervisor, Ordering::Relaxed);
}

/// Switches the input to dom0 once there is one, unless the command line keeps it here.
pub fn hand_to_dom0() {
    announce(STARTS_AT_HYPERVISOR.load(Ordering::Relaxed));
}

/// Returns true if typed characters are commands to the hypervisor.
#[must_use]
pub fn is_at_hypervisor() -> bool {
    TO_HYPERVISOR.load(Ordering::Relaxed)
}

fn announce(to_hypervisor: bool) {
    TO_HYPERVISOR.store(to_hypervisor, Ordering::Relaxed);
    let to = if to_hypervisor { "Xen" } else { "DOM0" };
    match SWITCH_CHARACTER.load(Ordering::Relaxed) {
        0 => crate::print!("*** Serial input to {to}"),
        letter => {
            let letter = char::from(letter.wrapping_add(b'a' - 1));
            crate::print!("*** Serial input to {to} (type 'CTRL-{letter}' three times to switch input)");
        }
    }
}

/// Takes one character that came in.
pub fn receive(byte: u8) -> Received {
    let switch = SWITCH_CHARACTER.load(Ordering::Relaxed);
    if switch != 0 && byte == switch {
        let count = SWITCH_COUNT.load(Ordering::Relaxed).saturating_add(1);
        if count < TIMES {
            SWITCH_COUNT.store(count, Ordering::Relaxed);
            return Received::Taken;
        }
        SWITCH_COUNT.store(0, Ordering::Relaxed);
        announce(!is_at_hypervisor());
        return Received::Taken;
    }
    // Fewer than it takes to switch were meant for the reader after all.
    let held_back = SWITCH_COUNT.swap(0, Ordering::Relaxed);
    if is_at_hypervisor() {
        return Received::Key(byte);
    }
    let mut waiting = FOR_DOM0.lock();
    for _ in 0..held_back {
        let _ = waiting.try_push(switch);
    }
    let _ = waiting.try_push(byte);
    Received::ForDom0
}

/// Takes the input that waits for dom0, oldest first; returns the number of bytes.
pub fn take(into: &mut [u8]) -> usize {
    let mut waiting = FOR_DOM0.lock();
    let count = waiting.len().min(into.len());
    for (place, byte) in into.iter_mut().zip(waiting.drain(..count)) {
        *place = byte;
    }
    count
}
