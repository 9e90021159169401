//! One of the three counters.

use xenolith_hal::Time;

/// The rate of the counters in Hz.
pub(super) const RATE: u128 = 1_193_182;

/// Which bytes of the count an access carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bytes {
    Low,
    High,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Channel {
    /// The mode, 0 to 5.
    pub(super) mode: u8,
    pub(super) bytes: Bytes,
    /// What to count from, 1 to 65536.
    pub(super) reload: u32,
    /// The low byte of a count whose high byte is still to come.
    pub(super) written_low: Option<u8>,
    /// The next read of a two-byte count returns the high byte.
    pub(super) read_high: bool,
    /// A count that was latched for reading.
    pub(super) latched: Option<u16>,
    /// A status byte that was latched for reading.
    pub(super) latched_status: Option<u8>,
    pub(super) gate: bool,
    /// A count was written since the mode was set.
    pub(super) loaded: bool,
    /// When it last began to count; None while it does not count.
    pub(super) since: Option<Time>,
    /// Ticks that it had counted before that.
    pub(super) counted: u64,
}

impl Channel {
    pub(super) const fn new(gate: bool) -> Self {
        Self {
            mode: 3,
            bytes: Bytes::Both,
            reload: 0x1_0000,
            written_low: None,
            read_high: false,
            latched: None,
            latched_status: None,
            gate,
            loaded: false,
            since: None,
            counted: 0,
        }
    }

    pub(super) fn ticks(&self, now: Time) -> u64 {
        let running = self.since.map_or(0, |since| u128::from(now.since_ns(since)) * RATE / 1_000_000_000);
        // Below 2^64 ns times 2^21 / 2^29: it fits.
        self.counted.saturating_add(running as u64)
    }

    pub(super) fn is_periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    /// Returns the 16-bit value of the counter.
    #[expect(clippy::arithmetic_side_effects, reason = "a reload value is no 0; ticks of nanoseconds are below 2^55")]
    pub(super) fn count(&self, now: Time) -> u16 {
        let (ticks, reload) = (self.ticks(now), u64::from(self.reload));
        let count = match self.mode {
            2 => reload - ticks % reload,
            // Counts by two; each half of the output's period takes the whole count.
            3 => reload - (ticks * 2 % reload) / 2 * 2,
            _ => reload.wrapping_sub(ticks),
        };
        count as u16
    }

    #[expect(clippy::arithmetic_side_effects, reason = "a reload value is no 0")]
    pub(super) fn output(&self, now: Time) -> bool {
        let (ticks, reload) = (self.ticks(now), u64::from(self.reload));
        match self.mode {
            0 | 1 => self.loaded && ticks >= reload,
            2 => !self.loaded || !self.gate || ticks % reload != reload - 1,
            3 => !self.loaded || !self.gate || ticks % reload < reload.div_ceil(2),
            _ => !self.loaded || ticks != reload,
        }
    }

    pub(super) fn set_mode(&mut self, mode: u8, bytes: Bytes) {
        *self = Self { mode, bytes, ..Self::new(self.gate) };
    }

    pub(super) fn load(&mut self, count: u16, now: Time) {
        self.reload = if count == 0 { 0x1_0000 } else { u32::from(count) };
        self.loaded = true;
        self.counted = 0;
        self.since = self.gate.then_some(now);
    }

    pub(super) fn write(&mut self, value: u8, now: Time) {
        match (self.bytes, self.written_low) {
            (Bytes::Low, _) => self.load(u16::from(value), now),
            (Bytes::High, _) => self.load(u16::from(value) << 8, now),
            (Bytes::Both, None) => {
                self.written_low = Some(value);
                // Counting stops between the two bytes.
                if self.mode == 0 {
                    (self.loaded, self.since, self.counted) = (false, None, 0);
                }
            }
            (Bytes::Both, Some(low)) => {
                self.written_low = None;
                self.load(u16::from_le_bytes([low, value]), now);
            }
        }
    }

    pub(super) fn read(&mut self, now: Time) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched.unwrap_or_else(|| self.count(now)).to_le_bytes();
        let last = match self.bytes {
            Bytes::Both => {
                self.read_high = !self.read_high;
                !self.read_high
            }
            Bytes::Low | Bytes::High => true,
        };
        if last {
            self.latched = None;
        }
        match self.bytes {
            Bytes::High => high,
            Bytes::Both if last => high,
            _ => low,
        }
    }

    pub(super) fn latch_count(&mut self, now: Time) {
        if self.latched.is_none() {
            self.latched = Some(self.count(now));
        }
    }

    pub(super) fn latch_status(&mut self, now: Time) {
        let bytes = match self.bytes {
            Bytes::Low => 1,
            Bytes::High => 2,
            Bytes::Both => 3,
        };
        let flags = u8::from(self.output(now)) << 7 | u8::from(!self.loaded) << 6;
        self.latched_status.get_or_insert(flags | bytes << 4 | self.mode << 1);
    }

    pub(super) fn set_gate(&mut self, gate: bool, now: Time) {
        if gate == self.gate {
            return;
        }
        self.gate = gate;
        if !self.loaded {
            return;
        }
        match (gate, self.is_periodic() || self.mode == 1 || self.mode == 5) {
            // A rising gate starts these from the top.
            (true, true) => (self.counted, self.since) = (0, Some(now)),
            (true, false) => self.since = Some(now),
            // One-shots started by the gate go on without it.
            (false, true) if !self.is_periodic() => {}
            (false, _) => (self.counted, self.since) = (self.ticks(now), None),
        }
    }
}
