//! Fetching the instruction at which a guest exited.

use crate::components::grant::World;
use crate::domains::running::Running;
use crate::memory::guest_memory::{GuestView, Layout};
use xenolith_devices::mmio_decode::{CodeSize, MAX_LENGTH};
use xenolith_hal::{GuestCpu, Machine, SegmentAttributes, SegmentName};

/// Fetches the instruction at the guest's instruction pointer: its bytes, and how many there are.
pub fn fetch<M: Machine>(running: &Running<'_, M>) -> ([u8; MAX_LENGTH], usize, CodeSize) {
    let Running { hv, domain, .. } = *running;
    let paging = running.core.hardware.paging();
    let (size, base) = if paging.long_code {
        (CodeSize::Bits64, 0)
    } else {
        let segment = running.core.hardware.segment(SegmentName::Cs);
        let is_32_bit = segment.attributes.contains(SegmentAttributes::DEFAULT_SIZE);
        (if is_32_bit { CodeSize::Bits32 } else { CodeSize::Bits16 }, segment.base)
    };
    let (bytes, length) = running.core.hardware.instruction_bytes();
    if length > 0 {
        return (bytes, length, size);
    }
    let mut bytes = [0; MAX_LENGTH];
    let at = base.wrapping_add(running.core.hardware.registers().rip);
    let length = GuestView::new(hv.memory(domain), paging, Layout::Native).fetch(at, &mut bytes);
    (bytes, length, size)
}
