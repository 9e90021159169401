//! Bitmaps in the caller's memory, as the control calls pass them. **Source:** `xen.h`, `struct xenctl_bitmap`.

use crate::memory::guest_memory::GuestView;
use xen_abi::hypercall::CtlBitmap;
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::{CpuId, Machine};
use xenolith_sched::CpuSet;

/// The longest bitmap that is padded with zeros, in bytes. No caller knows of that many CPUs or nodes.
const LONGEST: u32 = 8192;
/// The size of a [`CpuSet`] in bytes.
const SET_BYTES: usize = 32;

/// Copies a bitmap in, as far as numbers below `limit` go; bits past its end are clear.
///
/// **Errors:** `EFAULT`.
pub fn read_set<M: Machine>(memory: &GuestView<'_, M>, bitmap: &CtlBitmap, limit: u32) -> Result<CpuSet, Errno> {
    let mut bytes = [0; SET_BYTES];
    let bits = bitmap.nr_bits.min(limit);
    let used = bytes.get_mut(..bits.div_ceil(8) as usize).ok_or(Errno::EINVAL)?;
    memory.read_bytes(bitmap.bitmap.address, used)?;
    let mut set = CpuSet::NONE;
    for bit in 0..bits {
        if bytes.get(bit as usize / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0) {
            set.insert(CpuId(bit));
        }
    }
    Ok(set)
}

/// Copies the members of a set that are below `limit` out, and zeros to the end of the bitmap. A bitmap that is too
/// short gets what fits.
///
/// **Errors:** `EFAULT`; `E2BIG` for a bitmap of more than 65536 bits.
pub fn write_set<M: Machine>(
    memory: &GuestView<'_, M>,
    bitmap: &CtlBitmap,
    set: &CpuSet,
    limit: u32,
) -> Result<(), Errno> {
    let length = bitmap.nr_bits.div_ceil(8);
    if length > LONGEST {
        return Err(Errno::E2BIG);
    }
    let mut bytes = [0u8; SET_BYTES];
    for cpu in set.iter().filter(|cpu| cpu.0 < limit) {
        if let Some(byte) = bytes.get_mut(cpu.index() / 8) {
            *byte |= 1 << (cpu.0 % 8);
        }
    }
    let zeros = [0; SET_BYTES];
    let mut at: GuestHandle<u8> = bitmap.bitmap;
    let mut left = length as usize;
    let mut part: &[u8; SET_BYTES] = &bytes;
    while left > 0 {
        let step = left.min(SET_BYTES);
        memory.write_bytes(at.address, part.get(..step).unwrap_or(&[]))?;
        at = at.checked_add(step as u64).ok_or(Errno::EFAULT)?;
        left = left.saturating_sub(step);
        part = &zeros;
    }
    Ok(())
}
