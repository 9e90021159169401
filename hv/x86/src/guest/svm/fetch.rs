//! Fetching a guest's instruction where the CPU does not provide it.
//!
//! The guest may change its tables and its code meanwhile, from another vCPU; what is read is used only on this guest's
//! own behalf, so it deceives only itself.
//!
//! **Source:** AMD manual volume 2, 5.2 (legacy page tables), 5.3 (long mode).

use crate::guest::frame_access::FrameAccess;
use crate::guest::nested::NestedTables;
use xenolith_hal::{Gpa, NestedSpace, PAGE_SIZE, PageKind, PagingRegisters};

const CR0_PG: u64 = 1 << 31;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const EFER_LMA: u64 = 1 << 10;
const PRESENT: u64 = 1;
const LARGE: u64 = 1 << 7;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The longest instruction, in bytes.
pub(super) const LONGEST: usize = 15;

/// Reads `N` bytes that lie in one page of RAM.
fn read<A: FrameAccess, const N: usize>(space: &NestedTables<A>, at: u64) -> Option<[u8; N]> {
    let at = Gpa(at);
    let found = space.lookup(at.gfn()).filter(|found| found.kind != PageKind::Mmio)?;
    let mut bytes = [0; N];
    space.access().frame(found.mfn)?.read_bytes(at.page_offset(), &mut bytes).then_some(bytes)
}

fn wide_entry<A: FrameAccess>(space: &NestedTables<A>, at: u64) -> Option<u64> {
    read(space, at).map(u64::from_le_bytes).filter(|entry| entry & PRESENT != 0)
}

/// Walks tables of 8-byte entries: four levels in long mode, else three of which the first has four entries (PAE).
fn walk_wide<A: FrameAccess>(space: &NestedTables<A>, paging: &PagingRegisters, linear: u64) -> Option<u64> {
    let long = paging.efer & EFER_LMA != 0;
    let mut table = if long { paging.cr3 & ADDRESS } else { paging.cr3 & 0xffff_ffe0 };
    for level in (0..if long { 4 } else { 3 }).rev() {
        let shift = 12 + 9 * level;
        let index = (linear >> shift) & if level == 2 && !long { 3 } else { 511 };
        let entry = wide_entry(space, table | (index << 3))?;
        let may_be_page = level == 0 || (entry & LARGE != 0 && (level == 1 || (level == 2 && long)));
        if may_be_page {
            let inside = (1 << shift) - 1;
            return Some((entry & ADDRESS & !inside) | (linear & inside));
        }
        table = entry & ADDRESS;
    }
    None
}

/// Walks tables of 4-byte entries, two levels.
fn walk_narrow<A: FrameAccess>(space: &NestedTables<A>, paging: &PagingRegisters, linear: u64) -> Option<u64> {
    let entry = |table: u64, index: u64| {
        let word = read(space, (table & 0xffff_f000) | (index << 2)).map(u32::from_le_bytes)?;
        Some(u64::from(word)).filter(|word| word & PRESENT != 0)
    };
    let directory = entry(paging.cr3, (linear >> 22) & 0x3ff)?;
    if directory & LARGE != 0 && paging.cr4 & CR4_PSE != 0 {
        return Some((directory & 0xffc0_0000) | (linear & 0x3f_ffff));
    }
    let page = entry(directory, (linear >> 12) & 0x3ff)?;
    Some((page & 0xffff_f000) | (linear & 0xfff))
}

/// Translates a linear address to a guest physical one. Rights are not checked: the CPU has just run code there.
fn translate<A: FrameAccess>(space: &NestedTables<A>, paging: &PagingRegisters, linear: u64) -> Option<u64> {
    if paging.cr0 & CR0_PG == 0 {
        Some(linear & 0xffff_ffff)
    } else if paging.cr4 & CR4_PAE != 0 {
        walk_wide(space, paging, linear)
    } else {
        walk_narrow(space, paging, linear & 0xffff_ffff)
    }
}

