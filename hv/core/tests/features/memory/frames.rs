//! Who owns which frame, against a naive model.

use proptest::prelude::*;
use std::collections::BTreeMap;
use xenolith_core::memory::frames::{
    ANYWHERE, AllocationError, ClaimError, FrameUse, Frames, OwnedFrame, PageRef, Pages, PagingPool,
};
use xenolith_hal::{CpuId, DomId, FrameSource, Mfn, PageOrder, PageWords, Time};

/// RAM on the heap: frames from 16 on.
struct Heap(Vec<PageWords>);

const FIRST: u64 = 16;

impl Heap {
    /// Every page full of what somebody left there.
    fn full_of_secrets(pages: usize) -> Self {
        let heap = Self((0..pages).map(|_| PageWords::new()).collect());
        (0..pages as u64).for_each(|page| heap.write_secret(Mfn(FIRST + page)));
        heap
    }

    fn write_secret(&self, mfn: Mfn) {
        for offset in [0, 2048, 4088] {
            self.page(mfn).unwrap().store_u64(offset, 0x5ec2e7).unwrap();
        }
    }

    fn is_clear(&self, mfn: Mfn) -> bool {
        [0, 2048, 4088].iter().all(|offset| self.page(mfn).unwrap().load_u64(*offset) == Some(0))
    }
}

impl Pages for Heap {
    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        self.0.get(usize::try_from(mfn.0.checked_sub(FIRST)?).ok()?)
    }
}

fn machine(pages: u64, cpus: usize) -> (Frames, Heap) {
    let frames = Frames::new(Mfn(FIRST + pages), &[Mfn(FIRST)..Mfn(FIRST + pages)], cpus).unwrap();
    for domain in 0..3 {
        frames.account(DomId(domain)).unwrap().set_max(u32::MAX);
    }
    (frames, Heap::full_of_secrets(pages as usize))
}

fn page(frames: &Frames, heap: &Heap, owner: u16) -> Mfn {
    frames.allocate(heap, DomId(owner), PageOrder::SIZE_4K, ANYWHERE).map(OwnedFrame::into_mapping).unwrap()
}

fn poll(frames: &Frames) {
    frames.poll_with(&Heap::full_of_secrets(0), false, || Time(0), |_| {});
}

#[test]
fn a_released_frame_is_free_only_after_every_running_cpu_was_quiet() {
    let (frames, heap) = machine(1, 2);
    frames.quiet(CpuId(0));
    frames.quiet(CpuId(1));
    let mfn = page(&frames, &heap, 1);
    assert!(frames.release(mfn, DomId(1)));
    poll(&frames);
    frames.quiet(CpuId(0));
    poll(&frames);
    assert_eq!((frames.free_pages(), frames.waiting()), (0, 1));
    frames.quiet(CpuId(1));
    poll(&frames);
    assert_eq!((frames.free_pages(), frames.waiting()), (1, 0));
    assert!(frames.account(DomId(1)).unwrap().is_empty());
}

#[test]
fn a_frame_that_others_refer_to_stays_its_owners_until_they_let_go() {
    let (frames, heap) = machine(1, 1);
    let mfn = page(&frames, &heap, 1);
    let reference = frames.reference(mfn, DomId(1)).unwrap();
    assert!(frames.release(mfn, DomId(1)));
    assert!(!frames.release(mfn, DomId(1)), "released twice");
    poll(&frames);
    poll(&frames);
    assert_eq!((frames.free_pages(), frames.account(DomId(1)).unwrap().total()), (0, 1));
    frames.put(reference);
    assert_eq!((frames.free_pages(), frames.account(DomId(1)).unwrap().total()), (1, 0));
}

const EIGHT: PageOrder = PageOrder(3);

fn eight_pages(frames: &Frames, heap: &Heap) -> Mfn {
    frames.allocate(heap, DomId(1), EIGHT, ANYWHERE).map(OwnedFrame::into_mapping).unwrap()
}

