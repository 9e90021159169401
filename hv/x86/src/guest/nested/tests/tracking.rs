//! Tracking of writes: what the guest, the hypervisor and changes of the tables do to what counts as written.

use super::*;
use alloc::vec::Vec;

const ALL: core::ops::Range<u64> = 0..u64::MAX;

/// Tracks a range, as the core does.
fn track(space: &Tables, frames: core::ops::Range<u64>, pool: &mut Pool) {
    space.set_tracked(frames);
    let mut next = Some(Gfn(0));
    while let Some(from) = next {
        next = space.retrack(from, pool);
    }
}

/// Returns the frames below `end` that were written.
fn written(space: &Tables, end: u64, clean: bool, pool: &mut Pool) -> Vec<u64> {
    let blocks = (0..end).step_by(512).map(|first| (first, space.written(Gfn(first), clean, pool)));
    let frames = blocks.collect::<Vec<_>>().into_iter().flat_map(|(first, bits)| {
        (0..512).filter(move |bit| bits[bit / 64] & (1 << (bit % 64)) != 0).map(move |bit| first + bit as u64)
    });
    frames.collect()
}

/// Lets the guest write, as the processor and the core do it.
fn guest_writes(space: &Tables, gfn: u64, pool: &mut Pool) {
    if !space.guest_writes(gfn) {
        assert!(space.permit_write(Gfn(gfn), pool), "{gfn:#x}");
        assert!(space.guest_writes(gfn), "{gfn:#x}");
    }
}

#[test]
fn nothing_is_written_when_nothing_is_tracked() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(1), ram(1, PageOrder::SIZE_4K), &mut pool).unwrap();
    assert!(space.guest_writes(1));
    space.note_written(Gfn(1));
    assert_eq!(written(&space, 512, true, &mut pool), []);
    assert!(!space.permit_write(Gfn(1), &mut pool));
}

#[test]
fn a_small_page_tells_of_the_guests_write_by_itself() {
    let (space, mut pool) = tables(8, LIMITS);
    for frame in 0..3 {
        space.map(Gfn(frame), ram(2 * frame + 1, PageOrder::SIZE_4K), &mut pool).unwrap();
    }
    track(&space, ALL, &mut pool);
    assert_eq!(written(&space, 512, false, &mut pool), []);
    assert!(space.guest_writes(1), "no exit is needed");
    assert_eq!(written(&space, 512, false, &mut pool), [1]);
    assert_eq!(written(&space, 512, true, &mut pool), [1], "looking alone changes nothing");
    assert_eq!(written(&space, 512, true, &mut pool), []);
    space.note_written(Gfn(2));
    space.note_written(Gfn(77));
    assert_eq!(written(&space, 512, true, &mut pool), [2]);
}

#[test]
fn a_superpage_is_split_at_its_first_write_and_joined_again_at_the_end() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0x400), ram(0x1_0000, PageOrder::SIZE_2M), &mut pool).unwrap();
    let before = pool.taken();
    track(&space, ALL, &mut pool);
    assert_eq!(space.lookup(Gfn(0x400)).unwrap(), ram(0x1_0000, PageOrder::SIZE_2M), "its rights are what they were");
    let generation = space.generation();
    guest_writes(&space, 0x407, &mut pool);
    assert!(space.generation() > generation);
    assert_eq!(space.lookup(Gfn(0x407)).unwrap().order, PageOrder::SIZE_4K);
    assert_eq!(written(&space, 0x800, true, &mut pool), [0x407]);
    guest_writes(&space, 0x5ff, &mut pool);
    assert_eq!(written(&space, 0x800, true, &mut pool), [0x5ff]);
    track(&space, 0..0, &mut pool);
    assert_eq!(space.lookup(Gfn(0x407)).unwrap(), ram(0x1_0007, PageOrder::SIZE_2M));
    assert!(space.guest_writes(0x407));
    assert_eq!(written(&space, 0x800, true, &mut pool), []);
    space.tear_down(&mut pool);
    assert!(before > 0 && pool.taken() == 0);
}

#[test]
fn a_huge_page_is_split_around_the_frame_alone() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0), ram(1 << 18, PageOrder::SIZE_1G), &mut pool).unwrap();
    track(&space, ALL, &mut pool);
    guest_writes(&space, 0x12345, &mut pool);
    assert_eq!(space.lookup(Gfn(0x12345)).unwrap(), ram((1 << 18) + 0x12345, PageOrder::SIZE_4K));
    assert_eq!(space.lookup(Gfn(0x200)).unwrap(), ram((1 << 18) + 0x200, PageOrder::SIZE_2M));
    assert_eq!(written(&space, 1 << 18, true, &mut pool), [0x12345]);
}

#[test]
fn without_memory_a_superpage_counts_as_a_whole() {
    let (space, mut pool) = tables(3, LIMITS);
    space.map(Gfn(0), ram(512, PageOrder::SIZE_2M), &mut pool).unwrap();
    track(&space, ALL, &mut pool);
    guest_writes(&space, 5, &mut pool);
    assert_eq!(written(&space, 512, true, &mut pool).len(), 512);
    assert!(!space.guest_writes(5), "it is protected again");
    assert_eq!(written(&space, 512, true, &mut pool), []);
}

#[test]
fn a_huge_page_without_memory_is_reported_again_rather_than_lost() {
    let (space, mut pool) = tables(2, LIMITS);
    space.map(Gfn(0), ram(1 << 18, PageOrder::SIZE_1G), &mut pool).unwrap();
    track(&space, ALL, &mut pool);
    guest_writes(&space, 5, &mut pool);
    for _ in 0..2 {
        assert_eq!(written(&space, 1 << 18, true, &mut pool).len(), 1 << 18);
    }
}

