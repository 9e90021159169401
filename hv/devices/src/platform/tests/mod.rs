//! The chips together: what comes out for what goes in.

mod lines;
mod pirqs;
mod saved;
mod ticks;

use alloc::vec::Vec;

use xenolith_hal::{IoSize, WallClock};

use super::*;
use crate::interrupt::Delivery;

const SECOND: u64 = 1_000_000_000;

fn at(ns: u64) -> Moment {
    Moment {
        time: Time(ns),
        wall: WallClock { seconds: 1_795_269_909 + ns / SECOND, nanoseconds: (ns % SECOND) as u32 },
    }
}

fn out(platform: &mut Platform, port: u16, value: u8, ns: u64) -> Option<Written> {
    platform.write(port, IoSize::Byte, value.into(), at(ns))
}

fn input(platform: &mut Platform, port: u16, ns: u64) -> Option<u32> {
    platform.read(port, IoSize::Byte, at(ns))
}

/// After SeaBIOS: vectors 8 and 0x70, nothing masked, lines 5, 9, 10 and 11 levels.
fn booted() -> Platform {
    let mut platform = Platform::new(at(0));
    for (port, value) in [
        (0x20, 0x11),
        (0x21, 8),
        (0x21, 4),
        (0x21, 1),
        (0xa0, 0x11),
        (0xa1, 0x70),
        (0xa1, 2),
        (0xa1, 1),
        (0x4d0, 0x20),
        (0x4d1, 0x0e),
    ] {
        assert_eq!(out(&mut platform, port, value, 0), Some(Written::default()));
    }
    assert!(platform.set_acpi_location(1));
    platform
}

fn tick_at_18_hz(platform: &mut Platform) {
    for (port, value) in [(0x43, 0x36), (0x40, 0), (0x40, 0)] {
        let _ = out(platform, port, value, 0);
    }
}

fn entry(platform: &mut Platform, pin: u32, low: u32) {
    for (index, value) in [(0x11, 0), (0x10, low)] {
        platform.write_io_apic(0, index + pin * 2);
        platform.write_io_apic(0x10, value);
    }
}

fn vectors(platform: &mut Platform) -> Vec<u8> {
    let sent = core::iter::from_fn(|| platform.take_message());
    sent.filter_map(|message| match message.delivery {
        Delivery::Fixed(vector) => Some(vector),
        _ => None,
    })
    .collect()
}

/// Takes interrupts of the 8259A pair until there is none, with the end of each.
fn taken(platform: &mut Platform) -> Vec<u8> {
    let mut taken = Vec::new();
    while platform.requests_interrupt() {
        let vector = platform.acknowledge().vector;
        taken.push(vector);
        if vector >= 0x70 {
            let _ = out(platform, 0xa0, 0x20, 0);
        }
        let _ = out(platform, 0x20, 0x20, 0);
    }
    taken
}
