//! Synthetic timers: each sends a message when its count is reached. **Source:** TLFS 12.

const ENABLED: u64 = 1;
const PERIODIC: u64 = 1 << 1;
/// Enabled by a count that is not 0.
const AUTOMATIC: u64 = 1 << 3;
const SOURCE_SHIFT: u32 = 16;

/// `HvMessageTypeTimerExpired`, and the 24 bytes of its payload.
const MESSAGE: u64 = 0x8000_0010 | 24 << 32;

/// One timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Timer {
    config: u64,
    count: u64,
    /// When it expires next.
    due: Option<u64>,
    /// When the message expired that could not be delivered yet.
    expired: Option<u64>,
}

/// The words of a message as they lie in its slot: type and size, sender, index, expiration, delivery.
pub type Message = [u64; 5];

impl Timer {
    pub(super) const fn config(&self) -> u64 {
        self.config
    }

    /// Returns the configuration to save: a timer whose message waits expires once more.
    pub(super) const fn saved_config(&self) -> u64 {
        if self.expired.is_some() { self.config | ENABLED } else { self.config }
    }

    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the interrupt source that its messages belong to; 0 for none.
    pub(super) const fn source(&self) -> usize {
        (self.config >> SOURCE_SHIFT & 15) as usize
    }

    /// Writes the configuration; a timer without a source is not enabled.
    pub(super) fn set_config(&mut self, value: u64, now: u64) {
        self.config = value;
        if self.source() == 0 {
            self.config &= !ENABLED;
        }
        self.start(now);
    }

    /// Writes the count: the time of expiration, or the period. 0 stops the timer.
    pub(super) fn set_count(&mut self, value: u64, now: u64) {
        self.count = value;
        if self.config & AUTOMATIC != 0 {
            self.config |= ENABLED;
        }
        self.start(now);
    }

    fn start(&mut self, now: u64) {
        // Without a count there is nothing to wait for.
        if self.count == 0 {
            self.config &= !ENABLED;
        }
        let runs = self.config & ENABLED != 0;
        let at = if self.config & PERIODIC != 0 { now.saturating_add(self.count) } else { self.count };
        self.due = runs.then_some(at);
        self.expired = None;
    }

    /// Advances the time, and returns when it expires next if no message of its waits.
    pub(super) fn advance(&mut self, now: u64) -> Option<u64> {
        if let Some(due) = self.due.filter(|due| *due <= now) {
            self.due = None;
            self.expired = Some(due);
            if self.config & PERIODIC == 0 {
                self.config &= !ENABLED;
            }
        }
        self.due
    }

    /// Returns the message that waits for its slot.
    pub(super) fn message(&self, index: usize, now: u64) -> Option<Message> {
        self.expired.map(|expired| [MESSAGE, 0, index as u64, expired, now])
    }

    /// Notes that the message was delivered: the timer stops, or goes on with its next period that is not over.
    pub(super) fn delivered(&mut self, now: u64) {
        let Some(expired) = self.expired.take() else { return };
        if self.config & PERIODIC == 0 {
            return;
        }
        // A count of 0 is no period. It never gets here, since it does not start.
        self.due = now.saturating_sub(expired).checked_div(self.count).map(|periods| {
            let passed = periods.saturating_add(1).saturating_mul(self.count);
            expired.saturating_add(passed)
        });
    }
}
