//! The nested page tables: walk, map, split, merge.

use super::Residency;
use super::entry::{ENTRIES, Entry, Level, Meaning, order_at};
use super::retired::Retired;
use super::tracking::Tracked;
use crate::guest::amd_vi::tables::IoTables;
use crate::guest::frame_access::FrameAccess;
use core::ops::{ControlFlow, Range};
use core::sync::atomic::{AtomicU64, Ordering, fence};
use xenolith_hal::{
    FrameSource, Gfn, MapError, Mapping, Mfn, Mpa, NestedSpace, PageKind, PageOrder, PageWords, Rights, WRITTEN_WORDS,
};
use xenolith_sync::Once;

/// The level of the root table.
pub(super) const ROOT: Level = 4;
/// Frames that four levels can name.
const GFN_LIMIT: u64 = 1 << 36;
/// No root: the tables were torn down.
const NO_ROOT: u64 = u64::MAX;
/// How often a lookup restarts because a table was detached meanwhile. Detaching one costs hundreds of times what a
/// walk does, so a few rounds are enough for anything but a broken machine.
const LOOKUP_ROUNDS: u32 = 1 << 16;

/// What the CPU's tables can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TableLimits {
    /// Bits of a machine address, 32 to 52.
    pub address_bits: u8,
    /// The CPU has 1 GiB pages.
    pub huge_pages: bool,
}

impl TableLimits {
    fn frame_limit(self) -> u64 {
        1 << u32::from(self.address_bits.clamp(32, 52)).saturating_sub(12)
    }
}

/// A four-level nested page table.
///
/// One thread at a time changes it (the holder of the domain's p2m lock); any number look things up meanwhile, without
/// a lock. Each change becomes visible by one store of one word, so a walk sees it wholly or not at all. The one danger
/// is a table that is detached and whose frame serves as another table before a slow walk has read it: `detached`
/// counts such removals (a sequence count), and a walk trusts nothing that it read across one.
pub struct NestedTables<A> {
    access: A,
    root: AtomicU64,
    detached: AtomicU64,
    limits: TableLimits,
    residency: Residency,
    retired: Retired,
    pub(super) tracked: Tracked,
    /// What devices reach, for a domain that has any.
    devices: Once<IoTables<A>>,
}

/// A table was detached during a walk.
struct Stale;

/// What a round of a lookup found.
type Found = Result<Option<Mapping>, Stale>;

/// An entry's place.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a>(pub(super) &'a AtomicU64);

impl Slot<'_> {
    pub(super) fn get(self) -> Entry {
        Entry(self.0.load(Ordering::Acquire))
    }

    pub(super) fn set(self, entry: Entry) {
        self.0.store(entry.0, Ordering::Release);
    }
}

/// The way down to one entry: its slot, and those of all tables above it.
pub(super) struct Path<'a> {
    /// Of level 1 to 4; only those from `level` up are there.
    slots: [Option<Slot<'a>>; ROOT as usize],
    pub(super) level: Level,
    pub(super) entry: Entry,
}

impl<'a> Path<'a> {
    pub(super) fn slot(&self, level: Level) -> Option<Slot<'a>> {
        *self.slots.get(level.checked_sub(1)? as usize)?
    }
}

/// New tables that are not linked yet.
pub(super) struct Fresh<'f> {
    frames: [Option<Mfn>; ROOT as usize],
    source: &'f mut dyn FrameSource,
}

impl<'f> Fresh<'f> {
    /// Takes `count` frames (at most 4), or none at all.
    pub(super) fn take(count: u32, source: &'f mut dyn FrameSource) -> Result<Self, MapError> {
        let mut fresh = Self { frames: [None; ROOT as usize], source };
        for place in fresh.frames.iter_mut().take(count as usize) {
            *place = fresh.source.take();
            if place.is_none() {
                fresh.give_back();
                return Err(MapError::NoMemory);
            }
        }
        Ok(fresh)
    }

    pub(super) fn next(&mut self) -> Result<Mfn, MapError> {
        self.frames.iter_mut().find_map(Option::take).ok_or(MapError::NoMemory)
    }

    pub(super) fn give_back(&mut self) {
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            self.source.give_back(frame);
        }
    }
}

pub(super) const fn index(gfn: u64, level: Level) -> usize {
    ((gfn >> (9 * (level - 1))) & (ENTRIES - 1)) as usize
}

