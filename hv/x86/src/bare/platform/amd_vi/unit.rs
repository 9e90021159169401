//! One IOMMU: its registers, its command buffer, its event log.
//!
//! **Source:** AMD I/O Virtualization Technology specification 3.07, 3.4 (registers), 2.4, 2.5.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_bootinfo::acpi::Iommu;
use xenolith_hal::{Mpa, PAGE_SIZE, PageWords};

use crate::bare::memory::device_registers::DeviceRegisters;
use crate::guest::amd_vi::floods::Floods;
use crate::guest::amd_vi::words::{
    Command, DEVICE_ENTRY_WORDS, Event, REPORTS_NOTHING, completion_wait, forget_device, forget_everything,
    forget_pages,
};

/// How long the registers are that decide what devices reach, in bytes.
pub const REGISTERS_LENGTH: u64 = 0x4000;
const DEVICE_TABLE: u64 = 0x00;
const COMMANDS: u64 = 0x08;
const EVENTS: u64 = 0x10;
const CONTROL: u64 = 0x18;
const FEATURES: u64 = 0x30;
const COMMAND_HEAD: u64 = 0x2000;
const COMMAND_TAIL: u64 = 0x2008;
const EVENT_HEAD: u64 = 0x2010;
const EVENT_TAIL: u64 = 0x2018;
const STATUS: u64 = 0x2020;

const ENABLE: u64 = 1;
const EVENT_LOG_ENABLE: u64 = 1 << 2;
const EVENT_INTERRUPT_ENABLE: u64 = 1 << 3;
const COMMANDS_ENABLE: u64 = 1 << 12;
/// What the firmware's table says of the links, and the bit of the control register for each.
const LINK_FLAGS: [(u8, u64); 5] =
    [(1, 1 << 1), (1 << 1, 1 << 8), (1 << 2, 1 << 9), (1 << 3, 1 << 11), (1 << 5, 1 << 10)];

const CAN_FORGET_ALL: u64 = 1 << 6;
/// Overflow and interrupt of the event log: written as ones to clear them.
const EVENT_STATUS: u64 = 0b11;

/// Entries of a ring of one page, and the register's word for that: a base 2 logarithm.
const ENTRIES: u64 = 256;
const ENTRY_BYTES: u64 = 16;
const ONE_PAGE: u64 = 8 << 56;
/// How often the word of a completion wait is looked at before the IOMMU counts as stuck.
const PATIENCE: u32 = 100_000_000;

/// A page of the heap that the IOMMU reads or writes.
pub struct SharedPage {
    pub page: &'static PageWords,
    pub at: Mpa,
}

/// One IOMMU.
pub struct Unit {
    registers: DeviceRegisters,
    pub described: Iommu,
    commands: SharedPage,
    events: SharedPage,
    /// Its first word is what completion waits store to.
    done: SharedPage,
    tail: u64,
    sequence: u64,
    stuck: bool,
    devices: &'static [AtomicU64],
    floods: Floods,
}

impl Unit {
    /// Maps the registers, and disables it. None if they cannot be mapped.
    pub fn new(described: Iommu, [commands, events, done]: [SharedPage; 3]) -> Option<Self> {
        // SAFETY: the firmware's table says that an IOMMU's registers are there.
        let registers = unsafe { DeviceRegisters::map(described.registers, REGISTERS_LENGTH) }?;
        let unit = Self {
            registers,
            described,
            commands,
            events,
            done,
            tail: 0,
            sequence: 0,
            stuck: false,
            devices: &[],
            floods: Floods::new(),
        };
        unit.write(CONTROL, 0);
        Some(unit)
    }

    fn write(&self, register: u64, value: u64) {
        self.registers.write_wide(register, value);
    }

    fn read(&self, register: u64) -> u64 {
        self.registers.read_wide(register)
    }

