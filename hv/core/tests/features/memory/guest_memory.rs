//! Copies through a guest's page tables that lie in a large page of its own, and lead out of it.

use xen_abi::sched::SchedPoll;
use xen_abi::{DomId, Errno, GuestHandle};
use xenolith_core::memory::frames::{Frames, PagingPool};
use xenolith_core::memory::guest_memory::{GuestView, Layout};
use xenolith_core::memory::physmap::{Memory, Physmap};
use xenolith_fake::{FakeMachine, FakeSpace};
use xenolith_hal::{
    FrameSource, Gfn, Machine, Mapping, Mfn, NestedSpace, PageKind, PageOrder, PagingRegisters, Rights,
};

const LARGE: u64 = 512;
/// Where the tables lie in the guest: in its large page, which lies at another place of the machine.
const TABLES: [u64; 4] = [LARGE + 1, LARGE + 2, LARGE + 3, LARGE + 4];
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;

/// What the domain of these pages has besides: nothing.
struct Rest(Frames, Physmap);

impl Rest {
    fn new() -> Self {
        Self(Frames::new(Mfn(0), &[], 1).unwrap(), Physmap::new(PagingPool::new(0)))
    }

    fn memory<'a>(&'a self, machine: &'a FakeMachine, space: &'a FakeSpace) -> Memory<'a, FakeMachine, FakeSpace> {
        Memory { owner: DomId(1), frames: &self.0, pages: machine, space, physmap: &self.1 }
    }
}

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
    let rest = Rest::new();
    for (mfn, value) in [(1024 + 488, 0x11), (9, 0x22), (5, 0x33), (1024 + 489, 0x44)] {
        let page = machine.page(Mfn(mfn)).unwrap();
        page.store_u64(0, value).unwrap();
        page.store_u64(4088, value << 8).unwrap();
    }
    let view = GuestView::new(rest.memory(&machine, &space), paging, Layout::Native);
    let read = |at: u64| view.read::<[u64; 2]>(GuestHandle::new(at));
    assert_eq!(read(4088), Ok([0x1100, 0x22]));
    assert_eq!(read(2 * 4096 - 8), Ok([0x2200, 0x33]));
    assert_eq!(read(3 * 4096 - 8), Ok([0x3300, 0x44]));
    assert_eq!(read(4 * 4096 - 8), Err(Errno::EFAULT), "frame 9 is nowhere, though it lies beside one that is");
}

#[test]
fn what_is_only_for_reading_is_not_written_after_a_page_that_may_be() {
    let (machine, space, paging) = guest();
    let rest = Rest::new();
    let view = GuestView::new(rest.memory(&machine, &space), paging, Layout::Native);
    let written = |at: u64| view.write(GuestHandle::new(at), &[7_u64, 8]);
    assert_eq!(written(4088), Ok(()));
    assert_eq!(machine.page(Mfn(1024 + 488)).unwrap().load_u64(4088), Some(7));
    assert_eq!(machine.page(Mfn(9)).unwrap().load_u64(0), Some(8));
    assert_eq!(written(2 * 4096 - 8), Err(Errno::EFAULT));
    assert_eq!(machine.page(Mfn(5)).unwrap().load_u64(0), Some(0));
}

/// The same memory as a 32-bit guest without paging, with two levels of tables, and with PAE has it. Its tables lie in the
/// large page; virtual page 5 is frame 7, and 4 MiB (2 MiB with PAE) at 1 GiB are the first of its frames.
fn guests_of_32_bits() -> (FakeMachine, FakeSpace, [PagingRegisters; 3]) {
    let (machine, space, _) = guest();
    let page = |gfn: u64| machine.page(Mfn(1024 + gfn - LARGE)).unwrap();
    let [directory, table, pointers, pae_directory] = TABLES.map(|table| table + 16);
    let pae_table = TABLES[0] + 32;
    page(directory).store_u32(0, ((table << 12) | PRESENT | WRITABLE) as u32).unwrap();
    page(directory).store_u32(256 * 4, (LARGE_ENTRY | PRESENT | WRITABLE) as u32).unwrap();
    page(table).store_u32(5 * 4, ((7 << 12) | PRESENT | WRITABLE) as u32).unwrap();
    // The four pointers stand at any multiple of 32, and have neither rights nor a large page.
    page(pointers).store_u64(0x20, (pae_directory << 12) | PRESENT).unwrap();
    page(pointers).store_u64(0x28, (pae_directory << 12) | PRESENT).unwrap();
    page(pae_directory).store_u64(0, (pae_table << 12) | PRESENT | WRITABLE).unwrap();
    page(pae_directory).store_u64(8, LARGE_ENTRY | PRESENT | WRITABLE).unwrap();
    page(pae_table).store_u64(5 * 8, (7 << 12) | PRESENT | WRITABLE).unwrap();
    let unpaged = PagingRegisters { cr0: 0x11, ..PagingRegisters::default() };
    let paged = |cr3, cr4| PagingRegisters { cr0: 0x8001_0011, cr3, cr4, ..PagingRegisters::default() };
    (machine, space, [unpaged, paged(directory << 12, 0x10), paged((pointers << 12) | 0x20, 0x20)])
}

