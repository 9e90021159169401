//! The frames of a domain's grant table and its active grants.

use super::active::Active;
use super::entry::Entry;
use super::maptrack::Maptrack;
use super::status::Failure;
use crate::memory::frames::{Frames, Pages, SharedFrame};
use crate::memory::physmap::Memory;
use crate::settings::GrantBounds;
use alloc::boxed::Box;
use alloc::vec::Vec;
use xen_abi::grant_entry::{GRANT_ENTRIES_V1_PER_PAGE, GRANT_ENTRIES_V2_PER_PAGE, GRANT_STATUS_PER_PAGE};
use xen_abi::grant_table::GNTTAB_NR_RESERVED_ENTRIES;
use xenolith_hal::{DomId, Gfn, GrantRef, Mfn, NestedSpace, PageKind, PageWords};
use xenolith_sync::atomic::{AtomicU32, Ordering};
use xenolith_sync::{Once, RwSpinLock, SpinLock, rank};

/// The limits that the toolstack set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Frames of the grant table.
    pub frames: u32,
    /// Frames' worth of mappings of others' grants: 256 mappings each.
    pub maptrack_frames: u32,
    /// The highest version of the entries, 1 or 2.
    pub version: u32,
}

impl Limits {
    /// The limits of a domain for which none were set.
    pub const DEFAULT: Self = Self::at_most(GrantBounds::DEFAULT);

    /// Returns the highest limits that `bounds` allow.
    pub const fn at_most(bounds: GrantBounds) -> Self {
        Self { frames: bounds.frames, maptrack_frames: bounds.maptrack_frames, version: bounds.version }
    }
}

/// The version of the entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    V1,
    V2,
}

impl Version {
    /// Returns the number in the public interface.
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    const fn entries_a_frame(self) -> u32 {
        match self {
            Self::V1 => GRANT_ENTRIES_V1_PER_PAGE,
            Self::V2 => GRANT_ENTRIES_V2_PER_PAGE,
        }
    }

    /// Returns the frame of an entry and its place in it. By constants, which the compiler makes shifts.
    const fn place_of(self, number: u32) -> (usize, usize) {
        let (frame, place) = match self {
            Self::V1 => (number / GRANT_ENTRIES_V1_PER_PAGE, number % GRANT_ENTRIES_V1_PER_PAGE),
            Self::V2 => (number / GRANT_ENTRIES_V2_PER_PAGE, number % GRANT_ENTRIES_V2_PER_PAGE),
        };
        (frame as usize, place as usize)
    }
}

/// One frame of the table, of entries or of status words.
#[derive(Debug)]
pub struct TableFrame {
    pub frame: SharedFrame,
    /// The guest frame at which its domain last mapped it.
    pub place: Option<Gfn>,
}

impl TableFrame {
    /// Returns the guest frame at which its domain sees it; None if it does not, or has mapped something else there
    /// since.
    pub fn mapped_at<P: Pages, S: NestedSpace>(&self, memory: &Memory<'_, P, S>) -> Option<Gfn> {
        let mfn = self.frame.mfn();
        self.place.filter(|gfn| memory.lookup(*gfn).is_some_and(|at| at.mfn == mfn && at.kind == PageKind::Shared))
    }
}

/// Frames of entries or of status words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Entries,
    Status,
}

/// An active grant under its lock.
pub type ActiveGrant = SpinLock<Active, rank::GrantMapping>;
type ActiveFrame = Box<[ActiveGrant]>;

/// What a frame of entries takes of the heap, in bytes, and one of status words.
pub const FRAME_BYTES: u64 = (GRANT_ENTRIES_V1_PER_PAGE as usize * size_of::<ActiveGrant>()
    + size_of::<Once<ActiveFrame>>()
    + size_of::<TableFrame>()) as u64;
const STATUS_FRAME_BYTES: u64 = size_of::<TableFrame>() as u64;

