//! Powering off (ACPI S5). **Source:** ACPI 6.5, 4.8.3.2.1, 7.4.2.6.

use x86_64::instructions::port::PortWriteOnly;
use xenolith_bootinfo::acpi::AcpiTables;
use xenolith_sync::Once;

use crate::bare::base::clock;
use crate::bare::console;
use crate::bare::crash::{self, reboot};

const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE_SHIFT: u16 = 10;

/// What to write where: port and value, for one or two control registers.
static SOFT_OFF: Once<[Option<(u16, u16)>; 2]> = Once::new();

/// Reads how the firmware powers off the machine.
pub fn set_up(tables: &AcpiTables) {
    let (Some(fixed), Some((first, second))) = (tables.fixed, tables.soft_off) else { return };
    let write = |port: u16, kind: u8| {
        let value = SLEEP_ENABLE | (u16::from(kind) & 7) << SLEEP_TYPE_SHIFT;
        (port != 0).then_some((port, value))
    };
    let _ = SOFT_OFF.set([write(fixed.pm1a_control, first), write(fixed.pm1b_control, second)]);
}

/// Powers the machine off; stops it if that is not possible.
pub fn off() -> ! {
    x86_64::instructions::interrupts::disable();
    console::drain();
    reboot::leave_emulator(0);
    for (port, value) in SOFT_OFF.get().into_iter().flatten().flatten() {
        // SAFETY: the port is the power management control register that the firmware names; switching off is what
        // is wanted.
        unsafe { PortWriteOnly::<u16>::new(*port).write(*value) };
    }
    clock::wait_microseconds(1_000_000);
    crate::print!("The machine cannot be switched off: it is halted.");
    crash::halt()
}
