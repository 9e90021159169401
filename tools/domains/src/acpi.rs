//! The ACPI tables of a PVH domain: processors, and that there is no hardware of ACPI's.
//!
//! libxl gives a PVH domain the fixed registers of power management, at ports that nobody emulates, and a DSDT with a
//! device for each of 128 processors. Here the hardware is "reduced" (no such registers), so Linux asks no port that is
//! not there, and the DSDT is empty: Linux finds processors in the MADT, and xenstore tells it which come and
//! go. **Source:** ACPI specification 6.4, 5.2.

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::{Aml, AmlSink};

const OEM: [u8; 6] = *b"Xen\0\0\0";
const OEM_TABLE: [u8; 8] = *b"HVM\0\0\0\0\0";
const OEM_REVISION: u32 = 0;

/// Bytes of a table before its first entry.
const HEADER_SIZE: u32 = 36;

const LOCAL_APIC_ADDRESS: u32 = 0xfee0_0000;
const TYPE_LOCAL_APIC: u8 = 0;
const TYPE_LOCAL_X2APIC: u8 = 9;
const ENABLED: u32 = 1;
/// The local APIC identifier from which on an entry has the form for x2APICs.
const X2APIC_FROM: u32 = 255;

/// FADT: there is no VGA (bit 2) and no CMOS clock (bit 5).
const NO_VGA_NO_CLOCK: u16 = 1 << 2 | 1 << 5;

/// Tables lie at multiples of this.
const ALIGNMENT: usize = 64;

struct Bytes(Vec<u8>);

impl AmlSink for Bytes {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

fn bytes(table: &dyn Aml) -> Vec<u8> {
    let mut bytes = Bytes(Vec::new());
    table.to_aml_bytes(&mut bytes);
    bytes.0
}

fn table(signature: [u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut table = Sdt::new(signature, HEADER_SIZE, revision, OEM, OEM_TABLE, OEM_REVISION);
    table.append_slice(body);
    table.as_slice().to_vec()
}

/// Builds the table of processors: vCPU `n` has the local APIC identifier `2 * n`, as CPUID says.
fn processors(vcpus: u32) -> Vec<u8> {
    let mut entries = [LOCAL_APIC_ADDRESS.to_le_bytes(), [0; 4]].concat();
    for uid in 0..vcpus {
        let id = uid.wrapping_mul(2);
        match (u8::try_from(uid), u8::try_from(id)) {
            (Ok(uid), Ok(id_byte)) if id < X2APIC_FROM => {
                entries.extend([TYPE_LOCAL_APIC, 8, uid, id_byte]);
                entries.extend(ENABLED.to_le_bytes());
            }
            _ => {
                entries.extend([TYPE_LOCAL_X2APIC, 16, 0, 0]);
                entries.extend([id, ENABLED, uid].map(u32::to_le_bytes).concat());
            }
        }
    }
    table(*b"APIC", 4, &entries)
}

/// The tables as one piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// What lies at the address for which they were built.
    pub bytes: Vec<u8>,
    /// The guest physical address of the root pointer.
    pub root: u64,
}

impl Tables {
    /// Builds the tables for `vcpus` vCPUs, to lie at guest physical address `at`.
    #[must_use]
    pub fn build(vcpus: u32, at: u64) -> Self {
        let mut all = Vec::new();
        let mut put = |table: Vec<u8>| {
            let offset = all.len();
            all.extend(table);
            all.resize(all.len().next_multiple_of(ALIGNMENT), 0);
            at.saturating_add(offset as u64)
        };
        let definitions = put(table(*b"DSDT", 2, &[]));
        let processors = put(processors(vcpus));
        let mut fixed = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION).dsdt_64(definitions).flag(Flags::HwReducedAcpi);
        fixed.iapc_boot_arch = NO_VGA_NO_CLOCK.into();
        let fixed = put(bytes(&fixed.finalize()));
        let list = put(table(*b"XSDT", 1, &[fixed, processors].map(u64::to_le_bytes).concat()));
        let root = put(bytes(&Rsdp::new(OEM, list)));
        Self { bytes: all, root }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: u64 = 0xfc00_0000;

    fn sum(bytes: &[u8]) -> u8 {
        bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte))
    }

    /// Reads a table at a guest physical address, as a kernel does.
    fn found(tables: &Tables, address: u64) -> &[u8] {
        let from = &tables.bytes[(address - AT) as usize..];
        let length = u32::from_le_bytes(from[4..8].try_into().unwrap()) as usize;
        let table = &from[..length];
        assert_eq!(sum(table), 0);
        table
    }

    fn address(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(bytes[..8].try_into().unwrap())
    }

    #[test]
    fn every_table_is_found_from_the_root_and_its_sum_is_right() {
        let tables = Tables::build(3, AT);
        let root = &tables.bytes[(tables.root - AT) as usize..][..36];
        assert_eq!((&root[..8], sum(&root[..20]), sum(root)), (&b"RSD PTR "[..], 0, 0));
        let list = found(&tables, address(&root[24..]));
        assert_eq!((&list[..4], list.len()), (&b"XSDT"[..], 52));
        let fixed = found(&tables, address(&list[36..]));
        assert_eq!((&fixed[..4], fixed.len()), (&b"FACP"[..], 276));
        let flags = u32::from_le_bytes(fixed[112..116].try_into().unwrap());
        assert_eq!(flags, 1 << 20, "reduced hardware and nothing else");
        assert_eq!(fixed[109..111], [0x24, 0]);
        assert_eq!(&found(&tables, address(&fixed[140..]))[..4], b"DSDT");
        let processors = found(&tables, address(&list[44..]));
        assert_eq!(&processors[..4], b"APIC");
        let entries: Vec<_> = processors[44..].chunks(8).collect();
        assert_eq!(entries, [[0, 8, 0, 0, 1, 0, 0, 0], [0, 8, 1, 2, 1, 0, 0, 0], [0, 8, 2, 4, 1, 0, 0, 0]]);
    }

    #[test]
    fn identifiers_that_do_not_fit_a_byte_have_the_long_form() {
        let tables = Tables::build(130, AT);
        let root = &tables.bytes[(tables.root - AT) as usize..];
        let list = found(&tables, address(&root[24..]));
        let mut rest = &found(&tables, address(&list[44..]))[44..];
        let mut ids = Vec::new();
        while !rest.is_empty() {
            ids.push(match rest[0] {
                0 => u32::from(rest[3]),
                _ => u32::from_le_bytes(rest[4..8].try_into().unwrap()),
            });
            rest = &rest[usize::from(rest[1])..];
        }
        assert_eq!(ids, (0..130).map(|uid| uid * 2).collect::<Vec<u32>>());
    }
}
