//! One 8259A: requests in, the number of the most urgent out.

use xen_abi::hvm_save::HvmHwVpic;

/// ICW1, the first word of an initialisation, has this bit; OCW3 has the next one, OCW2 neither.
const COMMAND_INITIALISE: u8 = 0x10;
const COMMAND_OCW3: u8 = 8;
/// ICW1: the fourth word follows; there is no third (the chip is single).
const ICW1_FOURTH_FOLLOWS: u8 = 1;
const ICW1_SINGLE: u8 = 2;
const ICW4_AUTO_END: u8 = 2;
const ICW4_FULLY_NESTED: u8 = 0x10;
const OCW3_POLL: u8 = 4;

/// Bits of [`Chip::modes`], as the record has them: reads at the first port give the lines in service; the next read
/// polls; interrupts end as they are acknowledged; and rotate the priorities then; requests of a slave that is in
/// service are looked at (special fully nested mode); lines in service that are masked do not hold others back.
const READS_IN_SERVICE: u8 = 1;
const POLL: u8 = 2;
const AUTO_END: u8 = 4;
const ROTATES: u8 = 8;
const FULLY_NESTED: u8 = 0x10;
const SPECIAL_MASK: u8 = 0x20;
const MASTER: u8 = 0x40;

/// The master's line that the slave drives.
pub(super) const CASCADE: u8 = 2;

/// Which lines may be level triggered: not the timer, the keyboard, the clock and the coprocessor.
const LEVELS_OF_MASTER: u8 = 0xf8;
const LEVELS_OF_SLAVE: u8 = 0xde;

/// The state of one chip. **Source:** Intel 8259A data sheet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Chip {
    /// IRR: a bit for each line that wants service. A level's bit follows its line.
    request: u8,
    /// IMR.
    mask: u8,
    /// ISR.
    in_service: u8,
    /// Vector of line 0, a multiple of 8.
    base: u8,
    /// What the next write at the second port is: bits 0-1 the number of the initialisation word less one, or 0 for the
    /// mask; bit 2: a fourth word comes; bit 3: no third does.
    stage: u8,
    /// The line of the highest priority.
    highest: u8,
    modes: u8,
    /// Lines that are level triggered.
    levels: u8,
    /// Lines that are asserted.
    lines: u8,
}

const fn bit(line: u8) -> u8 {
    1 << (line & 7)
}

const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

impl Chip {
    pub(super) const MASTER: Self = Self::new(MASTER, bit(CASCADE));
    pub(super) const SLAVE: Self = Self::new(0, 0);

    const fn new(modes: u8, levels: u8) -> Self {
        Self { request: 0, mask: 0, in_service: 0, base: 0, stage: 0, highest: 0, modes, levels, lines: 0 }
    }

    const fn has(&self, mode: u8) -> bool {
        self.modes & mode != 0
    }

    fn set(&mut self, mode: u8, on: bool) {
        self.modes = self.modes & !mode | flag(on, mode);
    }

    pub(super) const fn is_masked(&self, line: u8) -> bool {
        self.mask & bit(line) != 0
    }

    pub(super) const fn vector(&self, line: u8) -> u8 {
        self.base | line & 7
    }

    /// Asserts or deasserts a line. An edge that was noted stays a request when its line falls.
    pub(super) fn set_line(&mut self, line: u8, active: bool) {
        let bit = bit(line);
        let rises = active && self.lines & bit == 0;
        self.lines = self.lines & !bit | flag(active, bit);
        self.request |= flag(rises, bit);
        self.follow_levels();
    }

    /// Sets all lines, without an edge.
    pub(super) fn restore_lines(&mut self, lines: u8) {
        self.lines = lines;
        self.follow_levels();
    }

    fn follow_levels(&mut self) {
        self.request = self.request & !self.levels | self.lines & self.levels;
    }

    /// Returns the rank of the most urgent of some lines, 0 for the highest priority and 8 if there is none.
    const fn rank(&self, lines: u8) -> u32 {
        lines.rotate_right(self.highest as u32).trailing_zeros()
    }

    const fn at_rank(&self, rank: u32) -> u8 {
        (rank as u8).wrapping_add(self.highest) & 7
    }

    /// Returns the line whose request the chip passes on, if any.
    pub(super) fn pending(&self) -> Option<u8> {
        let mut blocking = self.in_service;
        if self.has(SPECIAL_MASK) {
            blocking &= !self.mask;
        }
        if self.has(FULLY_NESTED) && self.has(MASTER) {
            blocking &= !bit(CASCADE);
        }
        let rank = self.rank(self.request & !self.mask);
        // A chip that is being initialised asks for nothing.
        (self.stage == 0 && rank < self.rank(blocking)).then(|| self.at_rank(rank))
    }

    /// Acknowledges the most urgent request (INTA): it is in service from here on. None for a spurious interrupt.
    pub(super) fn acknowledge(&mut self) -> Option<u8> {
        let line = self.pending()?;
        self.take(line);
        Some(line)
    }

    /// Puts a line in service whose request was passed on before, whatever became of that since.
    pub(super) fn take(&mut self, line: u8) {
        self.request &= !bit(line) | self.levels;
        if !self.has(AUTO_END) {
            self.in_service |= bit(line);
        } else if self.has(ROTATES) {
            self.make_lowest(line);
        }
    }

