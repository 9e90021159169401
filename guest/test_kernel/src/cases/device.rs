//! A device that copies memory and interrupts: QEMU's `edu`, where the machine has one. A machine without it says so in
//! one line.
//!
//! **Source:** QEMU's `docs/specs/edu.txt`.

use xen_abi::Gfn;
use xenolith_guest_kit::cpu::{in32, interrupts_off, interrupts_on, out32};
use xenolith_guest_kit::lapic::ID;
use xenolith_guest_kit::pages::{self, Access, Page, map};
use xenolith_guest_kit::traps::count;
use xenolith_guest_kit::{cpu, wait_until};

use crate::runner::{Report, Runner};
use crate::waits::LONG;

const IDENTITY: u32 = 0x11e8_1234;
/// Pages of the window: the device's registers.
const SLOT: u64 = 500;
const VECTOR: u8 = 0x61;

const COMMAND: u32 = 0x04;
const BASE: u32 = 0x10;
const CAPABILITIES: u32 = 0x34;
const MEMORY_AND_MASTER: u32 = 6;

const LIVENESS: u64 = 0x04;
const FACTORIAL: u64 = 0x08;
const STATUS: u64 = 0x20;
const INTERRUPT_STATUS: u64 = 0x24;
const RAISE: u64 = 0x60;
const ACKNOWLEDGE: u64 = 0x64;
const DMA_FROM: u64 = 0x80;
const DMA_TO: u64 = 0x88;
const DMA_BYTES: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
/// Start, and to memory rather than from it.
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
/// The device's own memory.
const BUFFER: u64 = 0x4_0000;
const COUNT: u64 = 256;
/// Memory that a domain with less than 255 MiB does not have, and that the device's addresses reach.
const FOREIGN: u64 = 0x0fff_f000;

fn select(device: u32, register: u32) {
    // SAFETY: only chooses what the data port stands for.
    unsafe { out32(0xcf8, 0x8000_0000 | device << 11 | register) };
}

fn configuration(device: u32, register: u32) -> u32 {
    select(device, register);
    in32(0xcfc)
}

fn configure(device: u32, register: u32, value: u32) {
    select(device, register);
    // SAFETY: the device is told where it answers and where it interrupts; it writes to memory only when told to.
    unsafe { out32(0xcfc, value) };
}

struct Edu {
    device: u32,
    registers: u64,
}

impl Edu {
    fn find() -> Option<Self> {
        let device = (0..32).find(|device| configuration(*device, 0) == IDENTITY)?;
        configure(device, COMMAND, MEMORY_AND_MASTER);
        let base = u64::from(configuration(device, BASE) & !0xf);
        Some(Self { device, registers: map(SLOT, Gfn(base >> 12), Access::ReadWrite) })
    }

    fn read(&self, register: u64) -> u32 {
        pages::read_at(self.registers + register)
    }

    fn write(&self, register: u64, value: u32) {
        pages::write_at(self.registers + register, value);
    }

    /// Copies between its own memory and the machine's; false if it does not come to an end.
    fn copy(&self, address: u64, to_memory: bool) -> bool {
        let (from, to) = if to_memory { (BUFFER, address) } else { (address, BUFFER) };
        for (register, value) in [(DMA_FROM, from), (DMA_TO, to), (DMA_BYTES, COUNT)] {
            pages::write_at(self.registers + register, value);
        }
        let command = START | if to_memory { TO_MEMORY } else { 0 };
        pages::write_at(self.registers + DMA_COMMAND, command);
        wait_until(LONG, || pages::read_at::<u64>(self.registers + DMA_COMMAND) & START == 0)
    }

    /// Has it send a message interrupt to this processor.
    fn use_messages(&self) -> bool {
        let mut register = configuration(self.device, CAPABILITIES) & 0xfc;
        for _ in 0..48 {
            let header = configuration(self.device, register);
            if header & 0xff == 5 {
                let id = cpu::read_msr(ID) as u32;
                configure(self.device, register + 4, 0xfee0_0000 | id << 12);
                configure(self.device, register + 8, 0);
                configure(self.device, register + 12, VECTOR.into());
                configure(self.device, register, header | 1 << 16);
                return configuration(self.device, register) >> 16 & 1 == 1;
            }
            register = header >> 8 & 0xfc;
        }
        false
    }
}

fn is_filled(page: &Page, byte: u8) -> bool {
    (0..COUNT as usize).step_by(8).all(|offset| page.read::<u64>(offset) == u64::from_ne_bytes([byte; 8]))
}

fn round_trip(r: &mut Report, edu: &Edu) {
    let (from, to) = (pages::take(), pages::take());
    from.fill(0x5a);
    to.fill(0);
    r.holds("read", edu.copy(from.address(), false)).holds("written", edu.copy(to.address(), true));
    r.holds("same", is_filled(to, 0x5a));
}

/// Returns whether what the device writes to an address is what it reads there.
fn reaches(edu: &Edu, address: u64) -> bool {
    let (sent, other, back) = (pages::take(), pages::take(), pages::take());
    sent.fill(0xa7);
    other.fill(0x11);
    back.fill(0);
    // What it holds before it reads is not what it wrote, so that a refused read is not taken for one.
    let done = edu.copy(sent.address(), false)
        && edu.copy(address, true)
        && edu.copy(other.address(), false)
        && edu.copy(address, false)
        && edu.copy(back.address(), true);
    done && is_filled(back, 0xa7)
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    let Some(edu) = Edu::find() else {
        t.case("device/edu", |r| {
            r.field("none");
        });
        return;
    };
    t.case("device/registers", |r| {
        edu.write(LIVENESS, 0x1234_5678);
        r.hex(edu.read(LIVENESS).into());
        edu.write(FACTORIAL, 5);
        r.holds("computed", wait_until(LONG, || edu.read(STATUS) & 1 == 0)).named("factorial", edu.read(FACTORIAL));
    });
    t.case("device/copies-the-domains-memory", |r| round_trip(r, &edu));
    t.case("device/message-interrupt", |r| {
        r.holds("enabled", edu.use_messages());
        interrupts_on();
        for raised in [1, 2] {
            let before = count(0, VECTOR);
            edu.write(RAISE, raised);
            r.holds("taken", wait_until(LONG, || count(0, VECTOR) != before));
            r.hex(edu.read(INTERRUPT_STATUS).into());
            edu.write(ACKNOWLEDGE, raised);
        }
        interrupts_off();
    });
    // Where an IOMMU confines the device, the answer is no.
    t.case("device/reaches-what-is-not-the-domains", |r| {
        r.holds("reached", reaches(&edu, FOREIGN));
    });
    t.case("device/copies-on-after-that", |r| round_trip(r, &edu));
}
