//! I/O ports: which answer ones to the first domain, which reach a device.

use xenolith_guest_kit::cpu::{in8, in16, in32, out32};

use crate::runner::Runner;

/// Ports of one byte that are read as they are. None of these reads disturbs a device that is used here.
const BYTES: &[u16] = &[
    0x20, 0x21, 0xa0, 0xa1, 0x40, 0x43, 0x61, 0x64, 0x80, 0x87, 0x92, 0xb3, 0xe9, 0x2f8, 0x2fd, 0x3f8, 0x3f9, 0x3fd,
    0x3ff, 0x4d0, 0x4d1, 0x510, 0xcf9, 0xaf00, 0xffff,
];
/// Ports of two bytes, at the power management block and beside.
const WORDS: &[u16] = &[0x20, 0x600, 0x602, 0x604, 0x60c, 0xb000, 0xfffe];
/// Ports of four bytes.
const DOUBLE_WORDS: &[u16] = &[0x20, 0x608, 0xafe0];

fn configuration(device: u32, register: u32) -> u32 {
    // SAFETY: the address port of PCI configuration space only selects what the data port reads.
    unsafe { out32(0xcf8, 0x8000_0000 | device << 11 | register) };
    in32(0xcfc)
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    for port in BYTES.iter().copied() {
        t.case_of(format_args!("port/in8/{port:#x}"), |r| {
            // Two bits of this one change all the time: the refresh of memory, and the timer's output.
            let changing = if port == 0x61 { 0x30 } else { 0 };
            r.hex(u64::from(in8(port) & !changing));
        });
    }
    for port in WORDS.iter().copied() {
        t.case_of(format_args!("port/in16/{port:#x}"), |r| {
            r.hex(in16(port).into());
        });
    }
    for port in DOUBLE_WORDS.iter().copied() {
        t.case_of(format_args!("port/in32/{port:#x}"), |r| {
            r.hex(in32(port).into());
        });
    }
    t.case("port/rtc/century-of-the-clock", |r| {
        // SAFETY: selects a register of the clock; reading it changes nothing.
        unsafe { xenolith_guest_kit::cpu::out8(0x70, 0x32) };
        r.hex(in8(0x71).into());
    });
    t.case("port/pci/address-reads-back", |r| {
        let _ = configuration(0, 0);
        r.hex(in32(0xcf8).into());
    });
    t.case("port/pci/host-bridge-identity", |r| {
        r.hex(configuration(0, 0).into());
    });
    t.case("port/pci/host-bridge-class", |r| {
        r.hex(configuration(0, 8).into());
    });
    t.case("port/pci/host-bridge-identity-by-bytes", |r| {
        let _ = configuration(0, 0);
        r.hex(in8(0xcfc).into()).hex(in8(0xcfd).into()).hex(in8(0xcfe).into()).hex(in8(0xcff).into());
    });
    t.case("port/pci/host-bridge-identity-by-words", |r| {
        let _ = configuration(0, 0);
        r.hex(in16(0xcfc).into()).hex(in16(0xcfe).into());
    });
    t.case("port/pci/no-device", |r| {
        r.hex(configuration(30, 0).into());
    });
    t.case("port/pci/bridge-31-identity", |r| {
        r.hex(configuration(31, 0).into());
    });
    t.case("port/pci/not-enabled", |r| {
        // SAFETY: without bit 31 the data port reaches no device.
        unsafe { out32(0xcf8, 0) };
        r.hex(in32(0xcfc).into());
    });
}
