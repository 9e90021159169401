//! The boot loader's tables, in all three protocols: sound ones with random contents, then damaged.

use fastrand::Rng;
use xenolith_bootinfo::{BootInfo, ByteSlice, MachineRange, magic, parse, validate};

use crate::mutation::{damage, number};

/// Where the memory with the tables lies, and where in it each part begins.
const BASE: u64 = 0x1000;
const SIZE: usize = 0x3000;
const MAP: u64 = 0x1800;
const MODULES: u64 = 0x2800;
const TEXT: u64 = 0x3000;
const IMAGE: MachineRange = MachineRange { start: 0x20_0000, end: 0x40_0000 };

struct Tables {
    bytes: Vec<u8>,
}

impl Tables {
    /// Writes `bytes` at `address`. Bytes past the end are dropped: a table that is cut short is worth trying too.
    fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = usize::try_from(address.saturating_sub(BASE)).unwrap_or(SIZE);
        let place = self.bytes.get_mut(at..).unwrap_or_default();
        place.iter_mut().zip(bytes).for_each(|(byte, new)| *byte = *new);
    }

    fn put_u32(&mut self, address: u64, number: u32) {
        self.put(address, &number.to_le_bytes());
    }

    fn put_u64(&mut self, address: u64, number: u64) {
        self.put(address, &number.to_le_bytes());
    }
}

/// Makes entries of a memory map: mostly one after the other, RAM first so that the image has a place.
fn map(dice: &mut Rng) -> Vec<(u64, u64, u32)> {
    let mut entries = vec![(0, 0x9_fc00, 1), (0x10_0000, 0x4000_0000, 1)];
    let mut next = 0x4010_0000;
    for _ in 0..dice.u8(..12) {
        let length = if dice.u8(..8) == 0 { number(dice) } else { dice.u64(1..1 << 32) };
        let start = if dice.u8(..8) == 0 { number(dice) } else { next };
        entries.push((start, length, dice.u32(..9)));
        next = start.wrapping_add(length).wrapping_add(dice.u64(..3) << 12);
    }
    entries
}

/// Makes modules: mostly one after the other behind the image.
fn modules(dice: &mut Rng) -> Vec<(u64, u64)> {
    let mut next = 0x40_0000_u64;
    let mut module = |dice: &mut Rng| {
        let length = if dice.u8(..8) == 0 { number(dice) } else { dice.u64(1..0x100_0000) };
        let start = if dice.u8(..8) == 0 { number(dice) } else { next };
        next = start.wrapping_add(length);
        (start, next)
    };
    (0..dice.u8(..5)).map(|_| module(dice)).collect()
}

fn tables(dice: &mut Rng, protocol: u32) -> Tables {
    let mut tables = Tables { bytes: vec![0; SIZE] };
    tables.put(TEXT, b"xenolith com1=115200,8n1 console=com1 dom0_mem=512M\0");
    let (map, modules) = (map(dice), modules(dice));
    match protocol {
        magic::MULTIBOOT1 => multiboot1(&mut tables, &map, &modules),
        magic::MULTIBOOT2 => multiboot2(&mut tables, &map, &modules),
        _ => pvh(&mut tables, &map, &modules),
    }
    tables
}

fn multiboot1(tables: &mut Tables, map: &[(u64, u64, u32)], modules: &[(u64, u64)]) {
    tables.put_u32(BASE, 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9 | 1 << 12);
    tables.put_u32(BASE + 16, TEXT as u32);
    tables.put_u32(BASE + 20, modules.len() as u32);
    tables.put_u32(BASE + 24, MODULES as u32);
    tables.put_u32(BASE + 44, 24 * map.len() as u32);
    tables.put_u32(BASE + 48, MAP as u32);
    tables.put_u32(BASE + 64, TEXT as u32);
    for (at, (start, end)) in (MODULES..).step_by(16).zip(modules) {
        tables.put_u32(at, *start as u32);
        tables.put_u32(at + 4, *end as u32);
        tables.put_u32(at + 8, TEXT as u32);
    }
    for (at, (start, length, kind)) in (MAP..).step_by(24).zip(map) {
        tables.put_u32(at, 20);
        tables.put_u64(at + 4, *start);
        tables.put_u64(at + 12, *length);
        tables.put_u32(at + 20, *kind);
    }
}