/// The frames and the form of a table. Read under the table's lock while grants are used, written to change it.
#[derive(Debug)]
pub struct Shape {
    version: Version,
    entries: Vec<TableFrame>,
    status: Vec<TableFrame>,
    /// The active grants of each frame of entries, made when the first of them is used: most domains grant little.
    active: Vec<Once<ActiveFrame>>,
    /// How many entries behind the toolstack's are in use: a change of version is refused without a look at each.
    in_use: AtomicU32,
    /// The frames were released, and there will be no others.
    closed: bool,
}

/// Returns whether the entry counts as used: the entries that the toolstack fills do not.
const fn is_counted(reference: GrantRef) -> bool {
    reference.0 >= GNTTAB_NR_RESERVED_ENTRIES
}

/// The table cannot grow: past its limit, or memory is short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CannotGrow;

impl Shape {
    /// Returns the version of the entries.
    pub const fn version(&self) -> Version {
        self.version
    }

    pub(super) const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Returns the frames of the part.
    pub fn part(&self, part: Part) -> &[TableFrame] {
        match part {
            Part::Entries => &self.entries,
            Part::Status => &self.status,
        }
    }

    pub(super) fn part_mut(&mut self, part: Part) -> &mut Vec<TableFrame> {
        match part {
            Part::Entries => &mut self.entries,
            Part::Status => &mut self.status,
        }
    }

    /// Returns the number of frames of entries.
    pub const fn frame_count(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Returns the number of entries.
    pub const fn entry_count(&self) -> u32 {
        self.frame_count().saturating_mul(self.version.entries_a_frame())
    }

    /// Returns an entry; None past the end of the table.
    #[inline]
    pub fn entry<'a>(&'a self, reference: GrantRef, pages: &'a impl Pages) -> Option<Entry<'a>> {
        let number = reference.0;
        let (frame, place) = self.version.place_of(number);
        let page = page_of(&self.entries, frame, pages)?;
        match self.version {
            Version::V1 => Entry::v1(page, place),
            Version::V2 => {
                let status = page_of(&self.status, (number / GRANT_STATUS_PER_PAGE) as usize, pages)?;
                Entry::v2(page, place, status, (number % GRANT_STATUS_PER_PAGE) as usize)
            }
        }
    }

    /// Returns the active grant of an entry, if one of its frame was ever used.
    pub fn active(&self, reference: GrantRef) -> Option<&ActiveGrant> {
        let (frame, place) = self.version.place_of(reference.0);
        self.active.get(frame)?.get()?.get(place)
    }

    /// Returns the active grant of an entry, for its first use too.
    ///
    /// **Errors:** bad reference past the end of the table; no space if memory is short.
    pub(super) fn active_or_new(&self, reference: GrantRef) -> Result<&ActiveGrant, Failure> {
        let (frame, place) = self.version.place_of(reference.0);
        let slot = self.active.get(frame).ok_or(Failure::BadReference)?;
        let active = slot.get().map_or_else(|| make_active(slot), Ok)?;
        active.get(place).ok_or(Failure::BadReference)
    }

    /// Returns true if an entry is in use.
    #[inline]
    pub(super) fn is_used(&self, reference: GrantRef) -> bool {
        self.active(reference).is_some_and(|active| active.lock().is_used())
    }

    /// Counts a use of a grant, and its entry if that is the first one.
    pub(super) fn begin_use(&self, reference: GrantRef, active: &mut Active, write: bool) {
        if !active.is_used() && is_counted(reference) {
            self.in_use.fetch_add(1, Ordering::Relaxed);
        }
        active.add(write);
    }

    /// Counts a use out; returns the in-use flags that the entry must lose.
    pub(super) fn end_use(&self, reference: GrantRef, active: &mut Active, write: bool) -> u16 {
        let was_used = active.is_used();
        let marks = active.remove(write);
        if was_used && !active.is_used() && is_counted(reference) {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
        }
        marks
    }

    /// Returns true if an entry other than the toolstack's is in use. Exact under the write lock: uses begin and end
    /// under the read lock.
    pub(super) fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed) != 0
    }

    /// Grows the table to `to` frames of entries, and the status words that they need.
    ///
    /// **Errors:** [`CannotGrow`]; what was added stays.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub(super) fn grow(&mut self, to: u32, from: &Source<'_, impl Pages>) -> Result<(), CannotGrow> {
        if self.closed {
            return Err(CannotGrow);
        }
        while self.frame_count() < to {
            self.active.try_reserve(1).map_err(|_| CannotGrow)?;
            self.entries.try_reserve(1).map_err(|_| CannotGrow)?;
            let frame = from.take_for(FRAME_BYTES)?;
            self.active.push(Once::new());
            self.entries.push(TableFrame { frame, place: None });
        }
        if self.version == Version::V2 { self.grow_status(from) } else { Ok(()) }
    }

    /// Adds the status words that the entries of version 2 need.
    ///
    /// **Errors:** [`CannotGrow`]; what was added stays.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub(super) fn grow_status(&mut self, from: &Source<'_, impl Pages>) -> Result<(), CannotGrow> {
        if self.closed {
            return Err(CannotGrow);
        }
        while self.status.len() < status_frames_for(self.frame_count()) as usize {
            self.status.try_reserve(1).map_err(|_| CannotGrow)?;
            self.status.push(TableFrame { frame: from.take_for(STATUS_FRAME_BYTES)?, place: None });
        }
        Ok(())
    }
}

