//! The firmware's tables, well-formed and not.

use proptest::prelude::*;
use xenolith_bootinfo::acpi::{AcpiTables, RegisterSpace, ResetRegister, find_rsdp};
use xenolith_bootinfo::{BootFault, ByteSlice, RsdpSource, Table};

const RSDP: usize = 0xf_0000;

/// One MiB of memory in which tables are laid out.
struct Memory {
    bytes: Vec<u8>,
    next: usize,
}

impl Memory {
    fn new() -> Self {
        Self { bytes: vec![0; 1 << 20], next: 0xe_8000 }
    }

    /// Adds a table with a good checksum; gives its address.
    fn add(&mut self, signature: &[u8; 4], body: &[u8]) -> u32 {
        let length = 36 + body.len();
        let mut table = vec![0; 36];
        table[..4].copy_from_slice(signature);
        table[4..8].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        table.extend(body);
        table[9] = table.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        let at = self.next;
        self.bytes[at..at + length].copy_from_slice(&table);
        self.next += length.next_multiple_of(16);
        u32::try_from(at).unwrap()
    }

    /// The root tables over `tables`.
    fn finish(&mut self, tables: &[u32]) {
        let body: Vec<u8> = tables.iter().flat_map(|table| u64::from(*table).to_le_bytes()).collect();
        let xsdt = self.add(b"XSDT", &body);
        let mut rsdp = [0_u8; 36];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        rsdp[15] = 2;
        rsdp[20] = 36;
        rsdp[24..28].copy_from_slice(&xsdt.to_le_bytes());
        rsdp[8] = rsdp[..20].iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        rsdp[32] = rsdp.iter().fold(0_u8, |sum, byte| sum.wrapping_sub(*byte));
        self.bytes[RSDP..RSDP + 36].copy_from_slice(&rsdp);
    }

    fn slice(&self) -> ByteSlice<'_> {
        ByteSlice { base: 0, bytes: &self.bytes }
    }

    fn read(&self) -> Result<AcpiTables, BootFault> {
        AcpiTables::read(&self.slice(), find_rsdp(&self.slice()).unwrap())
    }
}

