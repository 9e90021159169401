//! The interval timer as a record of a saved domain. The time at which a channel began to count is not in it: after a
//! restore each begins anew. **Source:** `arch-x86/hvm/save.h`, `hvm_hw_pit`; for the numbers in it, QEMU's model of the
//! chip (MIT), which Xen's resembles.

use xen_abi::hvm_save::{HvmHwPit, HvmHwPitChannel};
use xenolith_hal::Time;

use super::Pit;
use super::channel::{Bytes, Channel};

/// Which byte is read or written next: the only one, by its half, or the first or second of two.
const LOW: u8 = 1;
const HIGH: u8 = 2;
const FIRST: u8 = 3;
const SECOND: u8 = 4;

impl Bytes {
    const fn code(self) -> u8 {
        match self {
            Self::Low => LOW,
            Self::High => HIGH,
            Self::Both => FIRST,
        }
    }

    /// Returns which byte is next; of two the second if `second`.
    const fn next(self, second: bool) -> u8 {
        match self {
            Self::Both if second => SECOND,
            _ => self.code(),
        }
    }
}

impl Channel {
    fn to_record(self) -> HvmHwPitChannel {
        let rest = if self.bytes == Bytes::Both && self.read_high { HIGH } else { self.bytes.code() };
        HvmHwPitChannel {
            // Xen takes 0 for 65536; here it also says that none was written.
            count: if self.loaded { self.reload } else { 0 },
            latched_count: self.latched.unwrap_or(0),
            count_latched: if self.latched.is_some() { rest } else { 0 },
            status_latched: self.latched_status.is_some().into(),
            status: self.latched_status.unwrap_or(0),
            read_state: self.bytes.next(self.read_high && self.latched.is_none()),
            write_state: self.bytes.next(self.written_low.is_some()),
            write_latch: self.written_low.unwrap_or(0),
            rw_mode: self.bytes.code(),
            mode: self.mode,
            bcd: 0,
            gate: self.gate.into(),
        }
    }

    /// Builds a channel from its record, which is not trusted.
    fn from_record(record: &HvmHwPitChannel, gate: bool, now: Time) -> Self {
        let bytes = match record.rw_mode {
            LOW => Bytes::Low,
            HIGH => Bytes::High,
            _ => Bytes::Both,
        };
        let both = bytes == Bytes::Both;
        let latched = (record.count_latched != 0).then_some(record.latched_count);
        let read_high = if latched.is_some() { record.count_latched == HIGH } else { record.read_state == SECOND };
        let mut channel = Self::new(gate);
        if (1..=0x1_0000).contains(&record.count) {
            channel.load(record.count as u16, now);
        }
        Self {
            mode: record.mode.min(5),
            bytes,
            written_low: (both && record.write_state == SECOND).then_some(record.write_latch),
            read_high: both && read_high,
            latched,
            latched_status: (record.status_latched != 0).then_some(record.status),
            ..channel
        }
    }
}

impl Pit {
    /// Builds the record.
    pub(crate) fn save(&self) -> HvmHwPit {
        HvmHwPit {
            channels: self.channels.map(|channel| channel.to_record()),
            speaker_data_on: self.speaker.into(),
            pad0: 0,
        }
    }

    /// Builds the timer from its record, which is not trusted. The gates of channels 0 and 1 are open, whatever it says:
    /// no register closes them.
    pub(crate) fn load(record: &HvmHwPit, now: Time) -> Self {
        let [first, second, third] = &record.channels;
        Self {
            channels: [
                Channel::from_record(first, true, now),
                Channel::from_record(second, true, now),
                Channel::from_record(third, third.gate != 0, now),
            ],
            speaker: record.speaker_data_on != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_saved_goes_on_where_it_was() {
        let mut pit = Pit::default();
        for (port, value) in [(0x43, 0x34), (0x40, 0x9c), (0x40, 0x2e), (0x61, 3), (0x43, 0x90), (0x42, 7)] {
            pit.write(port, value, Time(50));
        }
        // A latched count of which one byte was read, a count of which one was written, a latched status.
        pit.write(0x43, 0, Time(50));
        assert_eq!(pit.read(0x40, Time(50)), 0x9c);
        pit.write(0x43, 0x74, Time(50));
        pit.write(0x41, 0x55, Time(50));
        pit.write(0x43, 0xe8, Time(50));
        let record = pit.save();
        let [first, second, third] = record.channels;
        assert_eq!((first.count, first.mode, first.rw_mode, first.count_latched), (0x2e9c, 2, 3, 2));
        assert_eq!((second.count, second.write_state, second.write_latch), (0, 4, 0x55));
        assert_eq!((third.count, third.rw_mode, third.status_latched, third.gate), (7, 1, 1, 1));
        assert_eq!(record.speaker_data_on, 1);
        let mut loaded = Pit::load(&record, Time(50));
        assert_eq!(loaded, pit);
        assert_eq!((loaded.read(0x40, Time(90)), loaded.read(0x42, Time(90))), (0x2e, 0x10));
    }

    #[test]
    fn it_counts_from_the_top_after_a_restore() {
        let mut pit = Pit::default();
        for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 0x10)] {
            pit.write(port, value, Time(0));
        }
        let loaded = Pit::load(&pit.save(), Time(5_000_000));
        assert_eq!(loaded.next_interrupt(0), Time(5_000_000).after_ns(pit.next_interrupt(0).0));
    }

    proptest! {
        #[test]
        fn a_record_of_anything_gives_what_a_guest_could_have_set(
            count: u32, words: [u16; 2], bytes: [u8; 8], speaker: u32, now: u64,
        ) {
            let [count_latched, status_latched, status, read_state, write_state, write_latch, rw_mode, mode] = bytes;
            let [latched_count, gate] = words;
            let channel = HvmHwPitChannel {
                count, latched_count, count_latched, status_latched, status, read_state, write_state, write_latch, rw_mode,
                mode, bcd: write_state, gate: gate as u8,
            };
            let record = HvmHwPit { channels: [channel; 3], speaker_data_on: speaker, pad0: speaker };
            let mut pit = Pit::load(&record, Time(now));
            let saved = pit.save();
            prop_assert_eq!(Pit::load(&saved, Time(now)).save(), saved);
            prop_assert!(pit.channels.iter().all(|channel| (1..=0x1_0000).contains(&channel.reload) && channel.mode < 6));
            for port in [0x40, 0x41, 0x42, 0x61, 0x40] {
                let _ = pit.read(port, Time(now.saturating_add(u64::from(speaker))));
            }
        }
    }
}
