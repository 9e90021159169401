//! Tracking of the guest's writes (dirty logging).
//!
//! A tracked page carries a mark of ours. Where it is a page of 4 KiB, the processor itself notes a write, by the dirty bit,
//! at no cost. A superpage is write-protected instead, so that its first write exits and it is split; then its parts are
//! tracked one by one. Pages that are not tracked always have the dirty bit, so the processor never writes to a table
//! while nothing is tracked.
//!
//! Entries of tracked pages change under the processor's hands, so they are changed by atomic operations alone.
//!
//! **Source:** AMD manual volume 2, 15.25.5 (the processor sets accessed and dirty bits in nested tables too).

use super::entry::{ENTRIES, Entry, Level, Meaning, order_at};
use super::tables::{Fresh, NestedTables, Path, ROOT, Slot, index};
use crate::guest::frame_access::FrameAccess;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_hal::{FrameSource, Gfn, Mfn, WRITTEN_WORDS};

/// The frames whose writes are tracked.
#[derive(Debug, Default)]
pub(super) struct Tracked {
    start: AtomicU64,
    /// 0 while nothing is.
    end: AtomicU64,
}

impl Tracked {
    pub(super) fn set(&self, frames: Range<u64>) {
        // Between the two stores the range may be too small or too large, and no pages follow it yet.
        self.start.store(frames.start, Ordering::Relaxed);
        self.end.store(if frames.is_empty() { 0 } else { frames.end }, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_off(&self) -> bool {
        self.end.load(Ordering::Acquire) == 0
    }

    fn holds(&self, gfn: u64) -> bool {
        gfn < self.end.load(Ordering::Acquire) && gfn >= self.start.load(Ordering::Relaxed)
    }
}

impl Slot<'_> {
    /// Changes the entry as `next` says, whatever others change there meanwhile; returns what it was.
    fn update(self, next: impl Fn(Entry) -> Entry) -> Entry {
        let changed = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some(next(Entry(word)).0));
        Entry(changed.unwrap_or_else(|word| word))
    }

