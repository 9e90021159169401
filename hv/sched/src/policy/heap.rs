//! A priority queue of units as an intrusive leftist heap: the links are in the units.
//!
//! Insertion, removal of the first and removal of any unit cost O(log n), and none allocates memory.

use super::unit::{Unit, UnitId, Units};

/// Sort key of a unit; the least comes first.
pub type Order = (u64, u64);

/// Links of a unit in a heap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Links {
    order: Order,
    left: Option<UnitId>,
    right: Option<UnitId>,
    parent: Option<UnitId>,
    /// One more than the rank of the right child; 0 for none. A heap of n units has ranks up to log2(n + 1).
    rank: u32,
}

/// Selects which of a unit's two sets of links a heap uses.
pub trait Which {
    fn of<A>(unit: &Unit<A>) -> &Links;
    fn of_mut<A>(unit: &mut Unit<A>) -> &mut Links;
}

/// The links for heaps of waiting or of running units.
#[derive(Debug)]
pub struct ByOrder;

/// The links for heaps of timers.
#[derive(Debug)]
pub struct ByTime;

impl Which for ByOrder {
    fn of<A>(unit: &Unit<A>) -> &Links {
        &unit.by_order
    }
    fn of_mut<A>(unit: &mut Unit<A>) -> &mut Links {
        &mut unit.by_order
    }
}

impl Which for ByTime {
    fn of<A>(unit: &Unit<A>) -> &Links {
        &unit.by_time
    }
    fn of_mut<A>(unit: &mut Unit<A>) -> &mut Links {
        &mut unit.by_time
    }
}

/// A heap: its first unit. The units themselves are in the caller's [`Units`].
#[derive(Debug)]
pub struct Heap<W> {
    first: Option<UnitId>,
    which: core::marker::PhantomData<W>,
}

impl<W> Default for Heap<W> {
    fn default() -> Self {
        Self { first: None, which: core::marker::PhantomData }
    }
}

impl<W: Which> Heap<W> {
    /// Returns the unit with the least sort key.
    #[must_use]
    pub const fn first(&self) -> Option<UnitId> {
        self.first
    }

    /// Returns the least sort key and its unit.
    #[must_use]
    pub fn least<A>(&self, units: &Units<A>) -> Option<(Order, UnitId)> {
        self.first.and_then(|id| units.get(id).map(|unit| (W::of(unit).order, id)))
    }

    /// Inserts a unit. Its links of this kind must be in no heap.
    pub fn insert<A>(&mut self, units: &mut Units<A>, id: UnitId, order: Order) {
        let Some(unit) = units.get_mut(id) else { return };
        *W::of_mut(unit) = Links { order, left: None, right: None, parent: None, rank: 1 };
        self.first = merge::<W, A>(units, self.first, Some(id));
        set_parent::<W, A>(units, self.first, None);
    }

    /// Removes a unit that is in this heap.
    pub fn remove<A>(&mut self, units: &mut Units<A>, id: UnitId) {
        let Some(links) = units.get_mut(id).map(|unit| core::mem::take(W::of_mut(unit))) else { return };
        let rest = merge::<W, A>(units, links.left, links.right);
        set_parent::<W, A>(units, rest, links.parent);
        let Some(parent) = links.parent else {
            self.first = rest;
            return;
        };
        if let Some(unit) = units.get_mut(parent) {
            let above = W::of_mut(unit);
            let side = if above.left == Some(id) { &mut above.left } else { &mut above.right };
            *side = rest;
        }
        let mut next = Some(parent);
        while let Some(id) = next {
            if !restore_leftist::<W, A>(units, id) {
                break;
            }
            next = units.get(id).and_then(|unit| W::of(unit).parent);
        }
    }
}

fn rank<W: Which, A>(units: &Units<A>, id: Option<UnitId>) -> u32 {
    id.and_then(|id| units.get(id)).map_or(0, |unit| W::of(unit).rank)
}

fn set_parent<W: Which, A>(units: &mut Units<A>, id: Option<UnitId>, parent: Option<UnitId>) {
    if let Some(unit) = id.and_then(|id| units.get_mut(id)) {
        W::of_mut(unit).parent = parent;
    }
}

/// Restores the leftist property of one node: the child of greater rank is on the left. Returns whether the node's rank
/// changed.
fn restore_leftist<W: Which, A>(units: &mut Units<A>, id: UnitId) -> bool {
    let Some(links) = units.get(id).map(|unit| *W::of(unit)) else { return false };
    let (left, right) = (rank::<W, A>(units, links.left), rank::<W, A>(units, links.right));
    let Some(unit) = units.get_mut(id) else { return false };
    let own = W::of_mut(unit);
    if left < right {
        (own.left, own.right) = (links.right, links.left);
    }
    own.rank = left.min(right).saturating_add(1);
    own.rank != links.rank
}

/// Merges two heaps and returns the first unit. The recursion is as deep as the ranks are high.
fn merge<W: Which, A>(units: &mut Units<A>, one: Option<UnitId>, other: Option<UnitId>) -> Option<UnitId> {
    let (Some(a), Some(b)) = (one, other) else { return one.or(other) };
    let order = |id: UnitId| units.get(id).map(|unit| (W::of(unit).order, id));
    let (first, second) = if order(b) < order(a) { (b, a) } else { (a, b) };
    let right = units.get(first).and_then(|unit| W::of(unit).right);
    let merged = merge::<W, A>(units, right, Some(second));
    set_parent::<W, A>(units, merged, Some(first));
    if let Some(unit) = units.get_mut(first) {
        W::of_mut(unit).right = merged;
    }
    restore_leftist::<W, A>(units, first);
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Affinity;
    use alloc::boxed::Box;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn of(count: u32) -> Units<()> {
        let mut units = Units::default();
        units.reserve(count as usize).unwrap();
        for id in 0..count {
            units.put(Box::new(Unit::new(UnitId(id), Affinity::default(), ()))).unwrap();
        }
        units
    }

    proptest! {
        #[test]
        fn a_heap_gives_its_units_in_order_whatever_was_taken_out(
            orders in proptest::collection::vec(0u64..50, 1..200),
            out in proptest::collection::vec(any::<bool>(), 200),
        ) {
            let mut units = of(orders.len() as u32);
            let mut heap = Heap::<ByOrder>::default();
            let ids = || (0u32..).map(UnitId);
            ids().zip(&orders).for_each(|(id, order)| heap.insert(&mut units, id, (*order, 0)));
            let mut expected: Vec<_> = Vec::new();
            for ((id, order), out) in ids().zip(&orders).zip(out) {
                if out { heap.remove(&mut units, id) } else { expected.push(((*order, 0), id)) }
            }
            expected.sort_unstable();
            for next in expected {
                prop_assert_eq!(heap.least(&units), Some(next));
                heap.remove(&mut units, next.1);
            }
            prop_assert_eq!(heap.first(), None);
        }

        #[test]
        fn a_heap_is_no_deeper_than_the_logarithm(orders in proptest::collection::vec(any::<u64>(), 1..500)) {
            let mut units = of(orders.len() as u32);
            let mut heap = Heap::<ByTime>::default();
            for (id, order) in (0u32..).map(UnitId).zip(&orders) {
                heap.insert(&mut units, id, (*order, 0));
            }
            prop_assert!(2u64.pow(rank::<ByTime, ()>(&units, heap.first())) <= orders.len() as u64 + 1);
        }
    }
}
