//! The loaders' tables, well-formed and not.

use proptest::prelude::*;
use xenolith_bootinfo::{
    BootFault, BootInfo, ByteSlice, MachineRange, MemoryKind, MemoryMap, MemoryPlan, RsdpSource, Table, heap_bytes,
    magic, parse, validate,
};

/// A little physical memory that tables are written into.
struct Memory {
    bytes: Vec<u8>,
}

const BASE: u64 = 0x1000;
const IMAGE: MachineRange = MachineRange { start: 0x20_0000, end: 0x30_0000 };
/// Low RAM, the hole below 1 MiB, RAM up to 1 GiB, RAM above 4 GiB.
const USUAL_MAP: [(u64, u64, u32); 4] =
    [(0, 0x9_fc00, 1), (0x9_fc00, 0x400, 2), (0x10_0000, 0x3ff0_0000, 1), (1 << 32, 1 << 30, 1)];

impl Memory {
    fn new() -> Self {
        Self { bytes: vec![0; 0x4000] }
    }

    fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = usize::try_from(address - BASE).unwrap();
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn put_u32(&mut self, address: u64, number: u32) {
        self.put(address, &number.to_le_bytes());
    }

    fn put_u64(&mut self, address: u64, number: u64) {
        self.put(address, &number.to_le_bytes());
    }

    fn parse(&self, magic: u32) -> Result<BootInfo, BootFault> {
        parse(&ByteSlice { base: BASE, bytes: &self.bytes }, magic, BASE)
    }
}

