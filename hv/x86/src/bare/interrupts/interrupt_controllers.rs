//! The external interrupt controllers: two 8259s, which are only masked, and the I/O APICs.
//!
//! **Source:** the 82093AA and 8259A data sheets.

use alloc::vec::Vec;

use x86_64::instructions::port::PortWriteOnly;
use xenolith_bootinfo::acpi::Processors;
use xenolith_hal::{IoApicPlace, LineMode, Mpa};
use xenolith_sync::{SpinLock, rank};

use crate::bare::memory::device_registers::DeviceRegisters;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const VERSION: u32 = 1;
const FIRST_PIN: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const LEVEL_TRIGGERED: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;
const REMOTE_REQUEST: u32 = 1 << 14;
const WAITS_FOR_DELIVERY: u32 = 1 << 12;

/// One I/O APIC.
struct IoApic {
    registers: DeviceRegisters,
    first_interrupt: u32,
    pins: u32,
    id: u8,
    address: u64,
    /// The low half of each pin's entry, as it was written last; none for a pin of the hypervisor's own.
    entries: Vec<Option<u32>>,
}

static IO_APICS: SpinLock<Vec<IoApic>, rank::Interrupts> = SpinLock::new(Vec::new());

impl IoApic {
    fn read(&self, register: u32) -> u32 {
        self.registers.write(SELECT, register);
        self.registers.read(WINDOW)
    }

    fn write(&self, register: u32, value: u32) {
        self.registers.write(SELECT, register);
        self.registers.write(WINDOW, value);
    }

    fn set_pin(&self, pin: u32, destination: u32, low: u32) {
        let register = FIRST_PIN.wrapping_add(pin.wrapping_mul(2));
        // Masked while the halves do not fit each other.
        self.write(register, MASKED);
        self.write(register.wrapping_add(1), destination << 24);
        self.write(register, low);
    }

    /// Returns the pin of a GSI.
    fn pin_of(&self, global: u32) -> Option<u32> {
        global.checked_sub(self.first_interrupt).filter(|pin| *pin < self.pins)
    }
}

/// Masks the 8259s and every pin of every I/O APIC.
#[expect(clippy::disallowed_methods, reason = "only at boot")]
pub fn silence(processors: &Processors) {
    // SAFETY: the ports are those of the 8259s; masking all inputs and moving their vectors out of the exceptions'
    // way only keeps them quiet.
    unsafe {
        for (command, data, first_vector, cascade) in [(0x20_u16, 0x21_u16, 0x20_u8, 4_u8), (0xa0, 0xa1, 0x28, 2)] {
            PortWriteOnly::<u8>::new(command).write(0x11);
            for value in [first_vector, cascade, 1, 0xff] {
                PortWriteOnly::<u8>::new(data).write(value);
            }
        }
    }
    let mut found = Vec::new();
    for entry in &processors.io_apics {
        // SAFETY: it is where the firmware says an I/O APIC is.
        let Some(registers) = (unsafe { DeviceRegisters::map(entry.address, 0x20) }) else { continue };
        let (first_interrupt, id, address) = (entry.first_interrupt, entry.id, entry.address);
        let mut io_apic = IoApic { registers, first_interrupt, pins: 0, id, address, entries: Vec::new() };
        let version = io_apic.read(VERSION);
        io_apic.pins = (version >> 16 & 0xff).wrapping_add(1);
        for pin in 0..io_apic.pins {
            io_apic.set_pin(pin, 0, MASKED);
            io_apic.entries.push(Some(MASKED));
        }
        crate::log!(
            Info,
            "IOAPIC[{}]: apic_id {}, version {}, address {:#x}, GSI {}-{}",
            found.len(),
            entry.id,
            version & 0xff,
            entry.address,
            io_apic.first_interrupt,
            io_apic.first_interrupt.wrapping_add(io_apic.pins).wrapping_sub(1)
        );
        found.push(io_apic);
    }
    *IO_APICS.lock() = found;
}