/// Two CPUs in the old form, one of which is off, one in the x2APIC form, one in both.
fn madt() -> Vec<u8> {
    let mut body = [0xfee0_0000_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
    body.extend([0, 8, 0, 0, 1, 0, 0, 0]);
    body.extend([0, 8, 1, 1, 0, 0, 0, 0]);
    body.extend([0, 8, 2, 5, 1, 0, 0, 0]);
    for (apic, acpi) in [(5_u32, 2_u32), (300, 3)] {
        body.extend([9, 16, 0, 0]);
        body.extend([apic.to_le_bytes(), 1_u32.to_le_bytes(), acpi.to_le_bytes()].concat());
    }
    body.extend([1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
    body.extend([2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
    body.extend([4, 6, 0xff, 0, 0, 1]);
    body
}

fn fadt() -> Vec<u8> {
    let mut table = vec![0; 244];
    table[46] = 9;
    table[64..68].copy_from_slice(&0x604_u32.to_le_bytes());
    table[76..80].copy_from_slice(&0x608_u32.to_le_bytes());
    table[112..116].copy_from_slice(&(1_u32 << 10 | 1 << 8).to_le_bytes());
    table[116] = 1;
    table[120..128].copy_from_slice(&0xcf9_u64.to_le_bytes());
    table[128] = 0xf;
    table.split_off(36)
}

fn usual() -> Memory {
    let mut memory = Memory::new();
    let mcfg = [&[0; 8][..], &0xb000_0000_u64.to_le_bytes(), &[0, 0, 0, 255, 0, 0, 0, 0]].concat();
    let hpet = [&[0; 4][..], &[0, 64, 0, 0], &0xfed0_0000_u64.to_le_bytes(), &[0; 4]].concat();
    let tables = [
        memory.add(b"APIC", &madt()),
        memory.add(b"FACP", &fadt()),
        memory.add(b"MCFG", &mcfg),
        memory.add(b"HPET", &hpet),
        memory.add(b"IVRS", &[0; 12]),
    ];
    memory.finish(&tables);
    memory
}

#[test]
fn usual_tables_are_read_in_full() {
    let tables = usual().read().unwrap();
    let ids: Vec<_> = tables.processors.usable.iter().map(|processor| (processor.apic_id, processor.acpi_id)).collect();
    assert_eq!(ids, [(0, 0), (5, 2), (300, 3)]);
    assert_eq!(tables.processors.local_apic, 0xfee0_0000);
    assert!(tables.processors.has_legacy_pics);
    assert_eq!(tables.processors.io_apics[0].address, 0xfec0_0000);
    assert_eq!(tables.processors.overrides[0].global, 2);
    assert_eq!(tables.processors.nmis[0].acpi_id, None);
    assert_eq!(tables.hpet, Some(0xfed0_0000));
    assert_eq!(tables.pci_ranges[0].last_bus, 255);
    let fixed = tables.fixed.unwrap();
    assert_eq!((fixed.sci, fixed.pm_timer, fixed.pm1a_control), (9, Some(0x608), 0x604));
    assert_eq!(fixed.reset, Some(ResetRegister { register: RegisterSpace::Port(0xcf9), value: 0xf }));
    assert!(tables.table(b"IVRS").is_some() && tables.table(b"DMAR").is_none());
}

#[test]
fn the_way_to_switch_off_is_found_in_the_dsdt() {
    let mut memory = Memory::new();
    // Name (_S5, Package (4) { 5, 1, 0, 0 }) behind something else.
    let dsdt = memory.add(b"DSDT", b"\x08_S4_\x12\x05\x01\x08_S5_\x12\x07\x04\x0a\x05\x01\x00\x00");
    let mut body = fadt();
    body[40 - 36..44 - 36].copy_from_slice(&dsdt.to_le_bytes());
    let table = memory.add(b"FACP", &body);
    memory.finish(&[table]);
    assert_eq!(memory.read().unwrap().soft_off, Some((5, 1)));
    assert_eq!(usual().read().unwrap().soft_off, None);
}

proptest! {
    #[test]
    fn no_dsdt_makes_the_search_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut memory = Memory::new();
        let dsdt = memory.add(b"DSDT", &[b"_S5_\x12", &body[..]].concat());
        let mut body = fadt();
        body[40 - 36..44 - 36].copy_from_slice(&dsdt.to_le_bytes());
        let table = memory.add(b"FACP", &body);
        memory.finish(&[table]);
        prop_assert!(memory.read().is_ok());
    }
}

#[test]
fn a_table_with_a_wrong_checksum_is_passed_over() {
    let mut memory = usual();
    memory.bytes[0xe_8000 + 40] ^= 1;
    let tables = memory.read().unwrap();
    assert!(tables.table(b"APIC").is_none() && tables.processors.usable.is_empty());
    assert!(tables.fixed.is_some());
}

#[test]
fn no_root_is_found_where_none_is() {
    assert_eq!(find_rsdp(&ByteSlice { base: 0, bytes: &vec![0; 1 << 20] }), None);
}

#[test]
fn a_root_that_leads_out_of_memory_is_named() {
    let mut memory = Memory::new();
    memory.finish(&[0x20_0000]);
    assert_eq!(memory.read(), Err(BootFault::Unreadable { table: Table::Acpi, address: 0x20_0000 }));
}

#[test]
fn an_entry_of_no_length_does_not_hang_the_reader() {
    let mut memory = Memory::new();
    let mut body = madt();
    body.extend([0, 0]);
    let table = memory.add(b"APIC", &body);
    memory.finish(&[table]);
    assert!(matches!(memory.read(), Err(BootFault::BadStructure { table: Table::Acpi, .. })));
}

#[test]
fn more_processors_than_there_is_room_for_are_counted() {
    let mut memory = Memory::new();
    let mut body = vec![0; 8];
    for apic in 0..300_u32 {
        body.extend([9, 16, 0, 0]);
        body.extend([apic.to_le_bytes(), 1_u32.to_le_bytes(), apic.to_le_bytes()].concat());
    }
    let table = memory.add(b"APIC", &body);
    memory.finish(&[table]);
    let processors = memory.read().unwrap().processors;
    assert_eq!((processors.usable.len(), processors.left_out), (256, 44));
}

proptest! {
    #[test]
    fn no_contents_make_the_reader_panic(
        madt in prop::collection::vec(any::<u8>(), 0..128),
        fadt in prop::collection::vec(any::<u8>(), 0..256),
        mcfg in prop::collection::vec(any::<u8>(), 0..64),
        hpet in prop::collection::vec(any::<u8>(), 0..32),
    ) {
        let mut memory = Memory::new();
        let parts: [(&[u8; 4], &[u8]); 4] = [(b"APIC", &madt), (b"FACP", &fadt), (b"MCFG", &mcfg), (b"HPET", &hpet)];
        for (signature, body) in parts {
            let mut memory = Memory::new();
            let table = memory.add(signature, body);
            memory.finish(&[table]);
            let _ = memory.read();
        }
        let tables = parts.map(|(signature, body)| memory.add(signature, body));
        memory.finish(&tables);
        let _ = memory.read();
    }

    #[test]
    fn no_root_makes_the_reader_panic(root in any::<[u8; 36]>()) {
        let memory = Memory::new();
        let _ = AcpiTables::read(&memory.slice(), RsdpSource::Copy(root));
    }
}

/// One IOMMU in two forms, and memory that devices use for the firmware.
fn ivrs() -> Vec<u8> {
    let mut body = vec![0; 12];
    for (kind, length) in [(0x10, 24_u16), (0x11, 40)] {
        let mut block = vec![kind, 0xb1];
        block.extend(length.to_le_bytes());
        block.extend([0x10, 0, 0x40, 0]);
        block.extend(0xfed8_0000_u64.to_le_bytes());
        block.resize(length.into(), 0);
        body.extend(block);
    }
    let mut memory = vec![0x21, 0b101, 32, 0];
    memory.resize(16, 0);
    memory.extend(0x7ff0_0000_u64.to_le_bytes());
    memory.extend(0x2000_u64.to_le_bytes());
    body.extend(memory);
    body
}

#[test]
fn an_iommu_that_is_described_twice_is_one() {
    let mut memory = Memory::new();
    let table = memory.add(b"IVRS", &ivrs());
    memory.finish(&[table]);
    let found = memory.read().unwrap().iommus;
    let iommu = found.iommus[0];
    assert_eq!(found.iommus.len(), 1);
    assert_eq!((iommu.registers, iommu.segment, iommu.bdf, iommu.flags), (0xfed8_0000, 0, 0x10, 0xb1));
    let used = found.memory[0];
    assert_eq!((used.start, used.length, used.read, used.write), (0x7ff0_0000, 0x2000, false, true));
}

#[test]
fn an_iommu_table_that_is_cut_short_is_refused() {
    let mut body = ivrs();
    body.truncate(body.len() - 1);
    let mut memory = Memory::new();
    let table = memory.add(b"IVRS", &body);
    memory.finish(&[table]);
    assert!(matches!(memory.read(), Err(BootFault::BadStructure { .. })));
}
