//! Devices that do nothing but what they may not: each refused access is an event, and events interrupt a CPU.

/// A device that is refused more often than this in a second is not reported any more.
const MOST: u32 = 256;
const SECOND_NS: u64 = 1_000_000_000;
/// How many devices are counted at a time. More that misbehave at once take turns.
const COUNTED: usize = 16;

/// The count of one device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Count {
    bdf: u16,
    since_ns: u64,
    refused: u32,
}

impl Count {
    const fn is_of_late(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.since_ns) < SECOND_NS
    }
}

/// The devices that were refused something of late.
#[derive(Debug)]
pub struct Floods {
    counts: [Option<Count>; COUNTED],
}

impl Default for Floods {
    fn default() -> Self {
        Self::new()
    }
}

impl Floods {
    /// Creates it with no device counted.
    #[must_use]
    pub const fn new() -> Self {
        Self { counts: [None; COUNTED] }
    }

    /// Counts one refused access of a device; true if it is to be silenced, which is said once.
    pub fn note(&mut self, bdf: u16, now_ns: u64) -> bool {
        let is_this = |count: &&mut Option<Count>| count.is_some_and(|count| count.bdf == bdf);
        let known = self.counts.iter_mut().find(is_this);
        // Else the one that was refused least makes room, so that a flood stays.
        let refused =
            |count: &&mut Option<Count>| count.filter(|count| count.is_of_late(now_ns)).map(|count| count.refused);
        let Some(place) = (match known {
            Some(known) => Some(known),
            None => self.counts.iter_mut().min_by_key(refused),
        }) else {
            return false;
        };
        let fresh = Count { bdf, since_ns: now_ns, refused: 0 };
        let count = place.insert(match *place {
            Some(count) if count.bdf == bdf && count.is_of_late(now_ns) => count,
            _ => fresh,
        });
        count.refused = count.refused.saturating_add(1);
        count.refused == MOST + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flooding_device_is_silenced_once_and_others_are_not() {
        let mut floods = Floods::new();
        let silenced = (0..10_000_u64).filter(|step| floods.note(0x10, step * 1000)).count();
        assert_eq!(silenced, 1);
        assert!(!(0..u64::from(MOST)).any(|step| floods.note(0x18, step * 1000)));
    }

    #[test]
    fn a_device_that_errs_now_and_then_stays_heard() {
        let mut floods = Floods::new();
        assert!(!(0..100_000_u64).any(|step| floods.note(0x10, step * SECOND_NS / u64::from(MOST))));
    }

    #[test]
    fn more_devices_than_are_counted_do_not_hide_a_flood() {
        let mut floods = Floods::new();
        let mut silenced = [0_u32; 2];
        for step in 0..2_000_u64 {
            // A device that floods, among many that err once each.
            silenced[0] += u32::from(floods.note(1, step * 1000));
            silenced[1] += u32::from(floods.note(100 + step as u16, step * 1000));
        }
        assert_eq!(silenced, [1, 0]);
    }
}
