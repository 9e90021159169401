//! The two 8259A interrupt controllers of a PC, the second behind line 2 of the first, and the register beside them that
//! says which lines are levels (ELCR).
//!
//! **Source:** Intel 8259A data sheet; Intel 82371AB (PIIX4) data sheet, 4.2.4 and 4.2.6, for ports and ELCR.

mod chip;
#[cfg(test)]
mod tests;

use chip::{CASCADE, Chip};
use xen_abi::hvm_save::HvmHwVpic;

const MASTER: u16 = 0x20;
const SLAVE: u16 = 0xa0;
const LEVELS: u16 = 0x4d0;

/// What an interrupt acknowledge cycle (INTA) gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Acknowledged {
    pub vector: u8,
    /// The line, 0 to 15; None if its request had gone (a spurious interrupt, which is not in service).
    pub line: Option<u8>,
}

/// The pair: lines 0 to 7 are the master's, 8 to 15 the slave's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pics {
    master: Chip,
    slave: Chip,
}

impl Default for Pics {
    fn default() -> Self {
        Self { master: Chip::MASTER, slave: Chip::SLAVE }
    }
}

impl Pics {
    pub(super) const fn has(port: u16) -> bool {
        matches!(port, 0x20 | 0x21 | 0xa0 | 0xa1 | 0x4d0 | 0x4d1)
    }

    /// Carries the slave's output to the master.
    fn cascade(&mut self) {
        self.master.set_line(CASCADE, self.slave.pending().is_some());
    }

    /// Asserts or deasserts a line. Line 2 is the slave's.
    pub(super) fn set_line(&mut self, line: u8, active: bool) {
        match line {
            CASCADE => {}
            0..8 => self.master.set_line(line, active),
            _ => self.slave.set_line(line & 7, active),
        }
        self.cascade();
    }

    /// Sets the lines after [`Pics::load`], a bit for each, without edges.
    pub(super) fn restore_lines(&mut self, lines: u16) {
        let [master, slave] = lines.to_le_bytes();
        self.slave.restore_lines(slave);
        self.master.restore_lines(master & !(1 << CASCADE));
        self.cascade();
    }

    /// Returns whether the pair asks for an interrupt.
    pub(super) fn output(&self) -> bool {
        self.master.pending().is_some()
    }

    /// Returns whether no mask holds a line back.
    pub(super) const fn lets_through(&self, line: u8) -> bool {
        if line < 8 {
            return !self.master.is_masked(line);
        }
        !self.slave.is_masked(line) && !self.master.is_masked(CASCADE)
    }

    /// Acknowledges the most urgent interrupt. Without one it is a spurious interrupt of line 7 or 15.
    pub(super) fn acknowledge(&mut self) -> Acknowledged {
        match self.master.acknowledge() {
            None => Acknowledged { vector: self.master.vector(7), line: None },
            Some(CASCADE) => self.acknowledge_slave(),
            Some(line) => Acknowledged { vector: self.master.vector(line), line: Some(line) },
        }
    }

    fn acknowledge_slave(&mut self) -> Acknowledged {
        let line = self.slave.acknowledge();
        self.cascade();
        Acknowledged { vector: self.slave.vector(line.unwrap_or(7)), line: line.map(|line| line | 8) }
    }

    /// Returns what acknowledging would give, if the pair asks for an interrupt.
    pub(super) fn offered(&self) -> Option<Acknowledged> {
        let mut tried = *self;
        self.output().then(|| tried.acknowledge())
    }

    /// Acknowledges what was offered, as if before anything that happened since.
    pub(super) fn take(&mut self, offered: Acknowledged) {
        match offered.line {
            Some(line) if line < 8 => self.master.take(line),
            line => {
                self.master.take(CASCADE);
                if let Some(line) = line {
                    self.slave.take(line & 7);
                }
            }
        }
        self.cascade();
    }

    /// Reads a port; also returns the line that was acknowledged by a poll.
    pub(super) fn read(&mut self, port: u16) -> (u8, Option<u8>) {
        let second = port & 1 != 0;
        let read = match port & !1 {
            MASTER => self.master.read(second),
            SLAVE => {
                let (value, line) = self.slave.read(second);
                (value, line.map(|line| line | 8))
            }
            LEVELS if second => (self.slave.levels(), None),
            LEVELS => (self.master.levels(), None),
            _ => (0xff, None),
        };
        self.cascade();
        read
    }

    pub(super) fn write(&mut self, port: u16, value: u8) {
        let second = port & 1 != 0;
        match port & !1 {
            MASTER => self.master.write(second, value),
            SLAVE => self.slave.write(second, value),
            LEVELS if second => self.slave.set_levels(value),
            LEVELS => self.master.set_levels(value),
            _ => {}
        }
        self.cascade();
    }

    /// Builds the two records: the master's, then the slave's.
    pub(super) fn save(&self) -> [HvmHwVpic; 2] {
        [self.master.save(), self.slave.save()]
    }

    /// Takes over a record; false if it is of neither chip. [`Pics::restore_lines`] follows.
    pub(super) fn load(&mut self, instance: u16, record: &HvmHwVpic) -> bool {
        match instance {
            0 => self.master.load(record),
            1 => self.slave.load(record),
            _ => return false,
        }
        true
    }
}
