//! A set of ports in which the lowest one is found in a few steps, however many there are.

use alloc::vec::Vec;
use xen_abi::{Errno, Port};

/// Ports that one word stands for, and words that one group has.
const BITS: u32 = u64::BITS;
const PORTS_A_GROUP: u32 = BITS * BITS;

/// 4096 ports, and which of the words say anything.
#[derive(Clone)]
struct Group {
    any: u64,
    words: [u64; BITS as usize],
}

/// A set of ports, in three levels. Groups are added as the domain's port table grows.
#[derive(Default)]
pub(super) struct PortSet {
    any: u64,
    groups: Vec<Group>,
}

/// Returns the bit of a word with this index; 0 past the word.
fn bit(index: u32) -> u64 {
    1_u64.checked_shl(index).unwrap_or(0)
}

/// Returns the lowest bit at or above an index.
fn lowest_bit(word: u64, from: u32) -> Option<u32> {
    let rest = word & u64::MAX.checked_shl(from).unwrap_or(0);
    (rest != 0).then(|| rest.trailing_zeros())
}

impl PortSet {
    /// Reserves room for all ports below `end`.
    ///
    /// **Errors:** `ENOMEM`.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub(super) fn reserve(&mut self, end: u32) -> Result<(), Errno> {
        let groups = end.div_ceil(PORTS_A_GROUP) as usize;
        self.groups.try_reserve_exact(groups.saturating_sub(self.groups.len())).map_err(|_| Errno::ENOMEM)?;
        if groups > self.groups.len() {
            self.groups.resize(groups, Group { any: 0, words: [0; BITS as usize] });
        }
        Ok(())
    }

    /// Inserts a port for which there is room; any other is ignored.
    #[inline]
    pub(super) fn insert(&mut self, port: Port) {
        let index = port.0 / PORTS_A_GROUP;
        let Some(group) = self.groups.get_mut(index as usize) else { return };
        let word = port.0 / BITS % BITS;
        if let Some(ports) = group.words.get_mut(word as usize) {
            *ports |= bit(port.0 % BITS);
            group.any |= bit(word);
            self.any |= bit(index);
        }
    }

    /// Removes a port.
    #[inline]
    pub(super) fn remove(&mut self, port: Port) {
        let index = port.0 / PORTS_A_GROUP;
        let Some(group) = self.groups.get_mut(index as usize) else { return };
        let word = port.0 / BITS % BITS;
        let Some(ports) = group.words.get_mut(word as usize) else { return };
        *ports &= !bit(port.0 % BITS);
        if *ports == 0 {
            group.any &= !bit(word);
        }
        if group.any == 0 {
            self.any &= !bit(index);
        }
    }

    /// Returns the lowest port of the set at or above `from`.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "the numbers of a group, of a word in it and of a port are small"
    )]
    pub(super) fn lowest_from(&self, from: Port) -> Option<Port> {
        let (index, word) = (from.0 / PORTS_A_GROUP, from.0 / BITS % BITS);
        let group = self.groups.get(index as usize)?;
        let port = |index: u32, word: u32, at: u32| Port(index * PORTS_A_GROUP + word * BITS + at);
        let ports = |group: &Group, word: u32| group.words.get(word as usize).copied().unwrap_or(0);
        if let Some(at) = lowest_bit(ports(group, word), from.0 % BITS) {
            return Some(port(index, word, at));
        }
        if let Some(word) = lowest_bit(group.any, word + 1) {
            return Some(port(index, word, lowest_bit(ports(group, word), 0)?));
        }
        let index = lowest_bit(self.any, index + 1)?;
        let group = self.groups.get(index as usize)?;
        let word = lowest_bit(group.any, 0)?;
        Some(port(index, word, lowest_bit(ports(group, word), 0)?))
    }

    /// Moves all ports of another set here, for which there is room. Takes one step for each word: 2048 at most.
    pub(super) fn take_all(&mut self, other: &mut Self) {
        for (index, (group, from)) in (0..).zip(self.groups.iter_mut().zip(&mut other.groups)) {
            for (word, (ports, from)) in (0..).zip(group.words.iter_mut().zip(&mut from.words)) {
                *ports |= core::mem::take(from);
                if *ports != 0 {
                    group.any |= bit(word);
                }
            }
            from.any = 0;
            if group.any != 0 {
                self.any |= bit(index);
            }
        }
        other.any = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;
    use xen_abi::event_fifo::EVTCHN_FIFO_NR_CHANNELS;

    #[test]
    fn it_has_room_for_every_port_of_the_interface() {
        let mut set = PortSet::default();
        set.insert(Port(1));
        assert_eq!(set.lowest_from(Port(0)), None, "no room");
        set.reserve(EVTCHN_FIFO_NR_CHANNELS).unwrap();
        let last = Port(EVTCHN_FIFO_NR_CHANNELS - 1);
        set.insert(last);
        assert_eq!(set.lowest_from(Port(0)), Some(last));
        assert_eq!(set.lowest_from(Port(EVTCHN_FIFO_NR_CHANNELS)), None);
        set.insert(Port(u32::MAX));
        set.remove(Port(u32::MAX));
        set.remove(last);
        assert_eq!(set.lowest_from(Port(0)), None);
    }

    proptest! {
        #[test]
        fn it_finds_what_an_ordered_set_finds(
            steps in prop::collection::vec((0_u8..8, 0_u32..20_000), 1..300),
            asked in prop::collection::vec(0_u32..20_500, 1..40),
        ) {
            let (mut set, mut other) = (PortSet::default(), PortSet::default());
            set.reserve(20_000).unwrap();
            other.reserve(20_000).unwrap();
            let (mut model, mut other_model) = (BTreeSet::new(), BTreeSet::new());
            for (what, port) in steps {
                match what {
                    0..3 => { set.insert(Port(port)); model.insert(port); }
                    3..5 => { set.remove(Port(port)); model.remove(&port); }
                    5..7 => { other.insert(Port(port)); other_model.insert(port); }
                    _ => { set.take_all(&mut other); model.append(&mut other_model); }
                }
            }
            for from in asked {
                prop_assert_eq!(set.lowest_from(Port(from)), model.range(from..).next().map(|port| Port(*port)));
                prop_assert_eq!(other.lowest_from(Port(from)), other_model.range(from..).next().map(|port| Port(*port)));
            }
        }
    }
}
