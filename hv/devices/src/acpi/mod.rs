//! ACPI tables for a PVH control domain: RSDP, XSDT and MADT. The others are the machine's own, passed on if they are
//! on [`is_passed_on`]'s list.
//!
//! The headers and checksums come from the crate `acpi_tables`; it knows neither x2APIC entries nor interrupt
//! overrides, which are here. **Source:** ACPI specification 6.4, 5.2.
#![expect(clippy::disallowed_methods, reason = "only at boot, for dom0")]

mod madt;

use alloc::vec::Vec;

use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

pub use madt::{InterruptOverride, IoApicEntry, MadtPlan, madt};

/// Bytes of a table before its first entry.
const HEADER_SIZE: u32 = 36;
const XSDT_REVISION: u8 = 1;

/// The OEM fields of the machine's table of the same kind: the guest sees the machine's maker, since systems choose
/// workarounds by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    pub oem_id: [u8; 6],
    pub oem_table_id: [u8; 8],
    pub oem_revision: u32,
}

struct Bytes(Vec<u8>);

impl AmlSink for Bytes {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

/// Builds the RSDP (36 bytes, revision 2) for an XSDT at guest physical address `xsdt`.
#[must_use]
pub fn rsdp(oem_id: [u8; 6], xsdt: u64) -> Vec<u8> {
    let mut bytes = Bytes(Vec::new());
    Rsdp::new(oem_id, xsdt).to_aml_bytes(&mut bytes);
    bytes.0
}

/// Builds the XSDT for tables at these guest physical addresses.
#[must_use]
pub fn xsdt(origin: Origin, tables: &[u64]) -> Vec<u8> {
    let mut table =
        Sdt::new(*b"XSDT", HEADER_SIZE, XSDT_REVISION, origin.oem_id, origin.oem_table_id, origin.oem_revision);
    let entries: Vec<u8> = tables.iter().flat_map(|address| address.to_le_bytes()).collect();
    table.append_slice(&entries);
    table.as_slice().to_vec()
}

/// Returns whether the control domain is shown the machine's table of this signature. A table that is not on the list
/// describes hardware that the hypervisor keeps (timers, IOMMUs, topology) or is unknown to it.
#[must_use]
pub const fn is_passed_on(signature: &[u8; 4]) -> bool {
    matches!(
        signature,
        b"DSDT"
            | b"FACP"
            | b"FACS"
            | b"PSDT"
            | b"SSDT"
            | b"SBST"
            | b"MCFG"
            | b"SLIC"
            | b"MSDM"
            | b"WDAT"
            | b"FPDT"
            | b"S3PT"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { oem_id: *b"BOCHS ", oem_table_id: *b"BXPC    ", oem_revision: 1 };

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
    }

    #[test]
    fn the_pointer_is_of_revision_2_with_both_checksums_right() {
        let bytes = rsdp(*b"BOCHS ", 0x1234_5678_9abc);
        assert_eq!((bytes.len(), bytes[15]), (36, 2));
        assert_eq!(&bytes[..8], b"RSD PTR ");
        assert_eq!(bytes[20..24], 36u32.to_le_bytes());
        assert_eq!(bytes[24..32], 0x1234_5678_9abcu64.to_le_bytes());
        assert_eq!((sum(&bytes[..20]), sum(&bytes)), (0, 0));
    }

    #[test]
    fn the_list_holds_the_addresses_and_sums_to_zero() {
        let bytes = xsdt(ORIGIN, &[0x1000, 0xffff_ffff_0000]);
        assert_eq!(bytes.len(), 52);
        assert_eq!((&bytes[..4], &bytes[10..16]), (&b"XSDT"[..], &b"BOCHS "[..]));
        assert_eq!(bytes[4..8], 52u32.to_le_bytes());
        assert_eq!(bytes[44..52], 0xffff_ffff_0000u64.to_le_bytes());
        assert_eq!(sum(&bytes), 0);
        assert_eq!(xsdt(ORIGIN, &[]).len(), 36);
    }

    #[test]
    fn what_the_hypervisor_keeps_is_hidden() {
        for shown in [b"DSDT", b"FACP", b"FACS", b"MCFG", b"SSDT"] {
            assert!(is_passed_on(shown));
        }
        for hidden in [b"HPET", b"WAET", b"DMAR", b"IVRS", b"APIC", b"SRAT", b"XSDT"] {
            assert!(!is_passed_on(hidden));
        }
    }

    #[test]
    fn processors_have_even_identifiers_and_follow_one_another() {
        let plan = MadtPlan {
            vcpus: 3,
            io_apics: &[IoApicEntry { id: 0, address: 0xfec0_0000, first_interrupt: 0 }],
            overrides: &[
                InterruptOverride { source: 0, interrupt: 2, flags: 0 },
                InterruptOverride { source: 9, interrupt: 9, flags: 0xd },
            ],
        };
        let bytes = madt(ORIGIN, &plan);
        assert_eq!(sum(&bytes), 0);
        assert_eq!(bytes[4..8], (bytes.len() as u32).to_le_bytes());
        assert_eq!((&bytes[..4], bytes[8]), (&b"APIC"[..], 4));
        assert_eq!(bytes[36..40], 0xfee0_0000u32.to_le_bytes());
        assert_eq!(bytes[40..44], [0; 4], "no interrupt controllers of the 8259 kind");
        let mut rest = &bytes[44..];
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (entry, tail) = rest.split_at(usize::from(rest[1]));
            entries.push(entry);
            rest = tail;
        }
        assert_eq!(entries.len(), 6);
        assert_eq!(entries[0], [1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
        for (uid, entry) in (0u32..).zip(&entries[1..4]) {
            assert_eq!(entry[..4], [9, 16, 0, 0]);
            assert_eq!(entry[4..8], (uid * 2).to_le_bytes());
            assert_eq!(entry[8..12], 1u32.to_le_bytes());
            assert_eq!(entry[12..16], uid.to_le_bytes());
        }
        assert_eq!(entries[4], [2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        assert_eq!(entries[5], [2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0]);
    }
}