impl<A: FrameAccess> NestedTables<A> {
    /// Creates an empty table that `cpus` CPUs may use; None if the pool or the heap is exhausted.
    pub fn new(access: A, limits: TableLimits, cpus: usize, frames: &mut dyn FrameSource) -> Option<Self> {
        let residency = Residency::new(cpus)?;
        let root = frames.take()?;
        Some(Self {
            access,
            root: AtomicU64::new(root.0),
            detached: AtomicU64::new(0),
            limits,
            residency,
            retired: Retired::new(),
            tracked: Tracked::default(),
            devices: Once::new(),
        })
    }

    /// Returns the address of the root table; None after [`NestedSpace::tear_down`].
    #[must_use]
    pub fn root(&self) -> Option<Mpa> {
        match self.root.load(Ordering::Acquire) {
            NO_ROOT => None,
            frame => Some(Mpa::from_mfn(Mfn(frame))),
        }
    }

    /// Makes the IOMMU page tables follow this table from now on; returns them, for the caller to point the IOMMUs to.
    /// Nothing may be mapped yet.
    ///
    /// **Errors:** `NoMemory`; `Occupied` if something is mapped already, or if devices have tables already.
    pub fn follow_for_devices(&self, frames: &mut dyn FrameSource) -> Result<&IoTables<A>, MapError>
    where
        A: Clone,
    {
        let root = self.root_frame().and_then(|root| self.access.frame(root)).ok_or(MapError::NoMemory)?;
        if self.devices.get().is_some() || root.words().iter().any(|word| word.load(Ordering::Acquire) != 0) {
            return Err(MapError::Occupied);
        }
        let tables = IoTables::new(self.access.clone(), frames).ok_or(MapError::NoMemory)?;
        self.devices.set(tables).map_err(|_| MapError::Occupied)
    }

    /// Returns the IOMMU page tables that follow this table; None for a domain without devices.
    pub fn devices(&self) -> Option<&IoTables<A>> {
        self.devices.get()
    }

    /// Returns the access to frames that the tables were made with.
    pub const fn access(&self) -> &A {
        &self.access
    }

    /// Returns the CPUs that are inside.
    pub const fn residency(&self) -> &Residency {
        &self.residency
    }