/// Routes an ISA interrupt to a CPU as `vector`. Returns false if no I/O APIC has its pin, or the CPU cannot be
/// addressed.
pub fn route_isa(processors: &Processors, isa: u8, apic_id: u32, vector: u8) -> bool {
    let moved = processors.overrides.iter().find(|moved| moved.source == isa);
    let (global, flags) = moved.map_or((u32::from(isa), 0), |moved| (moved.global, moved.flags));
    let mode = LineMode { level: flags >> 2 & 0b11 == 0b11, active_low: flags & 0b11 == 0b11 };
    let mut found = IO_APICS.lock();
    let Some((io_apic, pin)) = found.iter_mut().find_map(|io_apic| io_apic.pin_of(global).map(|pin| (io_apic, pin)))
    else {
        return false;
    };
    if apic_id > 0xff {
        return false;
    }
    if let Some(entry) = io_apic.entries.get_mut(pin as usize) {
        *entry = None;
    }
    io_apic.set_pin(pin, apic_id, entry_of(vector, mode));
    true
}

/// Logs the entries of all routed pins, as they are in the I/O APICs.
pub fn show() {
    crate::print!("IO-APIC interrupt information:");
    let Some(found) = IO_APICS.try_lock() else {
        crate::print!("    busy");
        return;
    };
    for (number, io_apic) in found.iter().enumerate() {
        for pin in 0..io_apic.pins {
            let register = FIRST_PIN.wrapping_add(pin.wrapping_mul(2));
            let (low, high) = (io_apic.read(register), io_apic.read(register.wrapping_add(1)));
            if low & (MASKED | 0xff) == MASKED {
                continue;
            }
            let bit = |bit: u32| u32::from(low & bit != 0);
            crate::print!(
                "    Apic {number:#04x}, Pin {pin:2}: vec={:02x} dest={:02x} delivery waits={} active low={} irr={} level={} mask={}",
                low & 0xff,
                high >> 24,
                bit(WAITS_FOR_DELIVERY),
                bit(ACTIVE_LOW),
                bit(REMOTE_REQUEST),
                bit(LEVEL_TRIGGERED),
                bit(MASKED)
            );
        }
    }
}

fn entry_of(vector: u8, mode: LineMode) -> u32 {
    let mut low = u32::from(vector);
    if mode.active_low {
        low |= ACTIVE_LOW;
    }
    if mode.level {
        low |= LEVEL_TRIGGERED;
    }
    low
}

/// Returns the places of the I/O APICs.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "only at boot, for dom0")]
pub fn places() -> Vec<IoApicPlace> {
    let place = |io_apic: &IoApic| IoApicPlace {
        id: io_apic.id,
        address: Mpa(io_apic.address),
        first_line: io_apic.first_interrupt,
        pins: io_apic.pins,
    };
    IO_APICS.lock().iter().map(place).collect()
}

/// Calls `work` with the pin of a GSI that is not the hypervisor's own; None if there is none.
fn with_pin<T>(global: u32, work: impl FnOnce(&IoApic, u32, u32) -> (u32, T)) -> Option<T> {
    let mut found = IO_APICS.lock();
    let (io_apic, pin) = found.iter_mut().find_map(|io_apic| io_apic.pin_of(global).map(|pin| (io_apic, pin)))?;
    let before = (*io_apic.entries.get(pin as usize)?)?;
    let (after, value) = work(io_apic, pin, before);
    if let Some(entry) = io_apic.entries.get_mut(pin as usize) {
        *entry = Some(after);
    }
    Some(value)
}

/// Routes a GSI to a CPU as `vector`, masked at first. Returns false if there is no such pin, if it is the hypervisor's
/// own, or if the CPU cannot be addressed.
pub fn route(global: u32, mode: LineMode, apic_id: u32, vector: u8) -> bool {
    if apic_id > 0xff {
        return false;
    }
    let low = entry_of(vector, mode) | MASKED;
    let routed = with_pin(global, |io_apic, pin, _| {
        io_apic.set_pin(pin, apic_id, low);
        (low, ())
    });
    routed.is_some()
}

/// Masks or unmasks a routed GSI.
pub fn mask(global: u32, masked: bool) {
    let _ = with_pin(global, |io_apic, pin, before| {
        let after = if masked { before | MASKED } else { before & !MASKED };
        if after != before {
            io_apic.write(FIRST_PIN.wrapping_add(pin.wrapping_mul(2)), after);
        }
        (after, ())
    });
}
