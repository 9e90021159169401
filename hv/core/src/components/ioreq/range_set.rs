//! A set of numbers as ranges: the ports, addresses or PCI functions that are directed to a server.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use xen_abi::Errno;

/// The most ranges of a set. **Source:** Xen's `MAX_NR_IO_RANGES`.
pub const MOST_RANGES: usize = 256;

/// A set of numbers, as ranges in rising order between which there is at least one number.
#[derive(Debug, Default)]
pub struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    /// Returns the index of the first range that does not end before `number`.
    fn first_from(&self, number: u64) -> usize {
        self.0.partition_point(|(_, last)| *last < number)
    }

    /// Returns true if a range lies in the set.
    pub fn contains(&self, range: &RangeInclusive<u64>) -> bool {
        let at = self.0.get(self.first_from(*range.start()));
        at.is_some_and(|(first, last)| first <= range.start() && range.end() <= last)
    }

    /// Returns true if a number of a range is in the set.
    pub fn overlaps(&self, range: &RangeInclusive<u64>) -> bool {
        self.0.get(self.first_from(*range.start())).is_some_and(|(first, _)| first <= range.end())
    }

    /// Adds a range of which no number is in the set.
    ///
    /// **Errors:** `ENOMEM` for more than 256 ranges, or if memory is short.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn insert(&mut self, range: &RangeInclusive<u64>) -> Result<(), Errno> {
        let (first, last) = (*range.start(), *range.end());
        let at = self.first_from(first);
        let before =
            at.checked_sub(1).filter(|at| self.0.get(*at).is_some_and(|(_, end)| end.checked_add(1) == Some(first)));
        let after = last.checked_add(1).filter(|next| self.0.get(at).is_some_and(|(start, _)| start == next));
        match (before, after) {
            (Some(before), Some(_)) => {
                let (_, end) = self.0.remove(at);
                self.set_last(before, end);
            }
            (Some(before), None) => self.set_last(before, last),
            (None, Some(_)) => self.set_first(at, first),
            (None, None) => {
                self.reserve_one()?;
                self.0.insert(at, (first, last));
            }
        }
        Ok(())
    }

    /// Removes a range that lies in the set.
    ///
    /// **Errors:** `ENOMEM` if more than 256 ranges would be left, or if memory is short.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn remove(&mut self, range: &RangeInclusive<u64>) -> Result<(), Errno> {
        let at = self.first_from(*range.start());
        let Some((first, last)) = self.0.get(at).copied() else { return Ok(()) };
        let left = range.start().checked_sub(1).filter(|end| *end >= first && *range.start() > first);
        let right = range.end().checked_add(1).filter(|start| *start <= last);
        match (left, right) {
            (Some(left), Some(right)) => {
                self.reserve_one()?;
                self.set_last(at, left);
                self.0.insert(at.saturating_add(1), (right, last));
            }
            (Some(left), None) => self.set_last(at, left),
            (None, Some(right)) => self.set_first(at, right),
            (None, None) => {
                self.0.remove(at);
            }
        }
        Ok(())
    }

    fn reserve_one(&mut self) -> Result<(), Errno> {
        if self.0.len() >= MOST_RANGES {
            return Err(Errno::ENOMEM);
        }
        self.0.try_reserve(1).map_err(|_| Errno::ENOMEM)
    }

    fn set_first(&mut self, at: usize, first: u64) {
        if let Some(range) = self.0.get_mut(at) {
            range.0 = first;
        }
    }

    fn set_last(&mut self, at: usize, last: u64) {
        if let Some(range) = self.0.get_mut(at) {
            range.1 = last;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_become_one_range_and_what_is_cut_out_leaves_two() {
        let mut set = RangeSet::default();
        set.insert(&(0x10..=0x1f)).unwrap();
        set.insert(&(0x30..=0x3f)).unwrap();
        set.insert(&(0x20..=0x2f)).unwrap();
        assert_eq!(set.0, [(0x10, 0x3f)]);
        assert!(set.contains(&(0x10..=0x3f)) && !set.contains(&(0xf..=0x10)) && !set.contains(&(0x3f..=0x40)));
        set.remove(&(0x20..=0x20)).unwrap();
        assert_eq!(set.0, [(0x10, 0x1f), (0x21, 0x3f)]);
        assert!(!set.contains(&(0x1f..=0x21)) && set.overlaps(&(0..=0x10)) && !set.overlaps(&(0x20..=0x20)));
        set.remove(&(0x10..=0x1f)).unwrap();
        set.remove(&(0x21..=0x3f)).unwrap();
        assert_eq!(set.0, []);
    }

    #[test]
    fn the_ends_of_the_numbers_are_numbers() {
        let mut set = RangeSet::default();
        set.insert(&(0..=u64::MAX)).unwrap();
        set.remove(&(0..=0)).unwrap();
        set.remove(&(u64::MAX..=u64::MAX)).unwrap();
        assert_eq!(set.0, [(1, u64::MAX - 1)]);
        set.insert(&(u64::MAX..=u64::MAX)).unwrap();
        set.insert(&(0..=0)).unwrap();
        assert!(set.contains(&(0..=u64::MAX)));
    }

    #[test]
    fn there_are_at_most_256_ranges() {
        let mut set = RangeSet::default();
        for index in 0..256 {
            set.insert(&(index * 4..=index * 4 + 2)).unwrap();
        }
        assert_eq!(set.insert(&(5000..=5000)), Err(Errno::ENOMEM));
        assert_eq!(set.remove(&(1..=1)), Err(Errno::ENOMEM), "it would be two");
        assert_eq!(set.insert(&(3..=3)), Ok(()), "it makes one of two");
        assert_eq!(set.remove(&(1..=1)), Ok(()));
    }

    proptest! {
        #[test]
        fn it_holds_what_a_set_of_numbers_holds(steps in proptest::collection::vec((0u64..60, 0u64..8, any::<bool>()), 0..80)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (first, more, add) in steps {
                let range = first..=first + more;
                let all = range.clone().all(|number| model.contains(&number));
                let any = range.clone().any(|number| model.contains(&number));
                prop_assert_eq!((set.contains(&range), set.overlaps(&range)), (all, any));
                if add && !any {
                    set.insert(&range).unwrap();
                    model.extend(range);
                } else if !add && all {
                    set.remove(&range).unwrap();
                    model.retain(|number| !range.contains(number));
                }
            }
            let gaps = set.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0);
            prop_assert!(gaps);
        }
    }
}
