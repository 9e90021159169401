//! The frame table: the state of each machine frame.

use super::state::{FrameState, FrameUse};
use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::ops::Range;
use xenolith_hal::{DomId, Mfn};
use xenolith_sync::atomic::{AtomicU64, Ordering};

/// Frames of one section: 1 GiB. A section without RAM has no entries.
const SECTION: u64 = 1 << 18;
/// Frames that a link can name.
const LINKABLE: u64 = u32::MAX as u64;

/// One frame: 16 bytes.
#[derive(Debug)]
pub struct Frame {
    state: AtomicU64,
    /// Deferred references; belongs to [`super::limbo`].
    pub(super) deferred: AtomicU64,
}

impl Frame {
    pub fn new(state: FrameState) -> Self {
        Self { state: AtomicU64::new(state.to_bits()), deferred: AtomicU64::new(0) }
    }

    pub fn state(&self) -> FrameState {
        FrameState::from_bits(self.state.load(Ordering::Acquire))
    }

    /// Replaces the state, whatever it is. Only for a caller that alone may change it.
    pub fn replace(&self, state: FrameState) {
        self.state.store(state.to_bits(), Ordering::Release);
    }

    /// Changes the state as long as `next` returns a new one; returns the state before.
    ///
    /// **Errors:** the state for which `next` returned none.
    pub fn update(&self, next: impl Fn(FrameState) -> Option<FrameState>) -> Result<FrameState, FrameState> {
        self.state
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |bits| {
                next(FrameState::from_bits(bits)).map(FrameState::to_bits)
            })
            .map(FrameState::from_bits)
            .map_err(FrameState::from_bits)
    }

    /// Takes one more reference if `owner` owns the frame; returns whether it did.
    pub fn reference(&self, owner: DomId) -> bool {
        self.update(|state| state.referenced(owner)).is_ok()
    }

    /// Drops `count` references; returns the state before if they were the last, which leaves the frame to the caller.
    #[inline]
    pub fn unreference(&self, count: u32) -> Option<FrameState> {
        let before =
            self.update(|state| Some(FrameState { references: state.references.checked_sub(count)?, ..state }));
        before.ok().filter(|before| before.references == count)
    }

    /// Takes over the owner's own reference, and ends the ownership, of a frame to which no other reference exists, so
    /// that none can be taken. Returns false, with nothing changed, for any other frame.
    pub fn disown_unshared(&self, owner: DomId) -> bool {
        let owned = FrameState::owned(owner, FrameUse::Guest).to_bits();
        let given_up = FrameState { allocated: false, ..FrameState::owned(DomId::INVALID, FrameUse::Guest) }.to_bits();
        self.state.compare_exchange(owned, given_up, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes over the owner's own reference, once; returns the state before. The ownership of a frame without other
    /// references ends, so that none can be taken.
    pub fn disown(&self, owner: DomId, used_as: FrameUse) -> Option<FrameState> {
        let disowned = |state: FrameState| {
            let owned = state.owner == owner && state.used_as == used_as && state.allocated;
            let owner = if state.references == 1 { DomId::INVALID } else { owner };
            owned.then_some(FrameState { allocated: false, owner, ..state })
        };
        self.update(disowned).ok()
    }
}

/// The frames below a limit, in sections.
#[derive(Debug)]
pub struct FrameTable {
    sections: Vec<Option<Box<[Frame]>>>,
}

impl FrameTable {
    /// Creates a table in which the frames of `ram` are free and all others reserved. Ranges may be in any order;
    /// overlaps are counted once.
    ///
    /// **Errors:** no memory for the table.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(limit: Mfn, ram: &[Range<Mfn>]) -> Result<Self, TryReserveError> {
        let limit = limit.0.min(LINKABLE);
        let count = limit.div_ceil(SECTION);
        let mut sections = Vec::new();
        sections.try_reserve_exact(count as usize)?;
        for section in 0..count {
            let start = section.saturating_mul(SECTION);
            let frames = start..start.saturating_add(SECTION).min(limit);
            let used = ram.iter().any(|ram| ram.start.0 < frames.end && ram.end.0 > frames.start);
            sections.push(if used { Some(new_section(frames, ram)?) } else { None });
        }
        Ok(Self { sections })
    }

    /// Returns the entry of a frame; None where there is no RAM.
    pub fn get(&self, mfn: Mfn) -> Option<&Frame> {
        let section = self.sections.get(usize::try_from(mfn.0 / SECTION).ok()?)?.as_ref()?;
        section.get((mfn.0 % SECTION) as usize)
    }

    /// Returns the entries of a run of frames, without frames that have none.
    pub fn run(&self, start: Mfn, count: u64) -> impl Iterator<Item = (Mfn, &Frame)> {
        (0..count).filter_map(move |index| {
            let mfn = start.checked_add(index)?;
            Some((mfn, self.get(mfn)?))
        })
    }

    /// Returns the entries of a block of the allocator, which lies in one section, as a slice. Of a run that crosses
    /// the end of its section, returns the entries up to that end.
    pub fn block(&self, start: Mfn, count: u64) -> &[Frame] {
        let section = usize::try_from(start.0 / SECTION).ok().and_then(|index| self.sections.get(index)?.as_ref());
        let rest = section.and_then(|section| section.get((start.0 % SECTION) as usize..)).unwrap_or(&[]);
        rest.get(..count as usize).unwrap_or(rest)
    }

    /// Returns the frame number one past the highest frame that has an entry.
    pub fn limit(&self) -> Mfn {
        let full = |(index, section): (usize, &Option<Box<[Frame]>>)| {
            let start = (index as u64).saturating_mul(SECTION);
            section.as_ref().map(|frames| start.saturating_add(frames.len() as u64))
        };
        Mfn(self.sections.iter().enumerate().rev().find_map(full).unwrap_or(0))
    }
}

