//! The ACPI tables of dom0: the ones that the hypervisor builds are in dom0's own memory, the others where the firmware
//! put them.

use super::memory::Layout;
use super::{Dom0Error, Dom0Plan, write};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use alloc::vec::Vec;
use xen_abi::memory_map::E820_ACPI;
use xenolith_devices::acpi::{InterruptOverride, IoApicEntry, MadtPlan, Origin, madt, rsdp, xsdt};
use xenolith_hal::{Gpa, Machine};

/// Kernels look for the tables below 4 GiB.
const LIMIT: u64 = 1 << 32;
/// Tables begin at multiples of this.
const ALIGNMENT: usize = 16;

/// The firmware's tables that dom0 is shown.
#[derive(Clone, Copy, Debug)]
pub struct FirmwareTables<'a> {
    /// The OEM fields of the machine's tables.
    pub origin: Origin,
    /// Machine addresses of the tables that dom0 sees unchanged.
    pub passed_on: &'a [u64],
    pub io_apics: &'a [IoApicEntry],
    pub overrides: &'a [InterruptOverride],
}

/// Builds dom0's own tables and returns the address of the RSDP.
///
/// **Errors:** `DoesNotFit`.
pub fn place<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    layout: &mut Layout,
    plan: &Dom0Plan<'_>,
) -> Result<Gpa, Dom0Error> {
    let tables = &plan.firmware;
    let madt_plan = MadtPlan { vcpus: plan.vcpus, io_apics: tables.io_apics, overrides: tables.overrides };
    let madt = madt(tables.origin, &madt_plan);
    let listed = tables.passed_on.len().saturating_add(1);
    let room = |bytes: usize| bytes.checked_next_multiple_of(ALIGNMENT).map(|bytes| bytes as u64);
    // A header and an address for each.
    let list_bytes = listed.saturating_mul(8).saturating_add(36);
    let pointer_bytes = 36;
    let rooms = room(madt.len()).zip(room(list_bytes)).zip(room(pointer_bytes));
    let ((madt_room, list_room), pointer_room) = rooms.ok_or(Dom0Error::DoesNotFit)?;
    let total = madt_room.saturating_add(list_room).saturating_add(pointer_room);
    let madt_at = layout.take_for_tables(total, LIMIT, E820_ACPI).ok_or(Dom0Error::DoesNotFit)?;
    let list_at = madt_at.checked_add(madt_room).ok_or(Dom0Error::DoesNotFit)?;
    let pointer_at = list_at.checked_add(list_room).ok_or(Dom0Error::DoesNotFit)?;
    let addresses: Vec<u64> = core::iter::once(madt_at.0).chain(tables.passed_on.iter().copied()).collect();
    write(hv, domain, madt_at, &madt)?;
    write(hv, domain, list_at, &xsdt(tables.origin, &addresses))?;
    write(hv, domain, pointer_at, &rsdp(tables.origin.oem_id, list_at.0))?;
    Ok(pointer_at)
}
