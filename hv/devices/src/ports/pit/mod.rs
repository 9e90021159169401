//! The programmable interval timer (PIT, 8254). PVH guests have it without its interrupt: enough for a kernel to
//! calibrate other clocks by channel 2. When the output of channel 0 rises is in `interrupts`.
//!
//! Counts are binary; the decimal mode is taken as binary too. **Source:** Intel 8254 data sheet; the gate and the
//! output of channel 2 are bits 0 and 5 of port 0x61.

mod channel;
mod interrupts;
mod saved;

use channel::{Bytes, Channel};
use xenolith_hal::Time;

/// The period of the refresh request, bit 4 of port 0x61: it toggles every 15.085 us.
const REFRESH_NS: u64 = 15_085;

const GATE: u8 = 1;
const SPEAKER: u8 = 2;
const REFRESH: u8 = 0x10;
const OUTPUT: u8 = 0x20;

/// Ports 0x40 to 0x43 and 0x61.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pit {
    channels: [Channel; 3],
    speaker: bool,
}

impl Default for Pit {
    fn default() -> Self {
        Self { channels: [Channel::new(true), Channel::new(true), Channel::new(false)], speaker: false }
    }
}

impl Pit {
    /// Returns whether a port belongs to it.
    #[must_use]
    pub const fn has(port: u16) -> bool {
        matches!(port, 0x40..=0x43 | 0x61)
    }

    /// Reads a byte. Ports of other devices read all ones.
    pub fn read(&mut self, port: u16, now: Time) -> u8 {
        match port {
            0x40..=0x42 => match self.channels.get_mut(usize::from(port & 3)) {
                Some(channel) => channel.read(now),
                None => 0xff,
            },
            0x61 => self.control(now),
            _ => 0xff,
        }
    }

    /// Writes a byte.
    pub fn write(&mut self, port: u16, value: u8, now: Time) {
        match port {
            0x40..=0x42 => {
                if let Some(channel) = self.channels.get_mut(usize::from(port & 3)) {
                    channel.write(value, now);
                }
            }
            0x43 => self.command(value, now),
            0x61 => {
                self.speaker = value & SPEAKER != 0;
                let [.., last] = &mut self.channels;
                last.set_gate(value & GATE != 0, now);
            }
            _ => {}
        }
    }

    fn control(&self, now: Time) -> u8 {
        let [.., last] = &self.channels;
        let refresh = (now.0 / REFRESH_NS) % 2 == 1;
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(last.gate, GATE) | flag(self.speaker, SPEAKER) | flag(refresh, REFRESH) | flag(last.output(now), OUTPUT)
    }

    fn command(&mut self, value: u8, now: Time) {
        if value >> 6 == 3 {
            self.read_back(value, now);
            return;
        }
        let Some(channel) = self.channels.get_mut(usize::from(value >> 6)) else { return };
        let bytes = match (value >> 4) & 3 {
            0 => return channel.latch_count(now),
            1 => Bytes::Low,
            2 => Bytes::High,
            _ => Bytes::Both,
        };
        let mode = match (value >> 1) & 7 {
            // The highest bit does not count for these.
            6 => 2,
            7 => 3,
            mode => mode,
        };
        channel.set_mode(mode, bytes);
    }

