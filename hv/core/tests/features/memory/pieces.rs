//! Work on machine memory is done in pieces of a constant size, with the allocator's lock dropped in between: however
//! much memory there is, and however much of it a domain leaves behind.
use std::cell::Cell;
use xenolith_core::memory::frames::{ANYWHERE, Frames, OwnedFrame, PageRef, Pages};
use xenolith_hal::{CpuId, DomId, Mfn, PageOrder, PageWords, Time};

/// RAM that nobody looks at.
struct Nothing;

impl Pages for Nothing {
    fn page(&self, _: Mfn) -> Option<&PageWords> {
        None
    }
}

const GUEST: DomId = DomId(1);
/// How many single frames become free at a time; with one CPU there is one place where they wait.
const A_PART: u64 = 48;

fn machine(pages: u64) -> Frames {
    let frames = Frames::for_domains(Mfn(pages), &[Mfn(0)..Mfn(pages)], 1, 2).unwrap();
    frames.account(GUEST).unwrap().set_max(u32::MAX);
    frames
}

fn allocate(frames: &Frames, order: PageOrder) -> Option<Mfn> {
    frames.allocate(&Nothing, GUEST, order, ANYWHERE).map(OwnedFrame::into_mapping).ok()
}

/// A clock that shows at each look that it is time for another part.
fn clock() -> Time {
    thread_local!(static LOOKS: Cell<u64> = const { Cell::new(0) });
    LOOKS.set(LOOKS.get() + 1_000_000);
    Time(LOOKS.get())
}

/// Everything that waits is free afterwards.
fn settle(frames: &Frames) {
    while frames.waiting() > 0 {
        frames.quiet(CpuId(0));
        frames.poll_with(&Nothing, false, clock, |_| {});
    }
}

/// A guest has all memory, in cleared pages of 2 MiB; its balloon gave a page of each back and took it again. At the
/// lower end one frame is dirty.
fn ballooned(regions: u64) -> Frames {
    let frames = machine(regions << PageOrder::SIZE_2M.0);
    let blocks: Vec<Mfn> = std::iter::from_fn(|| allocate(&frames, PageOrder::SIZE_2M)).collect();
    for first in &blocks {
        frames.release(*first, GUEST);
        settle(&frames);
        assert_eq!(allocate(&frames, PageOrder::SIZE_4K), Some(*first));
    }
    frames.release(*blocks.last().unwrap(), GUEST);
    settle(&frames);
    assert_eq!(frames.scrub_pending(), 1);
    frames
}

#[test]
fn guests_run_between_two_parts_however_long_a_part_takes() {
    let frames = machine(4 * A_PART);
    let taken: Vec<Mfn> = std::iter::from_fn(|| allocate(&frames, PageOrder::SIZE_4K)).collect();
    taken.into_iter().for_each(|mfn| assert!(frames.release(mfn, GUEST)));
    // A millisecond goes by between two looks at the clock.
    let looks = Cell::new(0);
    let now = || {
        looks.set(looks.get() + 1_000_000);
        Time(looks.get())
    };
    let mut parts = 0;
    while frames.waiting() > 0 {
        frames.quiet(CpuId(0));
        let before = frames.waiting();
        let again = frames.poll_with(&Nothing, false, now, |_| {});
        if frames.waiting() < before && frames.waiting() > 0 {
            parts += 1;
            assert!(again.unwrap() > Time(looks.get()), "the next part is due when guests have run");
            let waiting = frames.waiting();
            // When the part ended: the clock was looked at once more since, to say when the next is due.
            frames.poll_with(&Nothing, false, || Time(looks.get() - 1_000_000), |_| {});
            assert_eq!(frames.waiting(), waiting, "nor is it freed by a CPU that comes by before");
            if parts == 3 {
                frames.poll_with(&Nothing, true, || Time(looks.get() - 1_000_000), |_| {});
                assert_eq!(frames.waiting(), 0, "but by one that has nothing else to do");
            }
        }
    }
    assert_eq!(parts, 3);
}

#[test]
fn nobody_waits_for_a_search_through_memory_that_was_dirty_once() {
    let frames = ballooned(40);
    let regions = Cell::new(0);
    // It is asked after each region, and would not come back from here if the lock were held.
    let enough = || {
        assert_eq!(frames.free_pages(), 1);
        regions.set(regions.get() + 1);
        false
    };
    assert!(frames.scrub_a_little(&Nothing, enough));
    assert_eq!((frames.scrub_pending(), regions.get()), (0, 40));
    assert!(!frames.scrub_a_little(&Nothing, || false));
}

#[test]
fn a_search_for_something_to_clear_stops_where_there_is_something_better_to_do() {
    let frames = ballooned(40);
    for _ in 0..39 {
        assert!(frames.scrub_a_little(&Nothing, || true));
        assert_eq!(frames.scrub_pending(), 1, "a region that is clear");
    }
    assert!(frames.scrub_a_little(&Nothing, || true));
    assert_eq!(frames.scrub_pending(), 0);
}

