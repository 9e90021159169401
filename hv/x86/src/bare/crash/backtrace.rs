//! Stack dumps and backtraces of a CPU.

use super::symbols::Place;
use crate::bare::base::image;
use crate::bare::interrupts::InterruptFrame;
use crate::bare::memory::stacks;

const WORD: u64 = 8;
/// How many words of the stack are shown, and how many on a line.
const WORDS: u64 = 20;
const WORDS_PER_LINE: u64 = 4;
/// How many calls are shown.
const CALLS: usize = 40;
/// How many words of the stack are searched for return addresses where there is no frame pointer.
const SEARCHED: u64 = 512;

/// Returns the word at `address`, if it lies on one of our stacks.
fn word(address: u64) -> Option<u64> {
    let (bottom, top) = stacks::around(address)?;
    let fits = address.is_multiple_of(WORD) && address >= bottom && address.checked_add(WORD)? <= top;
    // SAFETY: the whole word lies in the mapped part of a stack of ours. Stacks of CPUs that never came up are not
    // mapped, but no frame pointer can have come from there.
    fits.then(|| unsafe { (address as *const u64).read_volatile() })
}

/// Shows the words on top of the stack.
pub(super) fn show_stack(frame: &InterruptFrame) {
    crate::print!("Xen stack trace from rsp={:016x}:", frame.rsp);
    let start = frame.rsp & !(WORD - 1);
    for line in 0..WORDS / WORDS_PER_LINE {
        let address = |column: u64| start.wrapping_add((line * WORDS_PER_LINE + column) * WORD);
        let [Some(a), Some(b), Some(c), Some(d)] = [0, 1, 2, 3].map(|column| word(address(column))) else { break };
        crate::print!("   {a:016x} {b:016x} {c:016x} {d:016x}");
    }
}

/// How a call is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Known {
    /// The CPU stands there.
    Register = b'R',
    /// A frame on the stack leads there.
    Frame = b'F',
    /// It only lies on the stack.
    Stack = b'S',
}

/// Calls `each` with the calls that led to a frame, innermost first. Takes no lock and allocates no memory.
pub(super) fn each_call(frame: &InterruptFrame, mut each: impl FnMut(Known, u64)) {
    each(Known::Register, frame.rip);
    // A jump into nowhere leaves the address that it came from on the stack.
    if !image::text().holds(frame.rip)
        && let Some(caller) = word(frame.rsp).filter(|caller| image::text().holds(*caller))
    {
        each(Known::Stack, caller);
    }
    if stacks::around(frame.rbp).is_none() {
        likely_calls(frame.rsp).for_each(|address| each(Known::Stack, address));
    }
    let mut pointer = frame.rbp;
    for _ in 0..CALLS {
        let (Some(outer), Some(caller)) = (word(pointer), word(pointer.wrapping_add(WORD))) else { break };
        if caller == 0 {
            break;
        }
        each(Known::Frame, caller);
        // Frames lie one above the other, unless the stack was changed on the way.
        let same = stacks::around(pointer) == stacks::around(outer);
        if same && outer <= pointer {
            break;
        }
        pointer = outer;
    }
}

/// Returns what looks like return addresses: around the entry to a guest the frame pointer is the guest's.
fn likely_calls(stack: u64) -> impl Iterator<Item = u64> {
    let words =
        (0..SEARCHED).map_while(move |index| word((stack & !(WORD - 1)).wrapping_add(index.wrapping_mul(WORD))));
    words.filter(|word| image::text().holds(*word)).take(CALLS)
}

/// Shows the calls, innermost first: `R` is where the CPU stands, `F` is a frame, `S` only lies on the stack.
pub(super) fn show_calls(frame: &InterruptFrame) {
    crate::print!("Xen call trace:");
    each_call(frame, show_call);
    crate::print!("");
}

/// Shows one call.
pub(super) fn show_call(known: Known, address: u64) {
    crate::print!("   [<{address:016x}>] {} {}", char::from(known as u8), Place(address));
}