    fn read_back(&mut self, value: u8, now: Time) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if value & (2 << index) == 0 {
                continue;
            }
            if value & 0x20 == 0 {
                channel.latch_count(now);
            }
            if value & 0x10 == 0 {
                channel.latch_status(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: f64 = 1e9 / 1_193_182.0;

    fn after(ticks: u32) -> Time {
        Time((f64::from(ticks) * TICK_NS).ceil() as u64)
    }

    #[test]
    fn linux_slow_calibration_sees_channel_2_run_down() {
        let mut pit = Pit::default();
        let control = pit.read(0x61, Time(0));
        pit.write(0x61, (control & !2) | 1, Time(0));
        pit.write(0x43, 0xb0, Time(0));
        let latch = 59_659u16;
        for byte in latch.to_le_bytes() {
            pit.write(0x42, byte, Time(0));
        }
        assert_eq!(pit.read(0x61, after(u32::from(latch) - 1)) & 0x20, 0);
        assert_eq!(pit.read(0x61, after(u32::from(latch) + 1)) & 0x20, 0x20);
    }

    #[test]
    fn linux_quick_calibration_sees_the_high_byte_fall() {
        let mut pit = Pit::default();
        pit.write(0x61, 1, Time(0));
        for (port, value) in [(0x43, 0xb0), (0x42, 0xff), (0x42, 0xff)] {
            pit.write(port, value, Time(0));
        }
        for (ticks, high) in [(1, 0xff), (0x100, 0xfe), (0x1ff, 0xfe), (0x200, 0xfd)] {
            let low = pit.read(0x42, after(ticks));
            assert_eq!(low, (0xffff - ticks) as u8);
            assert_eq!(pit.read(0x42, after(ticks)), high, "after {ticks:#x}");
        }
    }

    #[test]
    fn a_closed_gate_stops_the_count_and_an_opened_one_goes_on() {
        let mut pit = Pit::default();
        for (port, value) in [(0x43, 0xb0), (0x42, 0), (0x42, 0x10)] {
            pit.write(port, value, Time(0));
        }
        assert_eq!(pit.channels[2].count(after(5000)), 0x1000);
        pit.write(0x61, 1, after(5000));
        assert_eq!(pit.channels[2].count(after(5016)), 0xff0);
        pit.write(0x61, 0, after(5016));
        assert_eq!(pit.channels[2].count(after(9000)), 0xff0);
    }

    #[test]
    fn a_latched_count_stands_still_until_it_is_read() {
        let mut pit = Pit::default();
        for (port, value) in [(0x43, 0x34), (0x40, 0), (0x40, 0)] {
            pit.write(port, value, Time(0));
        }
        pit.write(0x43, 0, after(16));
        pit.write(0x43, 0, after(1000));
        assert_eq!((pit.read(0x40, after(2000)), pit.read(0x40, after(2000))), (0xf0, 0xff));
        assert_eq!((pit.read(0x40, after(0x300)), pit.read(0x40, after(0x300))), (0, 0xfd));
    }

    #[test]
    fn a_rate_generator_starts_over_and_a_square_wave_counts_by_two() {
        let mut pit = Pit::default();
        for (port, value) in [(0x43, 0x34), (0x40, 100), (0x40, 0)] {
            pit.write(port, value, Time(0));
        }
        assert_eq!(pit.channels[0].count(after(30)), 70);
        assert_eq!(pit.channels[0].count(after(130)), 70);
        for (port, value) in [(0x43, 0x36), (0x40, 100), (0x40, 0)] {
            pit.write(port, value, Time(0));
        }
        assert_eq!(pit.channels[0].count(after(10)), 80);
        assert!(pit.channels[0].output(after(49)) && !pit.channels[0].output(after(51)));
    }

    #[test]
    fn the_read_back_command_latches_status_before_count() {
        let mut pit = Pit::default();
        pit.write(0x43, 0x34, Time(0));
        pit.write(0x43, 0xc2, Time(0));
        assert_eq!(pit.read(0x40, Time(0)), 0xf4, "output high, nothing loaded, both bytes, mode 2");
        for value in [0x10, 0] {
            pit.write(0x40, value, Time(0));
        }
        pit.write(0x43, 0xe2, Time(0));
        assert_eq!(pit.read(0x40, Time(0)), 0xb4);
    }

    #[test]
    fn odd_accesses_do_no_harm() {
        let mut pit = Pit::default();
        for value in 0..=255u8 {
            for port in [0x40, 0x41, 0x42, 0x43, 0x61] {
                let now = Time(u64::from(value) << 56);
                pit.write(port, value, now);
                pit.read(port, Time(u64::from(value)));
                pit.read(port, Time(u64::MAX));
            }
        }
        assert_eq!(pit.read(0x43, Time(0)), 0xff, "the control word cannot be read");
        assert_eq!(pit.read(0x61, Time(0)) & (GATE | SPEAKER), GATE | SPEAKER);
        // Whatever was begun and latched, a control word begins anew.
        for (channel, port) in [(0u8, 0x40), (1, 0x41), (2, 0x42)] {
            for (port, value) in [(0x43, (channel << 6) | 0x34), (port, 100), (port, 0)] {
                pit.write(port, value, Time(0));
            }
            let counted = [30, 30, 130, 130].map(|ticks| pit.read(port, after(ticks)));
            assert_eq!(counted, [70, 0, 70, 0], "channel {channel}");
        }
    }
}