#[test]
fn a_released_block_waits_whole_and_is_free_after_every_running_cpu_was_quiet() {
    let (frames, heap) = machine(8, 1);
    frames.quiet(CpuId(0));
    let mfn = eight_pages(&frames, &heap);
    assert_eq!(frames.scrub_pending(), 0);
    frames.release_block(mfn, EIGHT, DomId(1));
    assert!(frames.account(DomId(1)).unwrap().is_empty());
    assert_eq!(frames.reference(mfn, DomId(1)), None, "it is nobody's any more");
    poll(&frames);
    assert_eq!((frames.free_pages(), frames.waiting()), (0, 8));
    frames.quiet(CpuId(0));
    poll(&frames);
    assert_eq!((frames.free_pages(), frames.waiting(), frames.scrub_pending()), (8, 0, 8));
    assert_eq!(eight_pages(&frames, &heap), mfn);
}

#[test]
fn of_a_released_block_a_page_that_others_refer_to_stays_its_owners_until_they_let_go() {
    let (frames, heap) = machine(8, 1);
    let mfn = eight_pages(&frames, &heap);
    let middle = Mfn(mfn.0 + 5);
    let reference = frames.reference(middle, DomId(1)).unwrap();
    frames.release_block(mfn, EIGHT, DomId(1));
    (0..3).for_each(|_| poll(&frames));
    assert_eq!((frames.free_pages(), frames.account(DomId(1)).unwrap().total()), (7, 1));
    frames.put(reference);
    assert_eq!((frames.free_pages(), frames.waiting()), (8, 0));
    assert!(frames.account(DomId(1)).unwrap().is_empty());
}

#[test]
fn a_page_that_was_given_up_before_its_block_is_freed_once() {
    let (frames, heap) = machine(8, 1);
    let mfn = eight_pages(&frames, &heap);
    assert!(frames.release(Mfn(mfn.0 + 2), DomId(1)));
    frames.release_block(mfn, EIGHT, DomId(1));
    frames.release_block(mfn, EIGHT, DomId(1));
    (0..3).for_each(|_| poll(&frames));
    assert_eq!((frames.free_pages(), frames.waiting()), (8, 0));
}

#[test]
fn nobody_refers_to_a_frame_in_the_name_of_a_wrong_owner() {
    let (frames, heap) = machine(2, 1);
    let mfn = page(&frames, &heap, 1);
    assert_eq!(frames.reference(mfn, DomId(2)), None);
    assert_eq!(frames.reference(Mfn(0), DomId(1)), None);
    assert_eq!(frames.reference(Mfn(u64::MAX), DomId::INVALID), None);
    assert!(!frames.release(mfn, DomId(2)));
}

#[test]
fn a_domain_gets_no_more_than_its_maximum() {
    let (frames, heap) = machine(8, 1);
    frames.account(DomId(1)).unwrap().set_max(3);
    assert!(frames.allocate(&heap, DomId(1), PageOrder(1), ANYWHERE).is_ok());
    assert_eq!(frames.allocate(&heap, DomId(1), PageOrder(1), ANYWHERE), Err(AllocationError::OverMaximum));
    assert_eq!(frames.allocate(&heap, DomId(0x7ff0), PageOrder(0), ANYWHERE), Err(AllocationError::NoDomain));
    assert_eq!(frames.free_pages(), 6);
}

#[test]
fn a_claim_keeps_memory_from_others_and_is_used_up() {
    let (frames, heap) = machine(8, 1);
    assert_eq!(frames.claim(DomId(1), 9), Err(ClaimError::NoMemory));
    frames.claim(DomId(1), 6).unwrap();
    assert_eq!(frames.claim(DomId(1), 7), Err(ClaimError::Invalid));
    assert_eq!(frames.allocate(&heap, DomId(2), PageOrder(2), ANYWHERE), Err(AllocationError::NoMemory));
    assert!(frames.allocate(&heap, DomId(1), PageOrder(2), ANYWHERE).is_ok());
    assert_eq!(frames.claimed_pages(), 2);
    frames.claim(DomId(1), 0).unwrap();
    assert_eq!(frames.claimed_pages(), 0);
    assert!(frames.allocate(&heap, DomId(2), PageOrder(2), ANYWHERE).is_ok());
}