    fn slot(&self, table: Mfn, index: usize) -> Option<Slot<'_>> {
        self.access.frame(table)?.words().get(index).map(Slot)
    }

    pub(super) fn root_frame(&self) -> Option<Mfn> {
        self.root().map(Mpa::mfn)
    }

    /// Does one round of a lookup. What was read counts only if no table was detached before it was read.
    fn find(&self, gfn: u64) -> Found {
        let before = self.detached.load(Ordering::Acquire);
        let Some(root) = self.root_frame() else { return Ok(None) };
        // Level by level, each with its own shift: a loop over them takes half as many instructions more.
        let step = |table: Mfn, level: Level| self.find_at(before, gfn, table, level);
        let walk = || step(step(step(step(root, ROOT)?, ROOT - 1)?, ROOT - 2)?, ROOT - 3);
        match walk() {
            ControlFlow::Break(found) => found,
            // There are no tables below the last level.
            ControlFlow::Continue(_) => Ok(None),
        }
    }

    /// Does one level of [`Self::find`]: what was found, or the table below.
    #[inline]
    fn find_at(&self, before: u64, gfn: u64, table: Mfn, level: Level) -> ControlFlow<Found, Mfn> {
        let Some(slot) = self.slot(table, index(gfn, level)) else { return ControlFlow::Break(Ok(None)) };
        let entry = slot.get();
        fence(Ordering::Acquire);
        if self.detached.load(Ordering::Relaxed) != before {
            return ControlFlow::Break(Err(Stale));
        }
        match entry.meaning(level) {
            Meaning::Empty => ControlFlow::Break(Ok(None)),
            Meaning::Page => {
                let found = entry.mapping(level, gfn & (order_at(level).pages() - 1));
                ControlFlow::Break(Ok(found.filter(|found| found.kind != PageKind::OnDemand)))
            }
            Meaning::Table { frame, .. } => ControlFlow::Continue(frame),
        }
    }

    /// Walks down until `lowest` or until there is no table below.
    #[inline]
    pub(super) fn descend(&self, gfn: u64, lowest: Level) -> Option<Path<'_>> {
        let mut table = self.root_frame()?;
        let mut level = ROOT;
        let mut slots = [None; ROOT as usize];
        loop {
            let slot = self.slot(table, index(gfn, level))?;
            if let Some(place) = slots.get_mut(level as usize - 1) {
                *place = Some(slot);
            }
            let entry = slot.get();
            match entry.meaning(level) {
                Meaning::Table { frame, .. } if level > lowest => {
                    table = frame;
                    level -= 1;
                }
                _ => return Some(Path { slots, level, entry }),
            }
        }
    }

    /// Adds `change` to the count of used entries of the table that holds the path's entry at `level`, in the entry
    /// above. Returns the new count.
    #[inline]
    fn count(path: &Path<'_>, level: Level, change: i64) -> Option<u64> {
        let above = path.slot(level + 1)?;
        let entry = above.get();
        let Meaning::Table { used, .. } = entry.meaning(level + 1) else { return None };
        let used = used.checked_add_signed(change)?;
        above.set(entry.with_used(used));
        Some(used)
    }

    /// Returns true if nothing is mapped below this entry but marks.
    fn vacant(&self, entry: Entry, level: Level) -> bool {
        match entry.meaning(level) {
            Meaning::Empty => true,
            Meaning::Page => entry.is_mark(),
            Meaning::Table { used: 0, .. } => true,
            Meaning::Table { frame, .. } => self.access.frame(frame).is_some_and(|table| {
                table.words().iter().all(|word| self.vacant(Entry(word.load(Ordering::Acquire)), level - 1))
            }),
        }
    }

    fn page_allowed(&self, level: Level) -> bool {
        level <= 2 || (level == 3 && self.limits.huge_pages)
    }

    fn check(&self, gfn: Gfn, mfn: Mfn, order: PageOrder) -> Result<Level, MapError> {
        let level = match order {
            PageOrder::SIZE_4K => 1,
            PageOrder::SIZE_2M => 2,
            PageOrder::SIZE_1G => 3,
            _ => return Err(MapError::Unaligned),
        };
        let fits = |frame: u64, limit: u64| frame.checked_add(order.pages()).is_some_and(|end| end <= limit);
        if !order.aligned(gfn.0) || !order.aligned(mfn.0) {
            Err(MapError::Unaligned)
        } else if !fits(gfn.0, GFN_LIMIT) || !fits(mfn.0, self.limits.frame_limit()) {
            Err(MapError::OutOfRange)
        } else {
            Ok(level)
        }
    }

    /// Fills a table that nobody sees yet with the parts of a page of `level`.
    pub(super) fn split_into(&self, table: Mfn, page: Entry, level: Level) -> Option<&PageWords> {
        let words = self.access.frame(table)?;
        for (index, word) in (0..).zip(words.words()) {
            word.store(page.part(level, index).0, Ordering::Relaxed);
        }
        Some(words)
    }

    /// Maps a page of `level` at a vacant entry: as one page, or as 512 smaller ones if the CPU has no such page or an
    /// empty table is in the way. What is there must be vacant.
    fn place(&self, slot: Slot<'_>, page: Entry, level: Level, fresh: &mut Fresh<'_>) -> Result<(), MapError> {
        match slot.get().meaning(level) {
            Meaning::Table { frame, .. } => {
                let table = self.access.frame(frame).ok_or(MapError::NoMemory)?;
                for (index, word) in (0..).zip(table.words()) {
                    self.place(Slot(word), page.part(level, index), level - 1, fresh)?;
                }
                slot.set(Entry::table(frame, ENTRIES));
                self.join(slot, level, fresh.source);
            }
            _ if self.page_allowed(level) => slot.set(page),
            _ => {
                let table = fresh.next()?;
                self.split_into(table, page, level).ok_or(MapError::NoMemory)?;
                slot.set(Entry::table(table, ENTRIES));
            }
        }
        Ok(())
    }

    /// Detaches a table: replaces its entry by `instead`. Returns false if it must stay for now.
    fn detach(&self, slot: Slot<'_>, table: Mfn, instead: Entry, frames: &mut dyn FrameSource) -> bool {
        let Some(room) = self.retired.room(&self.residency, frames) else { return false };
        slot.set(instead);
        self.detached.fetch_add(1, Ordering::SeqCst);
        // Whoever reads what the frame holds from now on also reads the new count.
        fence(Ordering::SeqCst);
        let generation = self.residency.advance();
        self.retired.put(room, table, generation, &self.residency, frames);
        true
    }

    /// Merges the table behind an entry of `level` into one page, if its entries make one.
    pub(super) fn join(&self, slot: Slot<'_>, level: Level, frames: &mut dyn FrameSource) -> bool {
        let Meaning::Table { frame, used: ENTRIES } = slot.get().meaning(level) else { return false };
        if !self.page_allowed(level) {
            return false;
        }
        let Some(table) = self.access.frame(frame) else { return false };
        let mut words = table.words().iter().map(|word| Entry(word.load(Ordering::Acquire)));
        // What is tracked stays apart, so that writes are told apart.
        let may_join = |first: &Entry| first.meaning(level - 1) == Meaning::Page && !first.is_tracked();
        let Some(first) = words.next().filter(may_join) else { return false };
        let Some(whole) = first.joined(level) else { return false };
        (1..).zip(words).all(|(index, entry)| entry == whole.part(level, index))
            && self.detach(slot, frame, whole, frames)
    }

    /// Maps a page at the vacant entry that a path leads to, with the missing tables in between.
    fn insert(&self, gfn: u64, page: Entry, level: Level, path: &Path<'_>, fresh: &mut Fresh<'_>) -> Option<()> {
        let target = path.slot(path.level)?;
        if path.level == level {
            return self.place(target, page, level, fresh).ok();
        }
        let bottom = fresh.next().ok()?;
        self.place(self.slot(bottom, index(gfn, level))?, page, level, fresh).ok()?;
        let mut link = Entry::table(bottom, 1);
        for above in level + 1..path.level {
            let table = fresh.next().ok()?;
            self.slot(table, index(gfn, above))?.set(link);
            link = Entry::table(table, 1);
        }
        target.set(link);
        Some(())
    }

    /// Puts another entry, or none, in the place of a 4 KiB page of a superpage: makes the tables below that, and puts them in
    /// its place.
    fn carve(&self, gfn: u64, path: &Path<'_>, with: Entry, fresh: &mut Fresh<'_>) -> Option<()> {
        let used = if with == Entry::EMPTY { ENTRIES - 1 } else { ENTRIES };
        let target = path.slot(path.level)?;
        // A write that is noted at this moment would be lost, so a tracked page counts as written.
        let entry = if path.entry.is_tracked() { path.entry.written() } else { path.entry };
        let (mut page, mut level) = (entry, path.level);
        let top = fresh.next().ok()?;
        let mut table = top;
        loop {
            let words = self.split_into(table, page, level)?;
            let hole = Slot(words.words().get(index(gfn, level - 1))?);
            page = hole.get();
            level -= 1;
            if level == 1 {
                hole.set(with);
                break;
            }
            table = fresh.next().ok()?;
            hole.set(Entry::table(table, if level == 2 { used } else { ENTRIES }));
        }
        target.set(Entry::table(top, if path.level == 2 { used } else { ENTRIES }));
        Some(())
    }

    /// Frees the tables above an entry that was just emptied, as far as they are empty now.
    fn prune(&self, path: &Path<'_>, frames: &mut dyn FrameSource) {
        for level in path.level..ROOT {
            if Self::count(path, level, -1) != Some(0) {
                return;
            }
            let Some(above) = path.slot(level + 1) else { return };
            let Meaning::Table { frame, .. } = above.get().meaning(level + 1) else { return };
            if !self.detach(above, frame, Entry::EMPTY, frames) {
                return;
            }
        }
    }

    /// Returns the first frame and the level of the first page at or above `from` in a table of `level` whose first
    /// frame is `base`. A page that begins below `from` and reaches it counts.
    pub(super) fn first_page(&self, table: Mfn, level: Level, base: u64, from: u64) -> Option<(u64, Level)> {
        let pages = 1 << (9 * (level - 1));
        let mut begin = (from.saturating_sub(base) / pages) as usize;
        let page = self.access.frame(table)?;
        while let Some(index) = page.next_used(begin) {
            let first = base + index as u64 * pages;
            // It may have changed since.
            let found = match Entry(page.words().get(index)?.load(Ordering::Acquire)).meaning(level) {
                Meaning::Empty => None,
                Meaning::Page => Some((first, level)),
                Meaning::Table { frame, .. } => self.first_page(frame, level - 1, first, from),
            };
            if found.is_some() {
                return found;
            }
            begin = index + 1;
        }
        None
    }

    fn give_back_below(&self, table: Mfn, level: Level, frames: &mut dyn FrameSource) {
        if let Some(page) = self.access.frame(table).filter(|_| level > 1) {
            let mut begin = 0;
            while let Some(index) = page.next_used(begin) {
                let entry = page.words().get(index).map(|word| Entry(word.load(Ordering::Acquire)));
                if let Some(Meaning::Table { frame, .. }) = entry.map(|entry| entry.meaning(level)) {
                    self.give_back_below(frame, level - 1, frames);
                }
                begin = index + 1;
            }
        }
        frames.give_back(table);
    }
}

