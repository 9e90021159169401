//! Lines of a twin, which domain 0 prints: the hypervisor's console takes none from an ordinary domain.
//!
//! A page carries one line at a time from the twin, which fills it, to domain 0, which sees the page and empties it.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering, fence};

use xen_abi::Gfn;

use crate::console::Line;
use crate::pages::{Page, read_at, write_at};

/// Byte offsets in the page: whether it holds a line, the line's length, and its bytes.
const FULL: u64 = 0;
const LENGTH: u64 = 4;
const BYTES: u64 = 8;

static LINES: Page = Page::new();
static IN_USE: AtomicBool = AtomicBool::new(false);

/// Makes all lines that this kernel prints from now on go to domain 0.
pub fn begin() {
    IN_USE.store(true, Ordering::Relaxed);
}

/// Returns the frame that carries the lines of a twin.
#[must_use]
pub fn frame() -> Gfn {
    LINES.gfn()
}

/// Hands a line to domain 0, and waits until there is room for it; returns false where lines do not go this way.
pub(crate) fn say(text: &[u8]) -> bool {
    if !IN_USE.load(Ordering::Relaxed) {
        return false;
    }
    while LINES.read::<u32>(FULL as usize) != 0 {
        core::hint::spin_loop();
    }
    LINES.write(LENGTH as usize, text.len() as u32);
    (BYTES as usize..).zip(text).for_each(|(at, byte)| LINES.write(at, *byte));
    fence(Ordering::Release);
    LINES.write(FULL as usize, 1_u32);
    true
}

/// Returns the line that waits in a twin's page, which this kernel sees at `at`, and makes room for the next.
#[must_use]
pub fn take(at: u64) -> Option<Line> {
    if read_at::<u32>(at + FULL) == 0 {
        return None;
    }
    fence(Ordering::Acquire);
    let mut line = Line::new();
    for offset in 0..u64::from(read_at::<u32>(at + LENGTH)).min(crate::console::LINE_BYTES as u64) {
        // A line that is too long is cut, which is no error.
        let _ = line.write_char(char::from(read_at::<u8>(at + BYTES + offset)));
    }
    fence(Ordering::Release);
    write_at(at + FULL, 0_u32);
    Some(line)
}