#[test]
fn memory_that_was_the_hypervisors_own_is_free_and_cleared_once_it_is_added() {
    let frames = Frames::new(Mfn(FIRST + 24), &[Mfn(FIRST)..Mfn(FIRST + 8)], 1).unwrap();
    frames.account(DomId(1)).unwrap().set_max(u32::MAX);
    let heap = Heap::full_of_secrets(24);
    frames.add(Mfn(FIRST + 11)..Mfn(FIRST + 24));
    assert_eq!((frames.free_pages(), frames.scrub_pending()), (21, 21));
    let taken: Vec<Mfn> = (0..21).map(|_| page(&frames, &heap, 1)).collect();
    assert!(taken.iter().all(|mfn| heap.is_clear(*mfn) && !(FIRST + 8..FIRST + 11).contains(&mfn.0)));
    frames.add(Mfn(1 << 30)..Mfn((1 << 30) + 4));
    assert_eq!(frames.free_pages(), 0, "there is no such memory");
}

#[test]
fn what_the_last_owner_wrote_is_gone() {
    let (frames, heap) = machine(1, 1);
    let mfn = page(&frames, &heap, 1);
    assert!(heap.is_clear(mfn));
    heap.write_secret(mfn);
    frames.release(mfn, DomId(1));
    poll(&frames);
    poll(&frames);
    assert_eq!(frames.scrub_pending(), 1);
    assert!(frames.scrub_some(&heap));
    assert!(!frames.scrub_some(&heap));
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (0, 1));
    assert!(heap.is_clear(page(&frames, &heap, 2)));
}

#[test]
fn a_little_is_64_kib_and_all_of_it_together_all_free_memory() {
    let (frames, heap) = machine(1500, 1);
    let mine = page(&frames, &heap, 1);
    heap.write_secret(mine);
    let mut before = frames.scrub_pending();
    while frames.scrub_a_little(&heap, || false) {
        let cleared = before - frames.scrub_pending();
        assert!((1..=16).contains(&cleared), "{cleared} frames");
        before = frames.scrub_pending();
    }
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (0, 1499));
    for frame in (FIRST..FIRST + 1500).map(Mfn) {
        assert_eq!(heap.is_clear(frame), frame != mine);
    }
    let block = frames.take(&heap, PageOrder::SIZE_2M, ANYWHERE);
    assert!(block.is_some(), "what was cleared in parts is joined again");
}

#[test]
fn clearing_a_little_stops_where_there_is_something_better_to_do_and_goes_on_there() {
    let (frames, heap) = machine(1500, 1);
    let times = |most: u32| {
        let asked = std::cell::Cell::new(0);
        move || asked.replace(asked.get() + 1) + 1 == most
    };
    // Four times for each page.
    assert!(frames.scrub_a_little(&heap, times(12)));
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (1497, 1500));
    assert!(frames.scrub_a_little(&heap, times(3)));
    assert_eq!(frames.scrub_pending(), 1497, "three quarters of a page");
    assert!(frames.scrub_a_little(&heap, times(1)));
    assert_eq!(frames.scrub_pending(), 1496, "the last quarter");
    while frames.scrub_a_little(&heap, || true) {}
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (0, 1500));
}

#[test]
fn a_block_whose_clearing_was_broken_off_is_there_for_who_needs_it() {
    let (frames, heap) = machine(16, 1);
    assert!(frames.scrub_a_little(&heap, || true));
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (16, 16));
    let all: Vec<_> = (0..16).map(|_| page(&frames, &heap, 1)).collect();
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (0, 0));
    assert!(all.iter().all(|mfn| heap.is_clear(*mfn)));
}