impl<A: FrameAccess> NestedSpace for NestedTables<A> {
    fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        if gfn.0 >= GFN_LIMIT {
            return None;
        }
        (0..LOOKUP_ROUNDS).find_map(|_| self.find(gfn.0).ok())?
    }

    fn mark_at(&self, gfn: Gfn) -> (bool, PageOrder) {
        match self.descend(gfn.0, 1).filter(|_| gfn.0 < GFN_LIMIT) {
            // A table is no mark, whatever its bits say; but a walk ends at none before level 1.
            Some(path) => (path.entry.is_mark(), order_at(path.level)),
            None => (false, PageOrder::SIZE_1G),
        }
    }

    fn map(&self, gfn: Gfn, mapping: Mapping, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let Some(devices) = self.devices.get() else { return self.map_for_cpus(gfn, mapping, frames) };
        // Devices first: what they have is taken back without memory, where a page of the CPUs may have to be split.
        let (level, _) = self.vacancy(gfn, &mapping)?;
        let mapped = devices.map(gfn, mapping, frames).and_then(|()| self.map_for_cpus(gfn, mapping, frames));
        if mapped.is_err() {
            devices.take_away(gfn, level, frames);
        }
        mapped
    }

    fn unmap(&self, gfn: Gfn, frames: &mut dyn FrameSource) -> Result<Option<Mapping>, MapError> {
        if let Some(devices) = self.devices.get() {
            devices.unmap(gfn, frames)?;
        }
        let unmapped = self.unmap_for_cpus(gfn, frames);
        if let (Err(_), Some(devices), Some(there)) = (unmapped, self.devices.get(), self.lookup(gfn)) {
            // It stays, for devices too; the tables that it needs are there.
            let _ = devices.map(gfn, Mapping { order: PageOrder::SIZE_4K, ..there }, frames);
        }
        unmapped
    }

    fn set_rights(&self, gfn: Gfn, rights: Rights, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let Some(there) = self.lookup(gfn).filter(|there| there.rights != rights) else { return Ok(()) };
        let mapping = Mapping { rights, order: PageOrder::SIZE_4K, ..there };
        if let Some(devices) = self.devices.get() {
            devices.unmap(gfn, frames)?;
        }
        let changed = self.set_rights_for_cpus(gfn, mapping, frames);
        if let Some(devices) = self.devices.get() {
            // The tables that it needs are there.
            let _ = devices.map(
                gfn,
                if changed.is_ok() { mapping } else { Mapping { order: mapping.order, ..there } },
                frames,
            );
        }
        changed
    }

    fn take_next(&self, from: Gfn, frames: &mut dyn FrameSource) -> Option<(Gfn, Mapping)> {
        let (first, level) = self.first_page(self.root_frame()?, ROOT, 0, from.0)?;
        if let Some(devices) = self.devices.get() {
            devices.take_away(Gfn(first), level, frames);
        }
        let path = self.descend(first, level).filter(|path| path.level == level)?;
        let found = path.entry.mapping(level, 0)?;
        path.slot(level)?.set(Entry::EMPTY);
        self.prune(&path, frames);
        self.residency.advance();
        Some((Gfn(first), found))
    }

    fn generation(&self) -> u64 {
        self.residency.generation()
    }

    fn flush(&self) {
        self.residency.advance();
    }

    fn set_tracked(&self, frames: Range<u64>) {
        self.tracked.set(frames);
    }

    fn retrack(&self, from: Gfn, frames: &mut dyn FrameSource) -> Option<Gfn> {
        self.make_follow(from.0, frames)
    }

    fn written(&self, first: Gfn, clean: bool, frames: &mut dyn FrameSource) -> [u64; WRITTEN_WORDS] {
        self.take_written(first.0, clean, frames)
    }

    #[inline]
    fn note_written(&self, gfn: Gfn) {
        if !self.tracked.is_off() {
            self.mark_written(gfn.0);
        }
    }

    fn permit_write(&self, gfn: Gfn, frames: &mut dyn FrameSource) -> bool {
        self.open_for_write(gfn.0, frames)
    }

    fn tear_down(&self, frames: &mut dyn FrameSource) {
        let Some(root) = self.root_frame() else { return };
        self.root.store(NO_ROOT, Ordering::Release);
        self.detached.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.residency.advance();
        self.give_back_below(root, ROOT, frames);
        self.retired.drain(frames);
    }
}

