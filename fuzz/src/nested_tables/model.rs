//! What a domain's frames must lead to: ranges of frames, without any table.

use std::collections::BTreeMap;

use xenolith_hal::{Mapping, Mfn, PageKind, PageOrder, Rights};

/// What a range of frames leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub pages: u64,
    /// The machine frame of the first one.
    pub mfn: u64,
    pub rights: Rights,
    pub kind: PageKind,
}

/// What one frame leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    pub mfn: Mfn,
    pub rights: Rights,
    pub kind: PageKind,
}

impl From<Mapping> for Page {
    fn from(mapping: Mapping) -> Self {
        Self { mfn: mapping.mfn, rights: mapping.rights, kind: mapping.kind }
    }
}

/// Ranges by their first frame; no two overlap.
#[derive(Default)]
pub struct Model(BTreeMap<u64, Range>);

impl Model {
    fn holder(&self, gfn: u64) -> Option<(u64, Range)> {
        let (&first, range) = self.0.range(..=gfn).next_back()?;
        (gfn - first < range.pages).then_some((first, *range))
    }

    /// Returns what a frame leads to.
    pub fn page(&self, gfn: u64) -> Option<Page> {
        let (first, range) = self.holder(gfn)?;
        Some(Page { mfn: Mfn(range.mfn + (gfn - first)), rights: range.rights, kind: range.kind })
    }

    /// Returns whether nothing is mapped at these frames.
    pub fn is_vacant(&self, gfn: u64, pages: u64) -> bool {
        self.holder(gfn).is_none() && self.0.range(gfn..gfn.saturating_add(pages)).next().is_none()
    }

    /// Maps a page where nothing is.
    pub fn map(&mut self, gfn: u64, mapping: Mapping) {
        let Mapping { mfn, order, rights, kind } = mapping;
        self.0.insert(gfn, Range { pages: order.pages(), mfn: mfn.0, rights, kind });
    }

    /// Unmaps these frames, whatever is there.
    pub fn unmap(&mut self, gfn: u64, order: PageOrder) {
        let end = gfn.saturating_add(order.pages());
        let mut next = gfn;
        while next < end {
            let found =
                self.holder(next).or_else(|| self.0.range(next..end).next().map(|(first, range)| (*first, *range)));
            let Some((first, range)) = found else { return };
            self.0.remove(&first);
            let after = first + range.pages;
            if first < gfn {
                self.0.insert(first, Range { pages: gfn - first, ..range });
            }
            if after > end {
                self.0.insert(end, Range { pages: after - end, mfn: range.mfn + (end - first), ..range });
            }
            next = after;
        }
    }

    /// Returns the first frame at or above this one where something is mapped.
    pub fn first_from(&self, gfn: u64) -> Option<u64> {
        if self.holder(gfn).is_some() {
            return Some(gfn);
        }
        self.0.range(gfn..).next().map(|(first, _)| *first)
    }

    /// Returns the first and the last frame of each range.
    pub fn edges(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|(first, range)| [*first, first + range.pages - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_leaves_what_is_on_both_sides() {
        let mut model = Model::default();
        let mapping = Mapping { mfn: Mfn(0x400), order: PageOrder::SIZE_2M, rights: Rights::ALL, kind: PageKind::Ram };
        model.map(0x200, mapping);
        model.unmap(0x205, PageOrder::SIZE_4K);
        let mfn = |model: &Model, gfn| model.page(gfn).map(|page| page.mfn.0);
        assert_eq!([0x204, 0x205, 0x206, 0x400].map(|gfn| mfn(&model, gfn)), [Some(0x404), None, Some(0x406), None]);
        assert_eq!(model.first_from(0x205), Some(0x206));
        assert!(!model.is_vacant(0x200, 0x200) && model.is_vacant(0x205, 1));
    }
}