#[test]
fn what_comes_back_half_cleared_is_cleared_by_somebody_later() {
    let (frames, heap) = machine(2048, 2);
    assert!(frames.scrub_a_little(&heap, || true));
    assert!(frames.scrub_a_little(&heap, || false), "the same block, to its end");
    assert_eq!(frames.scrub_pending(), 2048 - 16);
    assert!(frames.scrub_a_little(&heap, || true));
    assert!(frames.take(&heap, PageOrder::SIZE_2M, ANYWHERE).is_some_and(|whole| {
        frames.give_back(whole);
        true
    }));
    while frames.scrub_a_little(&heap, || true) {}
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (0, 2048));
}

/// Looks at how much is free each time somebody reaches for a page.
struct Watched<'a, P> {
    pages: &'a P,
    frames: &'a Frames,
    seen: std::cell::RefCell<Vec<u64>>,
}

impl<P: Pages> Pages for Watched<'_, P> {
    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        self.seen.borrow_mut().push(self.frames.free_pages());
        self.pages.page(mfn)
    }
}

#[test]
fn memory_that_is_being_cleared_counts_as_free() {
    let (frames, heap) = machine(1500, 1);
    let watched = Watched { pages: &heap, frames: &frames, seen: std::cell::RefCell::default() };
    assert!(frames.scrub_a_little(&watched, || false));
    let seen = watched.seen.into_inner();
    assert!(!seen.is_empty() && seen.iter().all(|free| *free == 1500), "{seen:?}");
}

#[test]
fn idle_scrubbing_clears_all_free_memory_and_nothing_else() {
    let (frames, heap) = machine(1500, 1);
    let mine = page(&frames, &heap, 1);
    heap.write_secret(mine);
    while frames.scrub_some(&heap) {}
    assert_eq!((frames.scrub_pending(), frames.free_pages()), (0, 1499));
    for frame in (FIRST..FIRST + 1500).map(Mfn) {
        assert_eq!(heap.is_clear(frame), frame != mine);
    }
}

#[test]
fn page_tables_are_paid_by_the_pool() {
    let (frames, heap) = machine(8, 1);
    let mut pool = PagingPool::new(2);
    let mut source = pool.source(&frames, &heap, DomId(1));
    let (first, second) = (source.take().unwrap(), source.take().unwrap());
    assert!(heap.is_clear(first) && first != second);
    assert_eq!(source.take(), None);
    source.give_back(first);
    source.give_back(first);
    assert_eq!((pool.used(), frames.state(second).unwrap().used_as), (1, FrameUse::Table));
    assert!(pool.resize(0).is_err());
    assert!(pool.resize(1).is_ok());
}

#[test]
fn cpus_that_lag_are_kicked_once_and_only_after_a_while() {
    let (frames, heap) = machine(1, 3);
    (0..2).for_each(|cpu| frames.quiet(CpuId(cpu)));
    frames.release(page(&frames, &heap, 1), DomId(1));
    let kicked = |now| {
        let mut kicked = Vec::new();
        let again = frames.poll_with(&heap, false, || Time(now), |cpu| kicked.push(cpu));
        (kicked, again.is_some())
    };
    assert_eq!(kicked(0), (vec![], true));
    frames.quiet(CpuId(0));
    assert_eq!(kicked(500_000), (vec![], true));
    assert_eq!(kicked(1_000_000), (vec![CpuId(1)], true));
    assert_eq!(kicked(3_000_000), (vec![], true));
    frames.idle(CpuId(1));
    assert_eq!(kicked(3_000_001), (vec![], false));
}

#[test]
fn memory_that_waits_is_used_when_its_time_has_come() {
    let (frames, heap) = machine(1, 1);
    frames.release(page(&frames, &heap, 1), DomId(1));
    poll(&frames);
    assert_eq!(frames.free_pages(), 0);
    page(&frames, &heap, 2);
}