impl<A: FrameAccess> NestedTables<A> {
    /// Returns the level of a page, and the way to the vacant place where it is to be mapped.
    fn vacancy(&self, gfn: Gfn, mapping: &Mapping) -> Result<(Level, Path<'_>), MapError> {
        let level = self.check(gfn, mapping.mfn, mapping.order)?;
        let path = self.descend(gfn.0, level).ok_or(MapError::OutOfRange)?;
        let larger_mark = path.level != level && path.entry != Entry::EMPTY;
        if self.vacant(path.entry, path.level) && !larger_mark { Ok((level, path)) } else { Err(MapError::Occupied) }
    }

    fn map_for_cpus(&self, gfn: Gfn, mapping: Mapping, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let (level, path) = self.vacancy(gfn, &mapping)?;
        let new_entry = path.entry == Entry::EMPTY;
        let tables = (path.level - level) + u32::from(new_entry && !self.page_allowed(level));
        let mut fresh = Fresh::take(tables, frames)?;
        let page = Entry::page(mapping.mfn, level, mapping.rights, mapping.kind);
        let page = self.page_to_map(gfn.0, page, level);
        let placed = self.insert(gfn.0, page, level, &path, &mut fresh);
        fresh.give_back();
        placed.ok_or(MapError::NoMemory)?;
        if new_entry {
            let _ = Self::count(&path, path.level, 1);
        }
        self.join_upwards(&path, frames);
        Ok(())
    }