/// Returns the bytes from a linear address on; fewer than [`LONGEST`] if the next page is not mapped.
pub(super) fn instruction<A: FrameAccess>(
    space: &NestedTables<A>,
    paging: &PagingRegisters,
    linear: u64,
) -> ([u8; LONGEST], usize) {
    let mut bytes = [0; LONGEST];
    let mut count = 0;
    let mut page = None;
    for byte in &mut bytes {
        let at = linear.wrapping_add(count as u64);
        if page.is_none() || at.is_multiple_of(PAGE_SIZE as u64) {
            page = translate(space, paging, at).map(|found| found.wrapping_sub(at));
        }
        let Some([value]) = page.and_then(|offset| read(space, at.wrapping_add(offset))) else { break };
        *byte = value;
        count += 1;
    }
    (bytes, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::frame_pool::Pool;
    use crate::guest::nested::TableLimits;
    use xenolith_hal::{FrameSource, Gfn, Mapping, Mfn, PageOrder, Rights};

    /// Returns a space with these guest frames, each a page of its own.
    fn space(gfns: &[u64]) -> (NestedTables<Pool>, Pool) {
        let mut pool = Pool::new(64);
        let limits = TableLimits { address_bits: 40, huge_pages: false };
        let space = NestedTables::new(pool.clone(), limits, 1, &mut pool).unwrap();
        for gfn in gfns {
            let mfn = pool.take().unwrap();
            let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
            space.map(Gfn(*gfn), mapping, &mut pool).unwrap();
        }
        (space, pool)
    }

    fn put(space: &NestedTables<Pool>, at: u64, bytes: &[u8]) {
        let mfn: Mfn = space.lookup(Gpa(at).gfn()).unwrap().mfn;
        assert!(space.access().frame(mfn).unwrap().write_bytes(Gpa(at).page_offset(), bytes));
    }

    fn put_entry(space: &NestedTables<Pool>, at: u64, entry: u64) {
        put(space, at, &entry.to_le_bytes());
    }

    const LONG: PagingRegisters = PagingRegisters {
        cr0: CR0_PG | 1,
        cr3: 0x1000,
        cr4: CR4_PAE,
        efer: EFER_LMA,
        rflags: 2,
        cpl: 0,
        long_code: true,
    };

    #[test]
    fn code_is_found_through_four_levels_and_across_pages() {
        let (space, _) = space(&[1, 2, 3, 4, 5, 6]);
        let linear = 0xffff_8000_0020_1ffe_u64;
        put_entry(&space, 0x1000 + 256 * 8, 0x2003);
        put_entry(&space, 0x2000, 0x3003);
        put_entry(&space, 0x3000 + 8, 0x4003);
        put_entry(&space, 0x4000 + 8, 0x6003);
        put_entry(&space, 0x4000 + 2 * 8, 0x5003);
        put(&space, 0x6ffe, &[0x0f, 0x22]);
        put(&space, 0x5000, &[0xe1, 0x90]);
        let (bytes, count) = instruction(&space, &LONG, linear);
        assert_eq!(count, LONGEST);
        assert_eq!(bytes.get(..4), Some(&[0x0f, 0x22, 0xe1, 0x90][..]));
    }

    #[test]
    fn large_pages_of_each_mode_are_understood() {
        let (space, _) = space(&[1, 2, 3, 0x205]);
        put(&space, 0x20_5010, &[0xf4]);
        let first = |paging: &PagingRegisters, linear| {
            let (bytes, count) = instruction(&space, paging, linear);
            (count > 0).then_some(bytes[0])
        };
        put_entry(&space, 0x1000, 0x2003);
        put_entry(&space, 0x2000, 0x3003);
        put_entry(&space, 0x3000, 0x20_0083);
        assert_eq!(first(&LONG, 0x5010), Some(0xf4));
        let legacy = PagingRegisters { efer: 0, long_code: false, ..LONG };
        put_entry(&space, 0x1000, 0x3001);
        assert_eq!(first(&legacy, 0x5010), Some(0xf4));
        let narrow = PagingRegisters { cr4: CR4_PSE, cr3: 0x2000, ..legacy };
        put_entry(&space, 0x2000, 0x83);
        assert_eq!(first(&narrow, 0x20_5010), Some(0xf4));
        let unpaged = PagingRegisters { cr0: 1, ..narrow };
        assert_eq!(first(&unpaged, 0x20_5010), Some(0xf4));
    }

    #[test]
    fn code_that_is_not_there_gives_no_bytes() {
        let (space, _) = space(&[1]);
        assert_eq!(instruction(&space, &LONG, 0x1234).1, 0);
        assert_eq!(instruction(&space, &PagingRegisters::default(), 0x9_0000).1, 0);
        assert_eq!(instruction(&space, &PagingRegisters::default(), 0x1ff8).1, 8);
    }
}