/// Makes the active grants of a frame. What they take of the heap was charged with the frame.
///
/// **Errors:** no space if memory is short.
#[cold]
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
fn make_active(slot: &Once<ActiveFrame>) -> Result<&ActiveFrame, Failure> {
    let mut active = Vec::new();
    active.try_reserve_exact(GRANT_ENTRIES_V1_PER_PAGE as usize).map_err(|_| Failure::NoSpace)?;
    active.extend((0..GRANT_ENTRIES_V1_PER_PAGE).map(|_| SpinLock::new(Active::UNUSED)));
    let active = active.into_boxed_slice();
    // Where another CPU was faster, its frame counts, and this one is given back.
    Ok(slot.get_or_init(|| active))
}

fn page_of<'a>(frames: &[TableFrame], index: usize, pages: &'a impl Pages) -> Option<&'a PageWords> {
    pages.page(frames.get(index)?.frame.mfn())
}

/// Returns the frames of status words for this many frames of entries of version 2.
pub const fn status_frames_for(frames: u32) -> u32 {
    frames.saturating_mul(GRANT_ENTRIES_V2_PER_PAGE).div_ceil(GRANT_STATUS_PER_PAGE)
}

/// The allocator of frames for a table.
pub struct Source<'a, P: Pages> {
    pub frames: &'a Frames,
    pub pages: &'a P,
    pub owner: DomId,
}

impl<P: Pages> Source<'_, P> {
    /// Takes a frame of the table, and charges the bytes of the heap that go with it.
    fn take_for(&self, heap_bytes: u64) -> Result<SharedFrame, CannotGrow> {
        let account = self.frames.account(self.owner).filter(|account| account.charge_heap(heap_bytes));
        let account = account.ok_or(CannotGrow)?;
        self.frames.take_shared(self.pages, self.owner).ok_or_else(|| {
            account.uncharge_heap(heap_bytes);
            CannotGrow
        })
    }
}

/// A domain's grants, and its mappings of other domains' grants.
#[derive(Debug)]
pub struct GrantTable {
    limits: Limits,
    pub(super) shape: RwSpinLock<Shape, rank::GrantTable>,
    pub(super) mappings: SpinLock<Maptrack, rank::GrantMapping>,
}

impl GrantTable {
    /// Creates a table of one frame, of version 1.
    ///
    /// **Errors:** [`CannotGrow`].
    pub fn new(limits: Limits, from: &Source<'_, impl Pages>) -> Result<Self, CannotGrow> {
        let mut shape = Shape {
            version: Version::V1,
            entries: Vec::new(),
            status: Vec::new(),
            active: Vec::new(),
            in_use: AtomicU32::new(0),
            closed: false,
        };
        shape.grow(1.min(limits.frames), from)?;
        let mappings = SpinLock::new(Maptrack::new(limits.maptrack_frames));
        Ok(Self { limits, shape: RwSpinLock::new(shape), mappings })
    }