#[test]
fn a_search_goes_through_a_constant_number_of_regions_however_many_there_are() {
    let frames = ballooned(200);
    let asked = Cell::new(0);
    let count = || {
        asked.set(asked.get() + 1);
        false
    };
    let mut searches = 0;
    while frames.scrub_a_little(&Nothing, count) {
        searches += 1;
        assert!(asked.replace(0) <= 65, "more than 64 regions, and the frame that was cleared");
    }
    assert_eq!((searches, frames.scrub_pending()), (4, 0));
}

#[test]
fn what_a_domain_leaves_becomes_free_a_part_at_a_time() {
    const PAGES: u64 = 5 * A_PART;
    let frames = machine(PAGES);
    let all: Vec<Mfn> = std::iter::from_fn(|| allocate(&frames, PageOrder::SIZE_4K)).collect();
    assert_eq!(all.len() as u64, PAGES);
    for mfn in all {
        frames.release(mfn, GUEST);
    }
    frames.poll_with(&Nothing, false, clock, |_| {});
    let (mut polls, mut before) = (0, 0);
    while frames.waiting() > 0 {
        let again = frames.poll_with(&Nothing, false, clock, |_| {});
        let freed = frames.free_pages() - before;
        assert!((1..=A_PART).contains(&freed), "{freed} frames at once");
        assert_eq!(again.is_some(), frames.waiting() > 0, "what is left is freed soon, whoever else comes");
        before += freed;
        polls += 1;
    }
    assert_eq!((polls, frames.free_pages()), (5, PAGES));
}

#[test]
fn large_blocks_become_free_a_part_at_a_time() {
    let frames = machine(100 << PageOrder::SIZE_2M.0);
    let all: Vec<Mfn> = std::iter::from_fn(|| allocate(&frames, PageOrder::SIZE_2M)).collect();
    for mfn in &all {
        frames.release_block(*mfn, PageOrder::SIZE_2M, GUEST);
    }
    frames.poll_with(&Nothing, false, clock, |_| {});
    frames.poll_with(&Nothing, false, clock, |_| {});
    let freed = frames.free_pages() >> PageOrder::SIZE_2M.0;
    assert!((1..=29).contains(&freed), "{freed} blocks at once");
    settle(&frames);
    assert_eq!(frames.free_pages(), 100 << PageOrder::SIZE_2M.0);
}

#[test]
fn whoever_finds_no_memory_gets_what_is_due_of_a_long_chain() {
    let frames = machine(4 * A_PART);
    let all: Vec<Mfn> = std::iter::from_fn(|| allocate(&frames, PageOrder::SIZE_4K)).collect();
    for mfn in all {
        frames.release(mfn, GUEST);
    }
    frames.poll_with(&Nothing, false, clock, |_| {});
    for _ in 0..4 * A_PART {
        assert!(allocate(&frames, PageOrder::SIZE_4K).is_some());
    }
    assert!(allocate(&frames, PageOrder::SIZE_4K).is_none());
}

#[test]
fn what_came_while_a_chain_was_being_freed_waits_for_its_own_moment() {
    let frames = machine(2 * A_PART);
    let all: Vec<Mfn> = std::iter::from_fn(|| allocate(&frames, PageOrder::SIZE_4K)).collect();
    let last = *all.last().unwrap();
    for mfn in &all[..all.len() - 1] {
        frames.release(*mfn, GUEST);
    }
    frames.poll_with(&Nothing, false, clock, |_| {});
    frames.quiet(CpuId(0));
    frames.poll_with(&Nothing, false, clock, |_| {});
    assert!(frames.waiting() > 0, "a part is left");
    frames.release(last, GUEST);
    while frames.waiting() > 1 {
        frames.poll_with(&Nothing, false, clock, |_| {});
    }
    for _ in 0..3 {
        frames.poll_with(&Nothing, false, clock, |_| {});
    }
    assert_eq!(frames.waiting(), 1, "this CPU has not been quiet since");
    frames.quiet(CpuId(0));
    frames.poll_with(&Nothing, false, clock, |_| {});
    assert_eq!(frames.waiting(), 0);
}

/// RAM behind an IOMMU that does not answer.
struct Unanswered;

impl Pages for Unanswered {
    fn page(&self, _: Mfn) -> Option<&PageWords> {
        None
    }

    fn flush_devices(&self) -> bool {
        false
    }
}

#[test]
fn nothing_is_free_while_a_device_does_not_forget() {
    let frames = machine(4);
    let mfn = allocate(&frames, PageOrder::SIZE_4K).unwrap();
    let reference = frames.reference(mfn, GUEST).unwrap();
    frames.release(mfn, GUEST);
    frames.put_later(reference);
    for _ in 0..4 {
        frames.quiet(CpuId(0));
        frames.poll_with(&Unanswered, false, clock, |_| {});
    }
    assert_eq!((frames.free_pages(), frames.waiting()), (3, 1));
    assert!(frames.take_unscrubbed(&Unanswered, PageOrder(2), ANYWHERE).is_none(), "nor for somebody who needs it");
    let _: Option<PageRef> = frames.reference(mfn, GUEST);
}
