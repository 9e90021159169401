//! Copies through a guest's page tables that lie in a large page of its own, and lead out of it.

use xen_abi::{Errno, GuestHandle};
use xenolith_core::memory::guest_memory::GuestView;
use xenolith_fake::{FakeMachine, FakeSpace};
use xenolith_hal::{
    FrameSource, Gfn, Machine, Mapping, Mfn, NestedSpace, PageKind, PageOrder, PagingRegisters, Rights,
};

const LARGE: u64 = 512;
/// Where the tables lie in the guest: in its large page, which lies at another place of the machine.
const TABLES: [u64; 4] = [LARGE + 1, LARGE + 2, LARGE + 3, LARGE + 4];
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;

struct NoTables;

impl FrameSource for NoTables {
    fn take(&mut self) -> Option<Mfn> {
        Some(Mfn(0))
    }

    fn give_back(&mut self, _: Mfn) {}
}

/// A guest with frames 512 to 1023 at the machine's 1024, frame 7 at 9 and frame 8 at 5, the latter only for reading.
/// Virtual page 0 is frame 1000, page 1 is frame 7, page 2 is frame 8, page 3 is frame 1001, page 4 is nowhere.
fn guest() -> (FakeMachine, FakeSpace, PagingRegisters) {
    let (machine, space) = (FakeMachine::new(1, 1536), FakeSpace::default());
    let map = |gfn, mfn, order, rights| {
        let mapping = Mapping { mfn: Mfn(mfn), order, rights, kind: PageKind::Ram };
        space.map(Gfn(gfn), mapping, &mut NoTables).unwrap();
    };
    map(LARGE, 1024, PageOrder::SIZE_2M, Rights::ALL);
    map(7, 9, PageOrder::SIZE_4K, Rights::ALL);
    map(8, 5, PageOrder::SIZE_4K, Rights::READ);
    let set = |table: u64, index: usize, frame: u64| {
        let page = machine.page(Mfn(1024 + table - LARGE)).unwrap();
        page.store_u64(index * 8, (frame << 12) | PRESENT | WRITABLE).unwrap();
    };
    for pair in TABLES.windows(2) {
        set(pair[0], 0, pair[1]);
    }
    for (index, frame) in [1000, 7, 8, 1001, 9].into_iter().enumerate() {
        set(TABLES[3], index, frame);
    }
    let paging = PagingRegisters {
        cr0: 0x8001_0001,
        cr3: TABLES[0] << 12,
        cr4: 0x20,
        efer: 0x500,
        long_code: true,
        ..PagingRegisters::default()
    };
    (machine, space, paging)
}

#[test]
fn a_copy_goes_from_page_to_page_wherever_each_lies() {
    let (machine, space, paging) = guest();
    for (mfn, value) in [(1024 + 488, 0x11), (9, 0x22), (5, 0x33), (1024 + 489, 0x44)] {
        let page = machine.page(Mfn(mfn)).unwrap();
        page.store_u64(0, value).unwrap();
        page.store_u64(4088, value << 8).unwrap();
    }
    let view = GuestView::new(&machine, &space, paging);
    let read = |at: u64| view.read::<[u64; 2]>(GuestHandle::new(at));
    assert_eq!(read(4088), Ok([0x1100, 0x22]));
    assert_eq!(read(2 * 4096 - 8), Ok([0x2200, 0x33]));
    assert_eq!(read(3 * 4096 - 8), Ok([0x3300, 0x44]));
    assert_eq!(read(4 * 4096 - 8), Err(Errno::EFAULT), "frame 9 is nowhere, though it lies beside one that is");
}

#[test]
fn what_is_only_for_reading_is_not_written_after_a_page_that_may_be() {
    let (machine, space, paging) = guest();
    let view = GuestView::new(&machine, &space, paging);
    let written = |at: u64| view.write(GuestHandle::new(at), &[7_u64, 8]);
    assert_eq!(written(4088), Ok(()));
    assert_eq!(machine.page(Mfn(1024 + 488)).unwrap().load_u64(4088), Some(7));
    assert_eq!(machine.page(Mfn(9)).unwrap().load_u64(0), Some(8));
    assert_eq!(written(2 * 4096 - 8), Err(Errno::EFAULT));
    assert_eq!(machine.page(Mfn(5)).unwrap().load_u64(0), Some(0));
}
