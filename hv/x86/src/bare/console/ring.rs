//! The console ring: the last lines of the hypervisor, for `xl dmesg`.

use alloc::vec::Vec;

use xenolith_hal::HostEvents;
use xenolith_sync::{SpinLock, rank};

use crate::bare::base::cpu_area;
use crate::plain::byte_ring::ByteRing;

/// How often a writer looks for the ring to become free.
const PATIENCE: u32 = 1_000_000;

static RING: SpinLock<ByteRing, rank::ConsoleRing> = SpinLock::new(ByteRing::new());

/// Appends text. If another CPU, or the code that an NMI interrupted, holds the ring for too long, the text is lost.
pub(super) fn append(text: &[u8]) {
    for _ in 0..PATIENCE {
        if let Some(mut ring) = RING.try_lock() {
            ring.append(text);
            drop(ring);
            cpu_area::note(HostEvents::LOG);
            return;
        }
        core::hint::spin_loop();
    }
}

/// Copies from `index` on like `ByteRing::copy_from`, and returns how many bytes it copied and the index after them.
pub fn copy_from(index: u64, into: &mut [u8]) -> (usize, u64) {
    RING.lock().copy_from(index, into)
}

/// Makes the ring `bytes` long (a power of two) and keeps what is in it. Without memory for it, nothing changes.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
pub fn grow(bytes: usize) {
    if !bytes.is_power_of_two() || bytes <= ByteRing::first_length() {
        return;
    }
    let mut space = Vec::new();
    if space.try_reserve_exact(bytes).is_err() {
        crate::log!(Warning, "no memory for a console ring of {} KiB", bytes >> 10);
        return;
    }
    space.resize(bytes, 0);
    RING.lock().move_to(space);
}