#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
fn new_section(frames: Range<u64>, ram: &[Range<Mfn>]) -> Result<Box<[Frame]>, TryReserveError> {
    let mut section = Vec::new();
    section.try_reserve_exact(frames.end.saturating_sub(frames.start) as usize)?;
    section.extend(frames.clone().map(|_| Frame::new(FrameState::unowned(FrameUse::Reserved, false))));
    for range in ram {
        let first = range.start.0.max(frames.start);
        let free = range.end.0.min(frames.end).saturating_sub(first) as usize;
        for frame in section.iter().skip(first.saturating_sub(frames.start) as usize).take(free) {
            frame.replace(FrameState::unowned(FrameUse::Free, true));
        }
    }
    Ok(section.into_boxed_slice())
}

/// Returns the ranges in order, with overlapping and adjacent ones merged.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
pub fn disjoint(ram: &[Range<Mfn>]) -> Result<Vec<Range<u64>>, TryReserveError> {
    let mut sorted: Vec<Range<u64>> = Vec::new();
    sorted.try_reserve_exact(ram.len())?;
    sorted.extend(ram.iter().map(|range| range.start.0..range.end.0).filter(|range| !range.is_empty()));
    sorted.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    joined.try_reserve_exact(sorted.len())?;
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_outside_ram_are_reserved_or_have_no_entry() {
        let table =
            FrameTable::new(Mfn(3 * SECTION), &[Mfn(16)..Mfn(32), Mfn(2 * SECTION)..Mfn(2 * SECTION + 1)]).unwrap();
        let used = |mfn| table.get(Mfn(mfn)).map(|frame| frame.state().used_as);
        assert_eq!(used(15), Some(FrameUse::Reserved));
        assert_eq!(used(16), Some(FrameUse::Free));
        assert_eq!(used(32), Some(FrameUse::Reserved));
        assert_eq!(used(SECTION), None);
        assert_eq!(used(2 * SECTION), Some(FrameUse::Free));
        assert_eq!(used(3 * SECTION), None);
        assert_eq!(used(u64::MAX), None);
    }

    #[test]
    fn a_block_has_the_entries_of_its_frames_and_ends_with_its_section() {
        let table = FrameTable::new(Mfn(SECTION + 8), &[Mfn(16)..Mfn(32), Mfn(SECTION)..Mfn(SECTION + 8)]).unwrap();
        let block = table.block(Mfn(14), 4);
        let used: Vec<FrameUse> = block.iter().map(|frame| frame.state().used_as).collect();
        assert_eq!(used, [FrameUse::Reserved, FrameUse::Reserved, FrameUse::Free, FrameUse::Free]);
        assert_eq!(table.block(Mfn(SECTION - 2), 512).len(), 2);
        assert_eq!(table.block(Mfn(SECTION), 512).len(), 8);
        assert!(table.block(Mfn(u64::MAX), 1).is_empty());
    }

    #[test]
    fn an_entry_takes_sixteen_bytes() {
        assert_eq!(size_of::<Frame>(), 16);
    }

    #[test]
    fn the_owner_gives_its_reference_up_once() {
        let frame = Frame::new(FrameState::owned(DomId(1), FrameUse::Guest));
        assert!(frame.disown(DomId(2), FrameUse::Guest).is_none());
        assert!(frame.disown(DomId(1), FrameUse::Guest).is_some());
        assert!(frame.disown(DomId(1), FrameUse::Guest).is_none());
        assert!(frame.unreference(1).is_some());
        assert!(!frame.reference(DomId(1)));
    }
}