    fn make_lowest(&mut self, line: u8) {
        self.highest = line.wrapping_add(1) & 7;
    }

    /// Reads either port: a poll if one was commanded, which acknowledges as INTA does and returns the line.
    pub(super) fn read(&mut self, second: bool) -> (u8, Option<u8>) {
        if self.has(POLL) {
            self.set(POLL, false);
            let line = self.acknowledge();
            return (line.map_or(0, |line| 0x80 | line), line);
        }
        let value = match (second, self.has(READS_IN_SERVICE)) {
            (true, _) => self.mask,
            (false, true) => self.in_service,
            (false, false) => self.request,
        };
        (value, None)
    }

    pub(super) fn write(&mut self, second: bool, value: u8) {
        match second {
            true => self.write_second(value),
            false if value & COMMAND_INITIALISE != 0 => self.initialise(value),
            false if value & COMMAND_OCW3 != 0 => self.select(value),
            false => self.end(value),
        }
    }

    /// ICW1. What is level triggered is in the register beside the chips, not in this word.
    fn initialise(&mut self, value: u8) {
        self.request &= self.levels;
        (self.mask, self.in_service, self.highest) = (0, 0, 0);
        let kept = if value & ICW1_FOURTH_FOLLOWS == 0 { MASTER } else { MASTER | AUTO_END | FULLY_NESTED };
        self.modes &= kept;
        self.stage = 1 | (value & (ICW1_FOURTH_FOLLOWS | ICW1_SINGLE)) << 2;
    }

    /// ICW2 to ICW4, or OCW1.
    fn write_second(&mut self, value: u8) {
        let (fourth, third) = (self.stage & 4 != 0, self.stage & 8 == 0);
        let next = match self.stage & 3 {
            0 => return self.mask = value,
            1 => {
                self.base = value & 0xf8;
                if third { 2 } else { 3 }
            }
            // How the two are connected is the board's.
            2 => 3,
            _ => {
                self.set(AUTO_END, value & ICW4_AUTO_END != 0);
                self.set(FULLY_NESTED, value & ICW4_FULLY_NESTED != 0);
                0
            }
        };
        let done = next == 0 || next == 3 && !fourth;
        self.stage = if done { 0 } else { self.stage & !3 | next };
    }

    /// OCW3.
    fn select(&mut self, value: u8) {
        self.set(POLL, value & OCW3_POLL != 0);
        if value & 2 != 0 {
            self.set(READS_IN_SERVICE, value & 1 != 0);
        }
        if value & 0x40 != 0 {
            self.set(SPECIAL_MASK, value & 0x20 != 0);
        }
    }

    /// OCW2: ends an interrupt, turns the priorities, or both.
    fn end(&mut self, value: u8) {
        let named = value & 7;
        match value >> 5 {
            0 => self.set(ROTATES, false),
            4 => self.set(ROTATES, true),
            1 => drop(self.end_most_urgent()),
            5 => {
                if let Some(line) = self.end_most_urgent() {
                    self.make_lowest(line);
                }
            }
            3 => self.in_service &= !bit(named),
            6 => self.make_lowest(named),
            7 => {
                self.in_service &= !bit(named);
                self.make_lowest(named);
            }
            _ => {}
        }
    }

    fn end_most_urgent(&mut self) -> Option<u8> {
        let ended = if self.has(SPECIAL_MASK) { self.in_service & !self.mask } else { self.in_service };
        let rank = self.rank(ended);
        if rank == 8 {
            return None;
        }
        let line = self.at_rank(rank);
        self.in_service &= !bit(line);
        Some(line)
    }

    const fn possible_levels(&self) -> u8 {
        if self.has(MASTER) { LEVELS_OF_MASTER } else { LEVELS_OF_SLAVE }
    }

    /// Reads the edge/level control register.
    pub(super) const fn levels(&self) -> u8 {
        self.levels & self.possible_levels()
    }

    /// Writes the edge/level control register. The cascade is always a level.
    pub(super) fn set_levels(&mut self, value: u8) {
        self.levels = value & self.possible_levels() | flag(self.has(MASTER), bit(CASCADE));
        self.follow_levels();
    }

    pub(super) fn save(&self) -> HvmHwVpic {
        HvmHwVpic {
            irr: self.request,
            imr: self.mask,
            isr: self.in_service,
            irq_base: self.base,
            init_state_and_priority_add: self.highest << 4 | self.stage,
            modes: self.modes,
            elcr: self.levels,
            int_output: self.pending().is_some().into(),
        }
    }

    /// Takes over a record, which is not trusted. All lines are deasserted.
    pub(super) fn load(&mut self, record: &HvmHwVpic) {
        let stage = record.init_state_and_priority_add & 0xf;
        let role = self.modes & MASTER;
        *self = Self {
            request: record.irr,
            mask: record.imr,
            in_service: record.isr,
            base: record.irq_base & 0xf8,
            stage: if stage & 3 == 0 { 0 } else { stage },
            highest: record.init_state_and_priority_add >> 4 & 7,
            modes: record.modes & (MASTER - 1) | role,
            levels: 0,
            lines: 0,
        };
        self.set_levels(record.elcr);
    }
}