/// What QEMU's `-kernel` leaves: names before each command line.
fn multiboot1(map: &[(u64, u64, u32)], modules: &[(u32, u32)]) -> Memory {
    let mut memory = Memory::new();
    memory.put_u32(BASE, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
    memory.put_u32(BASE + 16, 0x1100);
    memory.put(0x1100, b"xenolith loglvl=all\0");
    memory.put_u32(BASE + 20, u32::try_from(modules.len()).unwrap());
    memory.put_u32(BASE + 24, 0x1200);
    for (index, (start, end)) in (0..).zip(modules) {
        memory.put_u32(0x1200 + 16 * index, *start);
        memory.put_u32(0x1204 + 16 * index, *end);
        memory.put_u32(0x1208 + 16 * index, 0x1180);
    }
    memory.put(0x1180, b"vmlinuz console=hvc0\0");
    memory.put_u32(BASE + 44, u32::try_from(map.len() * 24).unwrap());
    memory.put_u32(BASE + 48, 0x1800);
    for (index, (start, length, kind)) in (0..).zip(map) {
        memory.put_u32(0x1800 + 24 * index, 20);
        memory.put_u64(0x1804 + 24 * index, *start);
        memory.put_u64(0x180c + 24 * index, *length);
        memory.put_u32(0x1814 + 24 * index, *kind);
    }
    memory.put_u32(BASE + 64, 0x11c0);
    memory.put(0x11c0, b"qemu\0");
    memory
}

/// What GRUB leaves: no names, the RSDP in a tag.
fn multiboot2(map: &[(u64, u64, u32)], modules: &[(u32, u32)]) -> Memory {
    let mut memory = Memory::new();
    let mut at = BASE + 8;
    let mut tag = |memory: &mut Memory, kind: u32, body: &[u8]| {
        let size = 8 + body.len();
        memory.put_u32(at, kind);
        memory.put_u32(at + 4, u32::try_from(size).unwrap());
        memory.put(at + 8, body);
        at += u64::try_from(size.next_multiple_of(8)).unwrap();
    };
    tag(&mut memory, 1, b"placeholder dom0_mem=1G\0");
    tag(&mut memory, 2, b"GRUB 2.06-13\0");
    for (start, end) in modules {
        tag(&mut memory, 3, &[&start.to_le_bytes()[..], &end.to_le_bytes(), b"root=/dev/sda1\0"].concat());
    }
    let mut body = [24_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat();
    for (start, length, kind) in map {
        body.extend([start.to_le_bytes(), length.to_le_bytes(), u64::from(*kind).to_le_bytes()].concat());
    }
    tag(&mut memory, 6, &body);
    tag(&mut memory, 14, b"RSD PTR old.........");
    tag(&mut memory, 15, b"RSD PTR new.........................");
    tag(&mut memory, 0, b"");
    memory.put_u32(BASE, u32::try_from(at - BASE).unwrap());
    memory
}

fn pvh(map: &[(u64, u64, u32)], modules: &[(u64, u64)]) -> Memory {
    let mut memory = Memory::new();
    memory.put_u32(BASE, magic::PVH);
    memory.put_u32(BASE + 4, 1);
    memory.put_u32(BASE + 12, u32::try_from(modules.len()).unwrap());
    memory.put_u64(BASE + 16, 0x1200);
    for (index, (start, length)) in (0..).zip(modules) {
        memory.put_u64(0x1200 + 32 * index, *start);
        memory.put_u64(0x1208 + 32 * index, *length);
    }
    memory.put_u64(BASE + 24, 0x1100);
    memory.put(0x1100, b"noreboot com1=115200,8n1\0");
    memory.put_u64(BASE + 32, 0xf_5ac0);
    memory.put_u64(BASE + 40, 0x1800);
    memory.put_u32(BASE + 48, u32::try_from(map.len()).unwrap());
    for (index, (start, length, kind)) in (0..).zip(map) {
        memory.put_u64(0x1800 + 24 * index, *start);
        memory.put_u64(0x1808 + 24 * index, *length);
        memory.put_u32(0x1810 + 24 * index, *kind);
    }
    memory
}

fn verdict(memory: &Memory, magic: u32) -> Result<(), BootFault> {
    validate(&memory.parse(magic)?, IMAGE)
}

#[test]
fn multiboot1_loses_the_file_names_that_qemu_prepends() {
    let info = multiboot1(&USUAL_MAP, &[(0x30_0000, 0x31_0000)]).parse(magic::MULTIBOOT1).unwrap();
    assert_eq!(info.loader_name(), "qemu");
    assert_eq!(info.command_line(), "loglvl=all");
    assert_eq!(info.module_command_line(&info.modules()[0]), "console=hvc0");
    assert_eq!(info.memory.regions().len(), 4);
    assert_eq!(validate(&info, IMAGE), Ok(()));
}

#[test]
fn multiboot2_keeps_every_word_but_the_placeholder() {
    let info = multiboot2(&USUAL_MAP, &[(0x30_0000, 0x31_0000)]).parse(magic::MULTIBOOT2).unwrap();
    assert_eq!(info.command_line(), "dom0_mem=1G");
    assert_eq!(info.module_command_line(&info.modules()[0]), "root=/dev/sda1");
    assert!(matches!(info.rsdp, Some(RsdpSource::Copy(copy)) if copy.starts_with(b"RSD PTR new")));
    assert_eq!(validate(&info, IMAGE), Ok(()));
}

#[test]
fn pvh_passes_arguments_alone() {
    let info = pvh(&USUAL_MAP, &[(0x40_0000, 0x1000)]).parse(magic::PVH).unwrap();
    assert_eq!(info.command_line(), "noreboot com1=115200,8n1");
    assert_eq!(info.rsdp, Some(RsdpSource::At(0xf_5ac0)));
    assert_eq!(info.modules()[0].range, MachineRange { start: 0x40_0000, end: 0x40_1000 });
    assert_eq!(validate(&info, IMAGE), Ok(()));
}

#[test]
fn an_unknown_magic_number_is_named() {
    assert_eq!(Memory::new().parse(7), Err(BootFault::UnknownLoader { magic: 7 }));
}

#[test]
fn overlapping_ram_is_refused_by_every_protocol() {
    let map = [(0, 0x9_f000, 1), (0x10_0000, 0x1000_0000, 1), (0x800_0000, 0x1000_0000, 1)];
    let expected = Err(BootFault::MapOverlap {
        first: MachineRange { start: 0x10_0000, end: 0x1010_0000 },
        second: MachineRange { start: 0x800_0000, end: 0x1800_0000 },
    });
    assert_eq!(verdict(&multiboot1(&map, &[]), magic::MULTIBOOT1), expected);
    assert_eq!(verdict(&multiboot2(&map, &[]), magic::MULTIBOOT2), expected);
    assert_eq!(verdict(&pvh(&map, &[]), magic::PVH), expected);
}

#[test]
fn reserved_memory_on_ram_is_refused_but_reserved_on_reserved_is_not() {
    let mut map = MemoryMap::new();
    map.add(0, 0x1000, MemoryKind::Reserved).unwrap();
    map.add(0x800, 0x1000, MemoryKind::Reserved).unwrap();
    map.add(0x10_0000, 0x1000, MemoryKind::Ram).unwrap();
    let mut clashing = map.clone();
    assert_eq!(map.finish(), Ok(()));
    assert_eq!(map.regions()[0].range, MachineRange { start: 0, end: 0x1800 });
    clashing.add(0x10_0800, 0x10, MemoryKind::Reserved).unwrap();
    assert!(matches!(clashing.finish(), Err(BootFault::MapOverlap { .. })));
}

#[test]
fn an_entry_of_no_bytes_is_named_by_its_place() {
    let expected = Err(BootFault::ZeroLength { table: Table::MemoryMap, index: 1, start: 0x5000 });
    let map = [(0, 0x1000, 1), (0x5000, 0, 1)];
    assert_eq!(verdict(&multiboot1(&map, &[]), magic::MULTIBOOT1), expected);
    assert_eq!(verdict(&multiboot2(&map, &[]), magic::MULTIBOOT2), expected);
}

#[test]
fn an_entry_past_the_end_of_the_address_space_is_refused() {
    let map = [(0, 0x1000, 1), (u64::MAX - 10, 100, 2)];
    let expected = Err(BootFault::WrapAround { table: Table::MemoryMap, index: 1, start: u64::MAX - 10 });
    assert_eq!(verdict(&pvh(&map, &[]), magic::PVH), expected);
}

#[test]
fn a_module_of_no_bytes_or_backwards_is_refused() {
    let empty = multiboot1(&USUAL_MAP, &[(0x40_0000, 0x40_0000)]);
    let expected = BootFault::ZeroLength { table: Table::Modules, index: 0, start: 0x40_0000 };
    assert_eq!(verdict(&empty, magic::MULTIBOOT1), Err(expected));
    let backwards = multiboot2(&USUAL_MAP, &[(0x40_0000, 0x3f_0000)]);
    let expected = BootFault::WrapAround { table: Table::Modules, index: 0, start: 0x40_0000 };
    assert_eq!(verdict(&backwards, magic::MULTIBOOT2), Err(expected));
    let wrapping = pvh(&USUAL_MAP, &[(0x40_0000, u64::MAX - 0x1000)]);
    assert_eq!(verdict(&wrapping, magic::PVH), Err(expected));
}

#[test]
fn a_module_outside_ram_is_refused() {
    let range = MachineRange { start: 0x3fff_f000, end: 0x4000_1000 };
    let memory = multiboot1(&USUAL_MAP, &[(0x40_0000, 0x41_0000), (0x3fff_f000, 0x4000_1000)]);
    assert_eq!(verdict(&memory, magic::MULTIBOOT1), Err(BootFault::ModuleOutsideRam { index: 1, range }));
}

#[test]
fn a_module_on_the_image_is_refused() {
    let range = MachineRange { start: 0x2f_ffff, end: 0x31_0000 };
    let memory = multiboot2(&USUAL_MAP, &[(0x2f_ffff, 0x31_0000)]);
    let expected = Err(BootFault::ModuleOnImage { index: 0, range, image: IMAGE });
    assert_eq!(verdict(&memory, magic::MULTIBOOT2), expected);
}

#[test]
fn two_modules_on_each_other_are_refused() {
    let memory = multiboot1(&USUAL_MAP, &[(0x40_0000, 0x50_0000), (0x60_0000, 0x70_0000), (0x4f_f000, 0x51_0000)]);
    let expected = Err(BootFault::ModuleOverlap { first: 0, second: 2 });
    assert_eq!(verdict(&memory, magic::MULTIBOOT1), expected);
}

#[test]
fn an_image_outside_ram_is_refused() {
    let memory = multiboot1(&[(0, 0x9_f000, 1), (0x10_0000, 0x10_0000, 1)], &[]);
    assert_eq!(verdict(&memory, magic::MULTIBOOT1), Err(BootFault::ImageOutsideRam { image: IMAGE }));
}

#[test]
fn too_many_modules_are_refused() {
    let modules: Vec<_> = (0..20).map(|index| (0x40_0000 + index * 0x1000, 0x40_1000 + index * 0x1000)).collect();
    let expected = Err(BootFault::TooManyEntries { table: Table::Modules, limit: 16 });
    assert_eq!(verdict(&multiboot1(&USUAL_MAP, &modules), magic::MULTIBOOT1), expected);
}

#[test]
fn no_map_and_a_map_without_ram_are_two_faults() {
    assert_eq!(verdict(&multiboot1(&[], &[]), magic::MULTIBOOT1), Err(BootFault::NoMemoryMap));
    assert_eq!(verdict(&multiboot2(&[(0, 0x1000, 2)], &[]), magic::MULTIBOOT2), Err(BootFault::NoRam));
}

#[test]
fn a_pointer_into_nowhere_is_named() {
    let mut memory = multiboot1(&USUAL_MAP, &[]);
    memory.put_u32(BASE + 48, 0xf000_0000);
    let expected = BootFault::Unreadable { table: Table::MemoryMap, address: 0xf000_0000 };
    assert_eq!(verdict(&memory, magic::MULTIBOOT1), Err(expected));
}

#[test]
fn a_tag_longer_than_the_structure_is_refused() {
    let mut memory = multiboot2(&USUAL_MAP, &[]);
    memory.put_u32(BASE + 12, 0x10_0000);
    let expected = BootFault::BadStructure { table: Table::Information, address: BASE + 8 };
    assert_eq!(verdict(&memory, magic::MULTIBOOT2), Err(expected));
}

#[test]
fn touching_entries_of_one_kind_become_one() {
    let mut map = MemoryMap::new();
    map.add(0x2000, 0x1000, MemoryKind::Ram).unwrap();
    map.add(0x1000, 0x1000, MemoryKind::Ram).unwrap();
    map.add(0x3000, 0x1000, MemoryKind::AcpiNvs).unwrap();
    map.finish().unwrap();
    assert_eq!(map.regions().len(), 2);
    assert!(map.is_ram(MachineRange { start: 0x1800, end: 0x2800 }));
    assert!(!map.is_ram(MachineRange { start: 0x2800, end: 0x3001 }));
    assert_eq!(map.ram_bytes(), 0x2000);
}

fn plan(map: &[(u64, u64, u32)], modules: &[(u32, u32)]) -> MemoryPlan {
    let info = multiboot1(map, modules).parse(magic::MULTIBOOT1).unwrap();
    MemoryPlan::new(&info, IMAGE).unwrap()
}

/// RAM and what became of the rest, by where each stretch ends.
fn limited(end: u64, bytes: u64) -> Vec<(u64, MemoryKind)> {
    let mut map = MemoryMap::new();
    for (start, length, kind) in USUAL_MAP {
        map.add(start, length, MemoryKind::from_e820(kind)).unwrap();
    }
    map.finish().unwrap();
    map.limit(end, bytes);
    map.regions().iter().map(|region| (region.range.end, region.kind)).collect()
}

#[test]
fn ram_above_a_limit_is_unusable() {
    use MemoryKind::{Ram, Reserved, Unusable};
    const GIB: u64 = 1 << 30;
    let low = [(0x9_fc00, Ram), (0xa_0000, Reserved)];
    assert_eq!(limited(u64::MAX, u64::MAX)[2..], [(GIB, Ram), (5 * GIB, Ram)]);
    assert_eq!(limited(GIB / 2, u64::MAX)[..2], low);
    assert_eq!(limited(GIB / 2, u64::MAX)[2..], [(GIB / 2, Ram), (GIB, Unusable), (5 * GIB, Unusable)]);
    assert_eq!(limited(4 * GIB + 4096, u64::MAX)[2..], [(GIB, Ram), (4 * GIB + 4096, Ram), (5 * GIB, Unusable)]);
    // So many bytes: the first megabyte has less than 640 KiB of them.
    let bytes = 0x9_fc00 + 0x3ff0_0000 + 8192;
    assert_eq!(limited(u64::MAX, bytes)[2..], [(GIB, Ram), (4 * GIB + 8192, Ram), (5 * GIB, Unusable)]);
    assert!(limited(u64::MAX, 0).iter().all(|(_, kind)| *kind != Ram));
}

#[test]
fn the_heap_grows_with_the_machine_between_bounds() {
    assert_eq!(heap_bytes(256 << 20), 64 << 20);
    assert_eq!(heap_bytes(1 << 30), 72 << 20);
    assert_eq!(heap_bytes(4 << 30), 128 << 20);
    assert_eq!(heap_bytes(64 << 30), 1 << 30);
    assert_eq!(heap_bytes(1 << 40), 8 << 30);
    assert_eq!(heap_bytes(64 << 20), 16 << 20);
}

#[test]
fn everything_planned_is_ram_and_apart_from_all_else() {
    let modules = [(0x30_0000, 0x31_0123), (0x3f00_0000, 0x3fff_0000)];
    let plan = plan(&USUAL_MAP, &modules);
    assert!(plan.early.end <= 1 << 32 && plan.heap.start >= 1 << 32);
    assert_eq!(plan.start_page, Some(0x9_e000));
    let modules = modules.map(|(start, end)| MachineRange { start: start.into(), end: end.into() });
    let mut all: Vec<_> = plan.free.iter().copied().chain([plan.early, plan.heap, IMAGE]).chain(modules).collect();
    all.sort();
    assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start), "{all:?}");
    let sum: u64 = all.iter().map(|range| range.length()).sum();
    // Only the rest of the first module's last page is lost.
    assert_eq!(sum, 0x3ff0_0000 + (1 << 30) - (0x1000 - 0x123));
}

