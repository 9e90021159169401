//! Rebooting the machine, and ending the emulator.

use core::sync::atomic::{AtomicU32, Ordering};

use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};
use x86_64::instructions::tables::lidt;
use x86_64::structures::DescriptorTablePointer;
use x86_64::{VirtAddr, instructions};
use xenolith_bootinfo::RebootMethod;
use xenolith_bootinfo::acpi::{RegisterSpace, ResetRegister};
use xenolith_sync::Once;

use crate::bare::base::clock;
use crate::bare::{console, crash};

const KEYBOARD_STATUS: u16 = 0x64;
const RESET_CONTROL: u16 = 0xcf9;
const NONE: u32 = u32::MAX;
/// How long each way gets before the next is tried, in microseconds.
const PATIENCE: u64 = 100_000;

static ACPI_RESET: Once<ResetRegister> = Once::new();
static FIRST_METHOD: Once<RebootMethod> = Once::new();
static EMULATOR_EXIT: AtomicU32 = AtomicU32::new(NONE);

/// Sets the reset register of the FADT.
pub fn set_acpi_reset(register: ResetRegister) {
    let _ = ACPI_RESET.set(register);
}

/// Sets the reboot method that is tried first.
pub fn set_first_method(method: RebootMethod) {
    let _ = FIRST_METHOD.set(method);
}

/// Sets the port by which an emulator can be ended.
pub fn set_emulator_exit(port: u16) {
    EMULATOR_EXIT.store(port.into(), Ordering::Relaxed);
}

fn write_port(port: u16, value: u8) {
    // SAFETY: only called to end or restart the machine, with what firmware or convention names for it.
    unsafe { PortWriteOnly::<u8>::new(port).write(value) }
}

/// Ends the emulator with a code, if the command line named its port. Returns on any other machine.
pub fn leave_emulator(code: u8) {
    if let Ok(port) = u16::try_from(EMULATOR_EXIT.load(Ordering::Relaxed)) {
        console::drain();
        write_port(port, code);
    }
}

/// Reboots the machine, by every method that there is, one after the other.
pub fn now() -> ! {
    x86_64::instructions::interrupts::disable();
    console::drain();
    let usual = [RebootMethod::Acpi, RebootMethod::Pci, RebootMethod::Keyboard, RebootMethod::Triple];
    for method in FIRST_METHOD.get().copied().into_iter().chain(usual) {
        attempt(method);
        clock::wait_microseconds(PATIENCE);
    }
    crash::halt();
}

fn attempt(method: RebootMethod) {
    match method {
        RebootMethod::Acpi => {
            if let Some(ResetRegister { register: RegisterSpace::Port(port), value }) = ACPI_RESET.get() {
                write_port(*port, *value);
            }
        }
        RebootMethod::Pci => {
            // A hard reset of CPU and chipset: the bit that chooses it, then the one that does it.
            write_port(RESET_CONTROL, 0x02);
            clock::wait_microseconds(50);
            write_port(RESET_CONTROL, 0x06);
        }
        RebootMethod::Power => {
            // The same with the bit that has the power go as well.
            write_port(RESET_CONTROL, 0x0a);
            clock::wait_microseconds(50);
            write_port(RESET_CONTROL, 0x0e);
        }
        RebootMethod::Keyboard => {
            for _ in 0..10 {
                wait_for_keyboard();
                write_port(KEYBOARD_STATUS, 0xfe);
                clock::wait_microseconds(50);
            }
        }
        RebootMethod::Triple => {
            let nothing = DescriptorTablePointer { limit: 0, base: VirtAddr::zero() };
            // SAFETY: an empty table makes the next exception fatal to the CPU, which is what is wanted here.
            unsafe { lidt(&nothing) };
            instructions::interrupts::int3();
        }
    }
}

fn wait_for_keyboard() {
    for _ in 0..1000 {
        // SAFETY: reading the controller's status has no effect.
        let status = unsafe { PortReadOnly::<u8>::new(KEYBOARD_STATUS).read() };
        if status & 2 == 0 {
            return;
        }
        clock::wait_microseconds(2);
    }
}