const LARGE_ENTRY: u64 = 1 << 7;

#[test]
fn a_32_bit_guest_is_read_by_its_own_paging_mode() {
    let (machine, space, [unpaged, two_levels, pae]) = guests_of_32_bits();
    let rest = Rest::new();
    machine.page(Mfn(9)).unwrap().store_u64(0x18, 0x1234).unwrap();
    machine.page(Mfn(5)).unwrap().store_u64(0x18, 0x5678).unwrap();
    let read = |paging, at: u64| {
        GuestView::new(rest.memory(&machine, &space), paging, Layout::Compat).read::<u64>(GuestHandle::new(at))
    };
    assert_eq!(read(unpaged, 0x7018), Ok(0x1234), "an address is a physical one");
    assert_eq!(read(unpaged, 0x9018), Err(Errno::EFAULT), "and nothing is at frame 9");
    for (paging, large) in [(two_levels, 1 << 30), (pae, (1 << 30) + (2 << 20))] {
        assert_eq!(read(paging, 0x5018), Ok(0x1234));
        assert_eq!(read(paging, 0x6018), Err(Errno::EFAULT), "no entry is there");
        assert_eq!(read(paging, large + 0x8018), Ok(0x5678), "a large page");
    }
    let without_pse = PagingRegisters { cr4: 0, ..two_levels };
    assert_eq!(read(without_pse, (1 << 30) + 0x8018), Err(Errno::EFAULT), "the entry is a table then, in frame 0");
    for paging in [unpaged, two_levels, pae] {
        assert_eq!(read(paging, 1 << 32 | 0x5018), Err(Errno::EFAULT), "there is nothing above 4 GiB");
        assert_eq!(read(paging, u64::from(u32::MAX)), Err(Errno::EFAULT));
    }
}

#[test]
fn a_32_bit_guest_passes_structures_in_its_own_form() {
    let (machine, space, [_, two_levels, _]) = guests_of_32_bits();
    let rest = Rest::new();
    let view = GuestView::new(rest.memory(&machine, &space), two_levels, Layout::Compat);
    let list = GuestHandle::<Gfn>::new(0x5000);
    for (index, frame) in [(0, 0x11), (1, 0x22)] {
        view.write_at(list, index, &Gfn(frame)).unwrap();
    }
    assert_eq!(machine.page(Mfn(9)).unwrap().load_u64(0), Some(0x22_0000_0011));
    assert_eq!(view.read_at(list, 1), Ok(Gfn(0x22)));
    assert_eq!(view.element(list, 3), Ok(GuestHandle::new(0x500c)));
    let poll =
        SchedPoll { ports: GuestHandle::new(0xaaaa_bbbb), nr_ports: 3, timeout: 1 << 40, ..SchedPoll::default() };
    view.write(GuestHandle::new(0x5100), &poll).unwrap();
    let words = [0x100, 0x104, 0x108, 0x10c].map(|at| machine.page(Mfn(9)).unwrap().load_u32(at));
    assert_eq!(words, [Some(0xaaaa_bbbb), Some(3), Some(0), Some(1 << 8)]);
    assert_eq!(view.read(GuestHandle::new(0x5100)), Ok(poll));
    let timeout = view.member::<SchedPoll, u64>(GuestHandle::new(0x5100), std::mem::offset_of!(SchedPoll, timeout));
    assert_eq!(timeout, Ok(GuestHandle::new(0x5108)));
}