#[derive(Default)]
struct Known {
    owner: u16,
    mapped: bool,
    references: Vec<PageRef>,
    /// For each reference that was given up: which CPUs have not been quiet since.
    waits: Vec<[bool; 2]>,
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u16),
    Release(prop::sample::Index),
    Reference(prop::sample::Index, u16),
    Put(prop::sample::Index, bool),
    Quiet(u32),
    Idle(u32),
    Poll,
    Scrub,
}

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<prop::sample::Index>;
    prop_oneof![
        4 => (1u16..3).prop_map(Step::Allocate),
        3 => pick().prop_map(Step::Release),
        3 => (pick(), 1u16..3).prop_map(|(which, owner)| Step::Reference(which, owner)),
        3 => (pick(), any::<bool>()).prop_map(|(which, later)| Step::Put(which, later)),
        3 => (0u32..2).prop_map(Step::Quiet),
        1 => (0u32..2).prop_map(Step::Idle),
        3 => Just(Step::Poll),
        1 => Just(Step::Scrub),
    ]
}

proptest! {
    /// A frame is handed out only when nobody refers to it and every CPU has passed, and its owner is ever one.
    #[test]
    fn a_frame_is_never_free_while_somebody_can_reach_it(steps in prop::collection::vec(step(), 1..200)) {
        let (frames, heap) = machine(6, 2);
        let mut known: BTreeMap<u64, Known> = BTreeMap::new();
        let mut running = [false; 2];
        for step in steps {
            let pick = |which: prop::sample::Index| known.keys().copied().nth(which.index(known.len().max(1)));
            match step {
                Step::Allocate(owner) => {
                    let got = frames.allocate(&heap, DomId(owner), PageOrder::SIZE_4K, ANYWHERE);
                    if let Ok(frame) = got {
                        let mfn = frame.into_mapping();
                        let before = known.insert(mfn.0, Known { owner, mapped: true, ..Known::default() });
                        if let Some(before) = before {
                            prop_assert!(!before.mapped && before.references.is_empty());
                            prop_assert!(before.waits.iter().all(|lags| *lags == [false, false]));
                        }
                        prop_assert!(heap.is_clear(mfn));
                        heap.write_secret(mfn);
                    } else {
                        prop_assert_eq!(frames.free_pages(), 0);
                    }
                }
                Step::Release(which) => if let Some(mfn) = pick(which) {
                    let frame = known.get_mut(&mfn).unwrap();
                    prop_assert_eq!(frames.release(Mfn(mfn), DomId(frame.owner)), frame.mapped);
                    if std::mem::take(&mut frame.mapped) {
                        frame.waits.push(running);
                    }
                },
                Step::Reference(which, owner) => if let Some(mfn) = pick(which) {
                    let frame = known.get_mut(&mfn).unwrap();
                    let got = frames.reference(Mfn(mfn), DomId(owner));
                    if frame.mapped || !frame.references.is_empty() {
                        prop_assert_eq!(got.is_some(), owner == frame.owner);
                    }
                    frame.references.extend(got);
                },
                Step::Put(which, later) => if let Some(mfn) = pick(which) {
                    let frame = known.get_mut(&mfn).unwrap();
                    if let Some(reference) = frame.references.pop() {
                        if later {
                            frame.waits.push(running);
                            frames.put_later(reference);
                        } else {
                            frames.put(reference);
                        }
                    }
                },
                Step::Quiet(cpu) | Step::Idle(cpu) => {
                    let runs = matches!(step, Step::Quiet(_));
                    if runs { frames.quiet(CpuId(cpu)) } else { frames.idle(CpuId(cpu)) }
                    running[cpu as usize] = runs;
                    known.values_mut().flat_map(|frame| &mut frame.waits).for_each(|lags| lags[cpu as usize] = false);
                }
                Step::Poll => poll(&frames),
                Step::Scrub => { frames.scrub_some(&heap); }
            }
        }
        for (mfn, frame) in known {
            frames.release(Mfn(mfn), DomId(frame.owner));
            frame.references.into_iter().for_each(|reference| frames.put_later(reference));
        }
        (0..2).for_each(|cpu| frames.idle(CpuId(cpu)));
        (0..4).for_each(|_| poll(&frames));
        prop_assert_eq!((frames.free_pages(), frames.waiting()), (6, 0));
        prop_assert!((1..3).all(|domain| frames.account(DomId(domain)).unwrap().is_empty()));
    }
}