    /// Replaces the entry if it is still `old`.
    fn replace(self, old: Entry, new: Entry) -> bool {
        self.0.compare_exchange(old.0, new.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Entries that are looked at together.
const GROUP: usize = 8;

/// Returns a bit for each page that was written, and with `clean` makes them count as not written.
fn written_in_group(group: &[AtomicU64; GROUP], clean: bool) -> u64 {
    let mut bits = 0;
    for (bit, word) in (0..).zip(group) {
        let entry = Entry(word.load(Ordering::Acquire));
        if entry.is_seen_written() {
            bits |= 1 << bit;
            if clean {
                Slot(word).update(|entry| if entry.is_tracked() { entry.tracked(1) } else { entry });
            }
        }
    }
    bits
}

impl<A: FrameAccess> NestedTables<A> {
    /// Returns a new page as it is to be mapped at a frame: as written, where that is tracked.
    pub(super) fn page_to_map(&self, gfn: u64, page: Entry, level: Level) -> Entry {
        if !self.tracked.holds(gfn) {
            page
        } else if page.is_mark() {
            page.written_mark()
        } else {
            page.tracked(level).written()
        }
    }

    pub(super) fn make_follow(&self, from: u64, frames: &mut dyn FrameSource) -> Option<Gfn> {
        let (first, level) = self.first_page(self.root_frame()?, ROOT, 0, from)?;
        let path = self.descend(first, level).filter(|path| path.level == level)?;
        let next = if level == 1 {
            self.table_follows(first, &path)?;
            (first | (ENTRIES - 1)) + 1
        } else {
            self.page_follows(path.slot(level)?, level, first);
            first + order_at(level).pages()
        };
        if self.tracked.is_off() {
            self.join_upwards(&path, frames);
        }
        Some(Gfn(next))
    }

    fn table_follows(&self, first: u64, path: &Path<'_>) -> Option<()> {
        let Meaning::Table { frame, .. } = path.slot(2)?.get().meaning(2) else { return None };
        let base = first & !(ENTRIES - 1);
        for (gfn, word) in (base..).zip(self.access().frame(frame)?.words()) {
            self.page_follows(Slot(word), 1, gfn);
        }
        Some(())
    }

    fn page_follows(&self, slot: Slot<'_>, level: Level, gfn: u64) {
        let tracked = self.tracked.holds(gfn);
        if slot.get().is_tracked() != tracked {
            slot.update(|entry| if tracked { entry.tracked(level) } else { entry.untracked() });
        }
    }

    pub(super) fn join_upwards(&self, path: &Path<'_>, frames: &mut dyn FrameSource) {
        for level in path.level + 1..=ROOT {
            if !path.slot(level).is_some_and(|slot| self.join(slot, level, frames)) {
                return;
            }
        }
    }

    pub(super) fn take_written(&self, first: u64, clean: bool, frames: &mut dyn FrameSource) -> [u64; WRITTEN_WORDS] {
        let nothing = [0; WRITTEN_WORDS];
        let Some(path) = self.descend(first, 1) else { return nothing };
        if path.level == 1 {
            return self.written_in_table(&path, clean).unwrap_or(nothing);
        }
        if !path.entry.is_seen_written() {
            return nothing;
        }
        if clean && path.level == 2 {
            let cleaned = path.slot(2).map(|slot| slot.update(|entry| entry.tracked(2)));
            debug_assert!(cleaned.is_some());
        } else if clean && self.divide(first, &path, 2, frames) {
            return self.take_written(first, clean, frames);
        }
        // A page of 1 GiB that cannot be split stays written: each part of it is reported again next time.
        [u64::MAX; WRITTEN_WORDS]
    }

    fn written_in_table(&self, path: &Path<'_>, clean: bool) -> Option<[u64; WRITTEN_WORDS]> {
        let Meaning::Table { frame, .. } = path.slot(2)?.get().meaning(2) else { return None };
        let mut bits = [0; WRITTEN_WORDS];
        let words = self.access().frame(frame)?.words();
        for (entries, bits) in words.as_chunks::<{ u64::BITS as usize }>().0.iter().zip(&mut bits) {
            let mut first = 0;
            for group in entries.as_chunks::<GROUP>().0 {
                // Nearly all pages are tracked and were not written: eight of them cost one test.
                let [a, b, c, d, e, f, g, h] = group;
                let read = |word: &AtomicU64| word.load(Ordering::Relaxed);
                let any = read(a) | read(b) | read(c) | read(d) | read(e) | read(f) | read(g) | read(h);
                if Entry(any).is_written() {
                    *bits |= written_in_group(group, clean) << first;
                }
                first += GROUP;
            }
        }
        Some(bits)
    }

    #[cold]
    pub(super) fn mark_written(&self, gfn: u64) {
        // An entry that changes meanwhile is looked at anew; whoever changes it marks what it maps then.
        while let Some(path) = self.descend(gfn, 1) {
            let entry = path.entry;
            if entry.meaning(path.level) != Meaning::Page || !entry.is_tracked() || entry.is_written() {
                return;
            }
            if path.slot(path.level).is_none_or(|slot| slot.replace(entry, entry.written())) {
                return;
            }
        }
    }

    pub(super) fn open_for_write(&self, gfn: u64, frames: &mut dyn FrameSource) -> bool {
        let Some(path) = self.descend(gfn, 1) else { return false };
        if path.entry.meaning(path.level) != Meaning::Page || !path.entry.is_tracked() {
            return false;
        }
        if !path.entry.is_writable()
            && !self.divide(gfn, &path, 1, frames)
            && let Some(slot) = path.slot(path.level)
        {
            slot.update(|entry| if entry.is_tracked() { entry.written().writable() } else { entry });
        }
        true
    }

    /// Splits the page of a path down to `lowest` around a frame. Returns false if memory is short, or if the entry has
    /// changed.
    fn divide(&self, gfn: u64, path: &Path<'_>, lowest: Level, frames: &mut dyn FrameSource) -> bool {
        let Ok(mut fresh) = Fresh::take(path.level - lowest, frames) else { return false };
        let divided = self.divided(gfn, path, lowest, &mut fresh);
        let top = divided.filter(|top| {
            path.slot(path.level).is_some_and(|slot| slot.replace(path.entry, Entry::table(*top, ENTRIES)))
        });
        fresh.give_back();
        if top.is_some() {
            // What is cached of the superpage forbids what its parts allow.
            self.residency().advance();
        } else if let Some(top) = divided {
            self.give_back_fresh(top, path.level - 1, frames);
        }
        top.is_some()
    }

    /// Builds the tables for [`NestedTables::divide`]; returns the topmost.
    fn divided(&self, gfn: u64, path: &Path<'_>, lowest: Level, fresh: &mut Fresh<'_>) -> Option<Mfn> {
        let top = fresh.next().ok()?;
        let (mut page, mut level, mut table) = (path.entry, path.level, top);
        loop {
            let words = self.split_into(table, page, level)?;
            level -= 1;
            if level == lowest {
                return Some(top);
            }
            let slot = Slot(words.words().get(index(gfn, level))?);
            page = slot.get();
            table = fresh.next().ok()?;
            slot.set(Entry::table(table, ENTRIES));
        }
    }

    /// Gives back tables that were never linked.
    fn give_back_fresh(&self, table: Mfn, level: Level, frames: &mut dyn FrameSource) {
        let words = self.access().frame(table).into_iter().flat_map(|page| page.words());
        let below: Option<Mfn> =
            words.map(|word| Entry(word.load(Ordering::Relaxed))).find_map(|entry| match entry.meaning(level) {
                Meaning::Table { frame, .. } => Some(frame),
                _ => None,
            });
        if let Some(below) = below {
            self.give_back_fresh(below, level - 1, frames);
        }
        frames.give_back(table);
    }

    /// Does what the processor does for a write of the guest: sets the dirty bit. Returns false for a fault.
    #[cfg(test)]
    pub(super) fn guest_writes(&self, gfn: u64) -> bool {
        let Some(path) = self.descend(gfn, 1).filter(|path| path.entry.is_writable()) else { return false };
        path.slot(path.level).map(|slot| slot.update(Entry::written)).is_some()
    }
}