fn multiboot2(tables: &mut Tables, map: &[(u64, u64, u32)], modules: &[(u64, u64)]) {
    let text = b"placeholder com1=115200\0";
    let mut tags: Vec<(u32, Vec<u8>)> = vec![(1, text.to_vec()), (2, b"GRUB 2.06\0".to_vec())];
    let mut entries = [24_u32.to_le_bytes(), 0_u32.to_le_bytes()].concat();
    for (start, length, kind) in map {
        entries.extend([start.to_le_bytes(), length.to_le_bytes(), u64::from(*kind).to_le_bytes()].concat());
    }
    tags.push((6, entries));
    for (start, end) in modules {
        tags.push((3, [&(*start as u32).to_le_bytes()[..], &(*end as u32).to_le_bytes(), text].concat()));
    }
    tags.extend([(15, vec![b'R'; 36]), (8, vec![1; 32]), (12, vec![2; 8]), (0, vec![])]);
    let mut at = BASE + 8;
    for (kind, body) in tags {
        let size = 8 + body.len() as u64;
        tables.put_u32(at, kind);
        tables.put_u32(at + 4, size as u32);
        tables.put(at + 8, &body);
        at += size.next_multiple_of(8);
    }
    tables.put_u32(BASE, (at - BASE) as u32);
}

fn pvh(tables: &mut Tables, map: &[(u64, u64, u32)], modules: &[(u64, u64)]) {
    let head = [magic::PVH, 1, 0, modules.len() as u32];
    (BASE..).step_by(4).zip(head).for_each(|(at, word)| tables.put_u32(at, word));
    let addresses = [MODULES, TEXT, 0xe_0000, MAP, map.len() as u64];
    (BASE + 16..).step_by(8).zip(addresses).for_each(|(at, address)| tables.put_u64(at, address));
    for (at, (start, end)) in (MODULES..).step_by(32).zip(modules) {
        let words = [*start, end.wrapping_sub(*start), TEXT];
        (at..).step_by(8).zip(words).for_each(|(at, word)| tables.put_u64(at, word));
    }
    for (at, (start, length, kind)) in (MAP..).step_by(24).zip(map) {
        let words = [*start, *length, u64::from(*kind)];
        (at..).step_by(8).zip(words).for_each(|(at, word)| tables.put_u64(at, word));
    }
}

/// Parses one set of tables; panics where what was accepted is not sound.
pub fn run(dice: &mut Rng) {
    let protocol = [magic::MULTIBOOT1, magic::MULTIBOOT2, magic::PVH][dice.usize(..3)];
    let mut tables = tables(dice, protocol);
    if dice.u8(..4) > 0 {
        // The tables proper, more often than the whole memory.
        let end = if dice.bool() { 0x200 } else { SIZE };
        damage(dice, tables.bytes.get_mut(..end).unwrap_or_default());
    }
    let memory = ByteSlice { base: BASE, bytes: &tables.bytes };
    match parse(&memory, protocol, BASE) {
        Ok(info) => judge(&info),
        Err(fault) => assert!(!fault.to_string().is_empty()),
    }
}

fn judge(info: &BootInfo) {
    let regions = info.memory.regions();
    assert!(regions.iter().all(|region| region.range.start < region.range.end), "an empty region");
    for (one, two) in regions.iter().zip(regions.iter().skip(1)) {
        assert!(one.range.end <= two.range.start, "regions overlap: {one:?} {two:?}");
    }
    for module in info.modules() {
        assert!(info.module_command_line(module).is_ascii());
    }
    assert!(info.command_line().is_ascii());
    if let Err(fault) = validate(info, IMAGE) {
        assert!(!fault.to_string().is_empty());
        return;
    }
    for (index, module) in info.modules().iter().enumerate() {
        let all_ram = info.memory.ram().any(|ram| ram.contains(module.range));
        assert!(all_ram && !module.range.overlaps(IMAGE), "a module was accepted in a wrong place: {module:?}");
        let others = info.modules().iter().skip(index + 1);
        assert!(others.into_iter().all(|other| !other.range.overlaps(module.range)), "two modules in one place");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undamaged_tables_are_accepted_often_enough_to_be_judged() {
        for protocol in [magic::MULTIBOOT1, magic::MULTIBOOT2, magic::PVH] {
            let accepted = (0..400).filter(|seed| {
                let tables = tables(&mut Rng::with_seed(*seed), protocol);
                let memory = ByteSlice { base: BASE, bytes: &tables.bytes };
                parse(&memory, protocol, BASE).is_ok_and(|info| validate(&info, IMAGE).is_ok())
            });
            let count = accepted.count();
            assert!(count > 20, "{count} of 400 by protocol {protocol:#x}");
        }
    }
}