#[test]
fn what_is_mapped_meanwhile_counts_as_written_and_what_is_no_memory_never_does() {
    let (space, mut pool) = tables(8, LIMITS);
    track(&space, ALL, &mut pool);
    space.map(Gfn(3), ram(9, PageOrder::SIZE_4K), &mut pool).unwrap();
    space.map(Gfn(0x200), ram(0x600, PageOrder::SIZE_2M), &mut pool).unwrap();
    let grant = Mapping { kind: PageKind::Grant, ..ram(11, PageOrder::SIZE_4K) };
    space.map(Gfn(4), grant, &mut pool).unwrap();
    let read_only = Mapping { rights: Rights::READ, ..ram(12, PageOrder::SIZE_4K) };
    space.map(Gfn(5), read_only, &mut pool).unwrap();
    let expected: Vec<u64> = core::iter::once(3).chain(0x200..0x400).collect();
    assert_eq!(written(&space, 0x400, true, &mut pool), expected);
    assert_eq!(written(&space, 0x400, true, &mut pool), []);
    assert_eq!(space.lookup(Gfn(5)).unwrap(), read_only);
    assert!(!space.permit_write(Gfn(5), &mut pool));
}

#[test]
fn the_parts_of_a_superpage_that_loses_a_page_count_as_written() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0), ram(512, PageOrder::SIZE_2M), &mut pool).unwrap();
    track(&space, ALL, &mut pool);
    assert_eq!(
        space.unmap(Gfn(7), &mut pool).unwrap(),
        Some(ram(519, PageOrder::SIZE_4K)).map(|page| Mapping { order: PageOrder::SIZE_2M, ..page })
    );
    assert_eq!(written(&space, 512, true, &mut pool).len(), 511);
}

#[test]
fn only_the_range_is_tracked() {
    let (space, mut pool) = tables(8, LIMITS);
    for frame in 0..4 {
        space.map(Gfn(frame), ram(2 * frame + 1, PageOrder::SIZE_4K), &mut pool).unwrap();
    }
    track(&space, 1..3, &mut pool);
    for frame in 0..4 {
        guest_writes(&space, frame, &mut pool);
    }
    assert_eq!(written(&space, 512, true, &mut pool), [1, 2]);
    track(&space, 2..4, &mut pool);
    for frame in 0..4 {
        guest_writes(&space, frame, &mut pool);
    }
    assert_eq!(written(&space, 512, true, &mut pool), [2, 3]);
}

/// A change while writes are tracked.
#[derive(Clone, Copy, Debug)]
enum Step {
    GuestWrites(u64),
    Noted(u64),
    Mapped(u64, bool),
    Unmapped(u64),
    Cleaned,
}

fn step() -> impl Strategy<Value = Step> {
    let frame = 0u64..2048;
    prop_oneof![
        4 => frame.clone().prop_map(Step::GuestWrites),
        2 => frame.clone().prop_map(Step::Noted),
        1 => (frame.clone(), any::<bool>()).prop_map(|(frame, large)| Step::Mapped(frame, large)),
        1 => frame.prop_map(Step::Unmapped),
        1 => Just(Step::Cleaned),
    ]
}

proptest! {
    /// No write is ever lost: every frame that was written since it was last cleaned, and is still mapped, is reported.
    #[test]
    fn no_write_is_lost(frames in 4u64..12, steps in prop::collection::vec(step(), 1..80)) {
        let (space, mut pool) = tables(frames, SMALL);
        space.map(Gfn(0), ram(4096, PageOrder::SIZE_2M), &mut pool).unwrap();
        let _ = space.map(Gfn(512), ram(8192, PageOrder::SIZE_2M), &mut pool);
        track(&space, ALL, &mut pool);
        let mut expected = std::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::GuestWrites(frame) if space.lookup(Gfn(frame)).is_some() => {
                    guest_writes(&space, frame, &mut pool);
                    expected.insert(frame);
                }
                Step::Noted(frame) => {
                    space.note_written(Gfn(frame));
                    if space.lookup(Gfn(frame)).is_some() {
                        expected.insert(frame);
                    }
                }
                Step::Mapped(frame, large) => {
                    let (order, at) = if large { (PageOrder::SIZE_2M, frame & !511) } else { (PageOrder::SIZE_4K, frame) };
                    if space.map(Gfn(at), ram(0x1_0000 + at, order), &mut pool).is_ok() {
                        expected.extend(at..at + order.pages());
                    }
                }
                Step::Unmapped(frame) => {
                    if space.unmap(Gfn(frame), &mut pool).is_ok() {
                        expected.remove(&frame);
                    }
                }
                Step::Cleaned => {
                    let found = written(&space, 2048, true, &mut pool);
                    prop_assert!(expected.iter().all(|frame| found.contains(frame)), "{expected:?} {found:?}");
                    expected.clear();
                    prop_assert_eq!(written(&space, 2048, true, &mut pool), Vec::<u64>::new());
                }
                Step::GuestWrites(_) => {}
            }
        }
        let found = written(&space, 2048, true, &mut pool);
        prop_assert!(expected.iter().all(|frame| found.contains(frame)), "{expected:?} {found:?}");
        track(&space, 0..0, &mut pool);
        for frame in (0..2048).filter(|frame| space.lookup(Gfn(*frame)).is_some()) {
            prop_assert!(space.guest_writes(frame), "everything is writable again");
        }
        space.tear_down(&mut pool);
        prop_assert_eq!(pool.taken(), 0);
    }
}