    /// Returns the limits that the toolstack set.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Calls `look` with the table's shape.
    #[inline]
    pub fn with_shape<T>(&self, look: impl FnOnce(&Shape) -> T) -> T {
        look(&self.shape.read())
    }

    /// Grows the table to at least `frames` frames.
    ///
    /// **Errors:** [`CannotGrow`].
    pub fn grow(&self, frames: u32, from: &Source<'_, impl Pages>) -> Result<(), CannotGrow> {
        if frames > self.limits.frames {
            return Err(CannotGrow);
        }
        // One at a time: others use grants meanwhile.
        loop {
            let mut shape = self.shape.write();
            let next = shape.frame_count().saturating_add(1).min(frames);
            shape.grow(next, from)?;
            if shape.frame_count() >= frames {
                return Ok(());
            }
        }
    }

    /// Returns frame `index` of a part, for the toolstack or the domain itself to map. The table grows to it where its
    /// limit allows. None past the limit, and for status words of a table of version 1.
    pub fn frame(&self, part: Part, index: u32, from: &Source<'_, impl Pages>) -> Option<Mfn> {
        let mut shape = self.shape.write();
        let needed = match part {
            Part::Entries => index.checked_add(1)?,
            Part::Status if shape.version == Version::V1 => return None,
            Part::Status => frames_for_status(index.checked_add(1)?)?,
        };
        if shape.part(part).len() <= index as usize {
            drop(shape);
            let _ = self.grow(needed, from);
            shape = self.shape.write();
        }
        Some(shape.part(part).get(index as usize)?.frame.mfn())
    }

    /// Releases every frame of a domain that grants nothing any more. Frames that other domains map stay until they
    /// unmap them. Uses of its grants by others end without clearing flags.
    pub fn give_up(&self, frames: &Frames) {
        let mut shape = self.shape.write();
        shape.closed = true;
        for part in [Part::Entries, Part::Status] {
            while let Some(TableFrame { frame, .. }) = shape.part_mut(part).pop() {
                frames.release_shared(frame);
            }
        }
    }

    /// Returns the guest frame at which the domain sees a frame of its table.
    pub fn place_of<P: Pages, S: NestedSpace>(&self, part: Part, index: u32, memory: &Memory<'_, P, S>) -> Option<Gfn> {
        self.shape.read().part(part).get(index as usize)?.mapped_at(memory)
    }

    /// Notes the guest frame at which the domain sees a page from now on, if the page is a frame of its table.
    pub fn note_moved(&self, mfn: Mfn, place: Gfn) {
        let mut shape = self.shape.write();
        for part in [Part::Entries, Part::Status] {
            if let Some(frame) = shape.part_mut(part).iter_mut().find(|frame| frame.frame.mfn() == mfn) {
                frame.place = Some(place);
            }
        }
    }

    /// Notes the guest frame at which the domain sees a frame of its table from now on.
    pub fn note_place(&self, part: Part, index: u32, place: Gfn) {
        if let Some(frame) = self.shape.write().part_mut(part).get_mut(index as usize) {
            frame.place = Some(place);
        }
    }
}

/// Returns the frames of entries that go with this many frames of status words.
fn frames_for_status(status_frames: u32) -> Option<u32> {
    Some(status_frames.checked_mul(GRANT_STATUS_PER_PAGE)? / GRANT_ENTRIES_V2_PER_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_frames_of_entries_need_one_of_status_words() {
        assert_eq!(status_frames_for(1), 1);
        assert_eq!(status_frames_for(8), 1);
        assert_eq!(status_frames_for(9), 2);
        assert_eq!(frames_for_status(2), Some(16));
    }
}
