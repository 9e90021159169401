//! The interrupt controllers outside the CPUs: two 8259s, which are only silenced, and the I/O APICs.
//!
//! **Source:** the 82093AA and 8259A data sheets.

use alloc::vec::Vec;

use x86_64::instructions::port::PortWriteOnly;
use xenolith_bootinfo::acpi::Processors;
use xenolith_sync::{SpinLock, rank};

use crate::devices::DeviceRegisters;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const VERSION: u32 = 1;
const FIRST_PIN: u32 = 0x10;
const MASKED: u32 = 1 << 16;
const LEVEL_TRIGGERED: u32 = 1 << 15;
const ACTIVE_LOW: u32 = 1 << 13;

/// One I/O APIC.
struct IoApic {
    registers: DeviceRegisters,
    first_interrupt: u32,
    pins: u32,
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
}

/// Silences the 8259s and every pin of every I/O APIC.
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
        let mut io_apic = IoApic { registers, first_interrupt: entry.first_interrupt, pins: 0 };
        let version = io_apic.read(VERSION);
        io_apic.pins = (version >> 16 & 0xff).wrapping_add(1);
        for pin in 0..io_apic.pins {
            io_apic.set_pin(pin, 0, MASKED);
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

/// Sends an ISA interrupt to a CPU as `vector`. False when no I/O APIC has its pin, or the CPU cannot be named.
pub fn route_isa(processors: &Processors, isa: u8, apic_id: u32, vector: u8) -> bool {
    let moved = processors.overrides.iter().find(|moved| moved.source == isa);
    let (global, flags) = moved.map_or((u32::from(isa), 0), |moved| (moved.global, moved.flags));
    let mut low = u32::from(vector);
    if flags & 0b11 == 0b11 {
        low |= ACTIVE_LOW;
    }
    if flags >> 2 & 0b11 == 0b11 {
        low |= LEVEL_TRIGGERED;
    }
    let found = IO_APICS.lock();
    let pin_of = |io_apic: &IoApic| global.checked_sub(io_apic.first_interrupt).filter(|pin| *pin < io_apic.pins);
    let Some((io_apic, pin)) = found.iter().find_map(|io_apic| Some((io_apic, pin_of(io_apic)?))) else { return false };
    if apic_id > 0xff {
        return false;
    }
    io_apic.set_pin(pin, apic_id, low);
    true
}