    fn set_rights_for_cpus(&self, gfn: Gfn, mapping: Mapping, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let Some(path) = self.descend(gfn.0, 1) else { return Ok(()) };
        let page = self.page_to_map(gfn.0, Entry::page(mapping.mfn, 1, mapping.rights, mapping.kind), 1);
        if path.level == 1 {
            if let Some(slot) = path.slot(1) {
                slot.set(page);
            }
            self.residency.advance();
            self.join_upwards(&path, frames);
        } else {
            let mut fresh = Fresh::take(path.level - 1, frames)?;
            let carved = self.carve(gfn.0, &path, page, &mut fresh);
            fresh.give_back();
            carved.ok_or(MapError::NoMemory)?;
            self.residency.advance();
        }
        Ok(())
    }

    fn unmap_for_cpus(&self, gfn: Gfn, frames: &mut dyn FrameSource) -> Result<Option<Mapping>, MapError> {
        if gfn.0 >= GFN_LIMIT {
            return Ok(None);
        }
        let Some(path) = self.descend(gfn.0, 1) else { return Ok(None) };
        if path.entry.meaning(path.level) != Meaning::Page {
            return Ok(None);
        }
        let found = path.entry.mapping(path.level, gfn.0 & (order_at(path.level).pages() - 1));
        if path.level == 1 {
            if let Some(slot) = path.slot(1) {
                slot.set(Entry::EMPTY);
            }
            self.prune(&path, frames);
        } else {
            let mut fresh = Fresh::take(path.level - 1, frames)?;
            let carved = self.carve(gfn.0, &path, Entry::EMPTY, &mut fresh);
            fresh.give_back();
            carved.ok_or(MapError::NoMemory)?;
        }
        self.residency.advance();
        Ok(found)
    }
}
