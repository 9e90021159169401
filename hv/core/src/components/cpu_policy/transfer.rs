//! Copying CPU policies to the toolstack's memory.

use super::msrs::{DomainMsrs, MOST_MSRS};
use crate::memory::guest_memory::GuestView;
use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry};
use xen_abi::{Errno, GuestHandle};
use xenolith_devices::cpuid::{CpuidTable, MOST_LEAVES};
use xenolith_hal::Machine;

/// Writes the leaves of a table to a list that has room for `room` of them; returns their number, or for a null list
/// the most that there can be.
///
/// **Errors:** `ENOBUFS` if there is no room; `EFAULT`.
pub fn put_leaves<M: Machine>(
    memory: &GuestView<'_, M>,
    table: &CpuidTable,
    to: GuestHandle<CpuidLeaf>,
    room: u32,
) -> Result<u32, Errno> {
    if to.is_null() {
        return Ok(MOST_LEAVES);
    }
    let mut count: u32 = 0;
    table.each_listed(|leaf| {
        if count >= room {
            return Err(Errno::ENOBUFS);
        }
        memory.write_at(to, count.into(), &leaf)?;
        count = count.saturating_add(1);
        Ok(())
    })?;
    Ok(count)
}

/// Writes MSRs to a list that has room for `room` of them; returns their number, or for a null list the most that there
/// can be.
///
/// **Errors:** `ENOBUFS` if there is no room; `EFAULT`.
pub fn put_msrs<M: Machine>(
    memory: &GuestView<'_, M>,
    msrs: &DomainMsrs,
    to: GuestHandle<MsrEntry>,
    room: u32,
) -> Result<u32, Errno> {
    if !to.is_null() {
        for (index, entry) in (0..).zip(msrs.listed()) {
            if index >= room {
                return Err(Errno::ENOBUFS);
            }
            memory.write_at(to, index.into(), &entry)?;
        }
    }
    Ok(MOST_MSRS)
}