#[test]
fn the_start_page_keeps_off_modules_in_low_memory() {
    assert_eq!(plan(&USUAL_MAP, &[(0x5000, 0x9_f000)]).start_page, Some(0x4000));
    assert_eq!(plan(&USUAL_MAP, &[(0x1000, 0x9_fc00)]).start_page, None);
}

#[test]
fn a_machine_too_small_for_the_heap_is_told_so() {
    let info = multiboot1(&[(0x20_0000, 0x20_0000, 1)], &[]).parse(magic::MULTIBOOT1).unwrap();
    assert_eq!(MemoryPlan::new(&info, IMAGE), Err(BootFault::TooLittleRam));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..2048), protocol in 0..3_usize) {
        let magic = [magic::MULTIBOOT1, magic::MULTIBOOT2, magic::PVH][protocol];
        if let Ok(info) = parse(&ByteSlice { base: BASE, bytes: &bytes }, magic, BASE) {
            let _ = validate(&info, IMAGE);
        }
    }

    #[test]
    fn no_damage_to_good_tables_makes_the_parser_panic(
        damage in prop::collection::vec((0..0x1000_usize, any::<u8>()), 1..16),
        protocol in 0..3_usize,
    ) {
        let modules = [(0x30_0000, 0x31_0000)];
        let (mut memory, magic) = match protocol {
            0 => (multiboot1(&USUAL_MAP, &modules), magic::MULTIBOOT1),
            1 => (multiboot2(&USUAL_MAP, &modules), magic::MULTIBOOT2),
            _ => (pvh(&USUAL_MAP, &[(0x30_0000, 0x1_0000)]), magic::PVH),
        };
        for (at, byte) in damage {
            memory.bytes[at] = byte;
        }
        if let Ok(info) = memory.parse(magic) && validate(&info, IMAGE) == Ok(()) {
            for module in info.modules() {
                prop_assert!(info.memory.is_ram(module.range) && !module.range.overlaps(IMAGE));
            }
        }
    }

    #[test]
    fn a_finished_map_is_sorted_and_has_no_overlap(
        entries in prop::collection::vec((0..64_u64, 1..8_u64, 1..4_u32), 1..12),
    ) {
        let mut map = MemoryMap::new();
        for (start, length, kind) in &entries {
            map.add(start << 12, length << 12, MemoryKind::from_e820(*kind)).unwrap();
        }
        let clash = |page: u64| {
            let here: Vec<_> = entries.iter().filter(|(start, length, _)| (*start..start + length).contains(&page)).collect();
            here.len() > 1 && here.iter().any(|(_, _, kind)| *kind == 1 || *kind != here[0].2)
        };
        match map.finish() {
            Ok(()) => {
                prop_assert!(!(0..80).any(clash));
                prop_assert!(map.regions().windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
            }
            Err(BootFault::NoRam) => prop_assert!(entries.iter().all(|(_, _, kind)| *kind != 1)),
            Err(fault) => prop_assert!((0..80).any(clash), "{fault}"),
        }
    }
}