    /// Enables it, with the table of all devices, which lies at `at`.
    pub fn enable(&mut self, devices: &'static [AtomicU64], at: Mpa) {
        self.devices = devices;
        let pages = (size_of_val(devices) / PAGE_SIZE) as u64;
        self.write(DEVICE_TABLE, at.0 | pages.saturating_sub(1));
        self.write(COMMANDS, self.commands.at.0 | ONE_PAGE);
        self.write(EVENTS, self.events.at.0 | ONE_PAGE);
        for register in [COMMAND_HEAD, COMMAND_TAIL, EVENT_HEAD, EVENT_TAIL] {
            self.write(register, 0);
        }
        self.write(STATUS, EVENT_STATUS);
        let set = LINK_FLAGS.into_iter().filter(|(flag, _)| self.described.flags & flag != 0);
        let links = set.fold(0, |all, (_, bit)| all | bit);
        self.write(CONTROL, links | COMMANDS_ENABLE | EVENT_LOG_ENABLE | EVENT_INTERRUPT_ENABLE);
        self.write(CONTROL, links | COMMANDS_ENABLE | EVENT_LOG_ENABLE | EVENT_INTERRUPT_ENABLE | ENABLE);
        if self.read(FEATURES) & CAN_FORGET_ALL != 0 {
            self.send(forget_everything());
        } else {
            (0..=u16::MAX).for_each(|bdf| self.send(forget_device(bdf)));
        }
        self.wait();
    }

    /// Flushes all translations of a domain, and waits for completion; false if the IOMMU does not answer.
    pub fn forget(&mut self, domain: u16) -> bool {
        self.send(forget_pages(domain));
        self.wait();
        !self.stuck
    }

    /// Makes the IOMMU report nothing more of a device, which is refused what it was refused before.
    fn silence(&mut self, bdf: u16) {
        silence_device_entry(self.devices, bdf);
        // Not waited for: a few more events do no harm.
        self.send(forget_device(bdf));
    }

    fn send(&mut self, [low, high]: Command) {
        let next = (self.tail + 1) % ENTRIES;
        // One that stays full is stuck; `wait` has said so.
        for _ in 0..PATIENCE {
            if self.read(COMMAND_HEAD) / ENTRY_BYTES != next || self.stuck {
                break;
            }
            core::hint::spin_loop();
        }
        let offset = (self.tail * ENTRY_BYTES) as usize;
        let _ = self.commands.page.store_u64(offset, low);
        let _ = self.commands.page.store_u64(offset + 8, high);
        self.tail = next;
        core::sync::atomic::fence(Ordering::SeqCst);
        self.write(COMMAND_TAIL, next * ENTRY_BYTES);
    }

    fn wait(&mut self) {
        if self.stuck {
            return;
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.send(completion_wait(self.done.at, self.sequence));
        let is_done = || self.done.page.load_u64(0) == Some(self.sequence);
        for _ in 0..PATIENCE {
            if is_done() {
                return;
            }
            core::hint::spin_loop();
        }
        self.stuck = true;
        crate::log!(
            Error,
            "the IOMMU at {:#x} does not answer: what devices may still reach is not given to anybody else",
            self.described.registers
        );
    }

    /// Takes events out of the log, at most a log full. `each` is told of a refused access whether it is the last that is
    /// reported of its device, as one too many in a short time.
    pub fn drain_events(&mut self, now_ns: u64, mut each: impl FnMut(Event, bool)) {
        self.write(STATUS, EVENT_STATUS);
        let tail = self.read(EVENT_TAIL) / ENTRY_BYTES % ENTRIES;
        let mut head = self.read(EVENT_HEAD) / ENTRY_BYTES % ENTRIES;
        while head != tail {
            let offset = (head * ENTRY_BYTES) as usize;
            let word = |offset| self.events.page.load_u64(offset).unwrap_or(0);
            let event = Event::from_words([word(offset), word(offset + 8)]);
            match event {
                Event::PageFault { bdf, .. } if self.floods.note(bdf, now_ns) => {
                    self.silence(bdf);
                    each(event, true);
                }
                _ => each(event, false),
            }
            head = (head + 1) % ENTRIES;
        }
        self.write(EVENT_HEAD, head * ENTRY_BYTES);
    }
}

/// Writes a device table entry in the order that the IOMMU requires.
pub fn store_device_entry(table: &[AtomicU64], bdf: u16, entry: [u64; DEVICE_ENTRY_WORDS]) {
    let first = usize::from(bdf) * DEVICE_ENTRY_WORDS;
    // The word that makes the entry valid comes last.
    for (word, value) in table.iter().skip(first).take(entry.len()).zip(entry).rev() {
        word.store(value, Ordering::Release);
    }
}

/// Makes the IOMMU stop reporting what it refuses a device, once it has read the entry again.
fn silence_device_entry(table: &[AtomicU64], bdf: u16) {
    if let Some(word) = table.get(usize::from(bdf) * DEVICE_ENTRY_WORDS + 1) {
        word.fetch_or(REPORTS_NOTHING, Ordering::AcqRel);
    }
}
