//! A walk of the nested tables as the CPU does it, by the bits of its format alone.
//!
//! **Source:** AMD manual volume 2, 5.3 (long-mode page translation) and 15.25.5.

use std::collections::HashSet;

use xenolith_hal::{Mfn, Rights};
use xenolith_x86::guest::frame_access::FrameAccess;
use xenolith_x86::guest::frame_pool::Pool;

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const ROOT: u32 = 4;

/// What the CPU has.
#[derive(Clone, Copy)]
pub struct Cpu {
    pub address_bits: u8,
    pub huge_pages: bool,
}

/// Returns where a guest's access to a frame goes, and what it may do there; None for a nested fault.
///
/// Panics where the CPU would find a reserved bit set.
pub fn walk(pool: &Pool, cpu: Cpu, root: Mfn, gfn: u64) -> Option<(Mfn, Rights)> {
    let mut table = root;
    let mut rights = Rights::ALL;
    for level in (1..=ROOT).rev() {
        let index = (gfn >> (9 * (level - 1))) as usize & 511;
        let word = pool.frame(table).expect("a table").load_u64(index * 8).expect("it lies in the page");
        // A nested walk is a user's access.
        if word & PRESENT == 0 || word & USER == 0 {
            return None;
        }
        rights.set(Rights::WRITE, rights.contains(Rights::WRITE) && word & WRITE != 0);
        rights.set(Rights::EXECUTE, rights.contains(Rights::EXECUTE) && word & NO_EXECUTE == 0);
        let frame = (word & ADDRESS) >> 12;
        assert!(frame >> (cpu.address_bits - 12) == 0, "{gfn:#x}: reserved bits of the address: {word:#x}");
        if level == 1 || word & LARGE != 0 {
            assert!(level <= 2 || (level == 3 && cpu.huge_pages), "{gfn:#x}: no page of level {level}: {word:#x}");
            let inside = (1 << (9 * (level - 1))) - 1;
            assert!(frame & inside == 0, "{gfn:#x}: reserved bits of a large page: {word:#x}");
            return Some((Mfn(frame | (gfn & inside)), rights));
        }
        table = Mfn(frame);
    }
    None
}

/// Lets the guest write to a frame: the CPU sets the dirty bit of the page. Returns false for a nested fault.
pub fn write(pool: &Pool, cpu: Cpu, root: Mfn, gfn: u64) -> bool {
    if !walk(pool, cpu, root, gfn).is_some_and(|(_, rights)| rights.contains(Rights::WRITE)) {
        return false;
    }
    let mut table = root;
    for level in (1..=ROOT).rev() {
        let index = (gfn >> (9 * (level - 1))) as usize & 511;
        let page = pool.frame(table).expect("a table");
        let word = page.load_u64(index * 8).expect("it lies in the page");
        if level == 1 || word & LARGE != 0 {
            page.store_u64(index * 8, word | DIRTY).expect("it lies in the page");
            return true;
        }
        table = Mfn((word & ADDRESS) >> 12);
    }
    false
}

/// Collects every table that a walk can reach.
pub fn tables(pool: &Pool, root: Mfn) -> HashSet<u64> {
    let mut found = HashSet::from([root.0]);
    let mut level_tables = vec![root];
    for level in (2..=ROOT).rev() {
        let mut below = Vec::new();
        for table in level_tables {
            let page = pool.frame(table).expect("a table");
            let words = (0..512).filter_map(|index| page.load_u64(index * 8));
            let lower = words.filter(|word| word & PRESENT != 0 && (word & LARGE == 0 || level == ROOT));
            below.extend(lower.map(|word| Mfn((word & ADDRESS) >> 12)));
        }
        found.extend(below.iter().map(|mfn| mfn.0));
        level_tables = below;
    }
    found
}
