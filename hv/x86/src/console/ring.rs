//! The console ring: the last lines of the hypervisor, counted from boot on.

use alloc::boxed::Box;
use alloc::vec::Vec;

use xenolith_sync::{SpinLock, rank};

/// The ring before there is a heap, in bytes.
const FIRST: usize = 16 << 10;

/// Bytes in a ring whose length is a power of two; `written` counts all that ever went in.
struct Ring {
    first: [u8; FIRST],
    later: Option<Box<[u8]>>,
    written: u64,
}

static RING: SpinLock<Ring, rank::ConsoleRing> = SpinLock::new(Ring { first: [0; FIRST], later: None, written: 0 });

impl Ring {
    fn bytes(&self) -> &[u8] {
        self.later.as_deref().unwrap_or(&self.first)
    }

    fn oldest(&self) -> u64 {
        self.written.saturating_sub(self.bytes().len() as u64)
    }

    fn byte(&self, index: u64) -> u8 {
        let bytes = self.bytes();
        let place = (index as usize) & bytes.len().wrapping_sub(1);
        bytes.get(place).copied().unwrap_or_default()
    }

    fn append(&mut self, text: &[u8]) {
        let written = self.written;
        let bytes = match &mut self.later {
            Some(later) => later,
            None => &mut self.first[..],
        };
        let mask = bytes.len().wrapping_sub(1);
        for (index, byte) in (written..).zip(text) {
            if let Some(place) = bytes.get_mut((index as usize) & mask) {
                *place = *byte;
            }
        }
        self.written = written.saturating_add(text.len() as u64);
    }
}

/// Adds text. When another CPU, or the code that an NMI interrupted, is at the ring for good, the text is lost.
pub(super) fn append(text: &[u8]) {
    for _ in 0..1_000_000 {
        if let Some(mut ring) = RING.try_lock() {
            ring.append(text);
            return;
        }
        core::hint::spin_loop();
    }
}

/// Copies from `index` on, which counts bytes since boot; what is gone already is passed over. Gives how many bytes
/// were copied, and the index after them.
pub fn copy_from(index: u64, into: &mut [u8]) -> (usize, u64) {
    let ring = RING.lock();
    let mut next = index.clamp(ring.oldest(), ring.written);
    let mut copied = 0_usize;
    for place in into {
        if next == ring.written {
            break;
        }
        *place = ring.byte(next);
        next = next.saturating_add(1);
        copied = copied.saturating_add(1);
    }
    (copied, next)
}

/// Makes the ring `bytes` long (a power of two) and keeps what is in it. Without memory for it, nothing changes.
pub fn grow(bytes: usize) {
    if !bytes.is_power_of_two() || bytes <= FIRST {
        return;
    }
    let mut space = Vec::new();
    if space.try_reserve_exact(bytes).is_err() {
        return;
    }
    space.resize(bytes, 0);
    let mut ring = RING.lock();
    for index in ring.oldest()..ring.written {
        let byte = ring.byte(index);
        if let Some(place) = space.get_mut((index as usize) & bytes.wrapping_sub(1)) {
            *place = byte;
        }
    }
    ring.later = Some(space.into_boxed_slice());
}
