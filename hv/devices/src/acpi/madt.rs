//! The ACPI table of processors and interrupt controllers (MADT). **Source:** ACPI specification 6.4, 5.2.12.

use alloc::vec::Vec;

use acpi_tables::sdt::Sdt;

use super::{HEADER_SIZE, Origin};

const REVISION: u8 = 4;
const LOCAL_APIC_ADDRESS: u32 = 0xfee0_0000;
const ENABLED: u32 = 1;

const TYPE_IO_APIC: u8 = 1;
const TYPE_OVERRIDE: u8 = 2;
const TYPE_LOCAL_X2APIC: u8 = 9;

/// An I/O APIC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoApicEntry {
    pub id: u8,
    /// Guest physical address.
    pub address: u32,
    /// The global system interrupt (GSI) of its first pin.
    pub first_interrupt: u32,
}

/// An ISA interrupt that arrives at another GSI, or with another polarity or trigger mode (interrupt source override).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterruptOverride {
    /// The ISA interrupt, 0 to 15.
    pub source: u8,
    /// Its GSI.
    pub interrupt: u32,
    /// Polarity (bits 0-1) and trigger mode (bits 2-3), as in the machine's table.
    pub flags: u16,
}

/// The contents of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MadtPlan<'a> {
    pub vcpus: u32,
    pub io_apics: &'a [IoApicEntry],
    pub overrides: &'a [InterruptOverride],
}

/// Builds the table. vCPU `n` has the ACPI identifier `n` and the local APIC identifier `2 * n`, as in CPUID.
#[must_use]
pub fn madt(origin: Origin, plan: &MadtPlan<'_>) -> Vec<u8> {
    let mut entries = Vec::new();
    entries.extend(LOCAL_APIC_ADDRESS.to_le_bytes());
    // No flag: there are no interrupt controllers of the 8259 kind to be turned off first.
    entries.extend(0u32.to_le_bytes());
    for io_apic in plan.io_apics {
        entries.extend([TYPE_IO_APIC, 12, io_apic.id, 0]);
        entries.extend(io_apic.address.to_le_bytes());
        entries.extend(io_apic.first_interrupt.to_le_bytes());
    }
    for uid in 0..plan.vcpus {
        entries.extend([TYPE_LOCAL_X2APIC, 16, 0, 0]);
        entries.extend(uid.wrapping_mul(2).to_le_bytes());
        entries.extend(ENABLED.to_le_bytes());
        entries.extend(uid.to_le_bytes());
    }
    for moved in plan.overrides {
        // The bus is ISA, number 0.
        entries.extend([TYPE_OVERRIDE, 10, 0, moved.source]);
        entries.extend(moved.interrupt.to_le_bytes());
        entries.extend(moved.flags.to_le_bytes());
    }
    let mut table = Sdt::new(*b"APIC", HEADER_SIZE, REVISION, origin.oem_id, origin.oem_table_id, origin.oem_revision);
    table.append_slice(&entries);
    table.as_slice().to_vec()
}
