//! The virtual devices: random accesses at random times, as a guest can make them.

mod platform;

use fastrand::Rng;
use xen_abi::VcpuId;
use xenolith_devices::interrupt::{Delivery, Trigger};
use xenolith_devices::ioapic::IoApic;
use xenolith_devices::lapic::{Effect, Lapic};
use xenolith_devices::pci::{Bar, BarKind, Bars, ConfigAccess, Msi, MsiX, PciAddress};
use xenolith_devices::ports::{PortDevices, PortOwner};
use xenolith_hal::{IoSize, Time, TimeBase, WallClock};

const ACCESSES: usize = 200;

/// Makes one input: a run of accesses to each device.
pub fn run(dice: &mut Rng) {
    local_apic(dice);
    io_apic(dice);
    ports(dice);
    pci(dice);
    platform::run(dice);
}

/// Moves the clock on: often a small step, now and then a leap.
fn later(now: &mut u64, dice: &mut Rng) -> TimeBase {
    let by = match dice.u8(..8) {
        0 => dice.u64(..),
        1 => dice.u64(..1 << 40),
        _ => dice.u64(..100_000),
    };
    *now = now.saturating_add(by);
    TimeBase {
        tsc: now.wrapping_mul(3),
        time: Time(*now),
        tsc_khz: dice.choice([0, 1, 3_000_000, u32::MAX]).unwrap_or(1),
    }
}

fn value(dice: &mut Rng) -> u64 {
    match dice.u8(..4) {
        0 => dice.u64(..),
        1 => 1 << dice.u32(..64),
        _ => dice.u64(..0x200),
    }
}

fn local_apic(dice: &mut Rng) {
    let mut lapic = Lapic::new(VcpuId(dice.u32(..300)));
    let mut now = 0;
    for _ in 0..ACCESSES {
        let time = later(&mut now, dice);
        match dice.u8(..10) {
            0 => drop(lapic.write_base_msr(value(dice) ^ 0xfee0_0900)),
            1 => lapic.set_tsc_deadline(value(dice), time),
            2 => lapic.set_task_priority_class(dice.u8(..16)),
            3 => drop(lapic.receive(Delivery::Fixed(dice.u8(..)), Trigger::Level)),
            4 => {
                let _ = lapic.advance(time.time);
                assert!(lapic.deadline() > time.time || lapic.deadline() == Time::NEVER, "a deadline that has passed");
            }
            5 => {
                if let Some(vector) = lapic.highest_pending() {
                    assert!(vector >= 16 && lapic.accept(vector));
                }
            }
            6 => drop(lapic.read_msr(0x800 + dice.u32(..0x100), time)),
            7 => drop(lapic.read_page(dice.u32(..0x1010), dice.u32(..9), time)),
            8 => check_effect(lapic.write_page(dice.u32(..0x1010), dice.u32(..9), value(dice) as u32, time)),
            _ => {
                let msr = 0x800 + dice.u32(..0x40);
                if let Ok(effect) = lapic.write_msr(msr, value(dice), time) {
                    check_effect(effect);
                }
            }
        }
        let in_service: u32 = (0..8).map(|bank| in_service_bank(&lapic, bank, time).count_ones()).sum();
        assert!(in_service < 16, "more in service than there are classes");
    }
}

fn in_service_bank(lapic: &Lapic, bank: u32, time: TimeBase) -> u32 {
    if lapic.is_x2apic() {
        lapic.read_msr(0x810 + bank, time).unwrap_or(0) as u32
    } else if lapic.is_xapic() {
        lapic.read_page(0x100 + bank * 16, 4, time)
    } else {
        0
    }
}

fn check_effect(effect: Effect) {
    if let Effect::EndOfInterrupt(vector) = effect {
        assert!(vector >= 16, "an interrupt that cannot be");
    }
}

fn io_apic(dice: &mut Rng) {
    let mut io_apic = IoApic::new(dice.u8(..), dice.usize(..200), dice.bool());
    for _ in 0..ACCESSES {
        let pin = dice.usize(..130);
        match dice.u8(..4) {
            0 => {
                let effect = io_apic.write(dice.u32(..0x50), value(dice) as u32);
                assert!(effect.changed.is_none_or(|pin| pin < io_apic.pin_count()));
            }
            1 => drop(io_apic.set_line(pin, dice.bool())),
            2 => io_apic.end_of_interrupt(dice.u8(..), |_, _| {}),
            _ => drop((io_apic.read(dice.u32(..0x50)), io_apic.route(pin))),
        }
    }
}

fn ports(dice: &mut Rng) {
    let mut devices = PortDevices::default();
    let mut now = 0;
    for _ in 0..ACCESSES {
        let time = later(&mut now, dice).time;
        let wall = WallClock { seconds: value(dice), nanoseconds: dice.u32(..1_000_000_000) };
        let (owner, port) = if dice.bool() {
            (PortOwner::Pit, 0x3f + dice.u16(..0x24))
        } else {
            (PortOwner::Rtc, 0x70 + dice.u16(..2))
        };
        let size = dice.choice([IoSize::Byte, IoSize::Word, IoSize::Dword]).unwrap_or(IoSize::Byte);
        if dice.bool() {
            devices.write(owner, port, size, value(dice) as u32, time, wall);
        } else {
            let read = devices.read(owner, port, size, time, wall);
            assert_eq!(read & !size.mask(), 0, "more bits than the access has");
        }
    }
}

fn pci(dice: &mut Rng) {
    let kind = |dice: &mut Rng| {
        let prefetchable = dice.bool();
        let memory = BarKind::Memory32 { prefetchable };
        dice.choice([BarKind::Absent, BarKind::Ports, memory, BarKind::Memory64 { prefetchable }]).unwrap_or_default()
    };
    let mut bars = Bars::new(core::array::from_fn(|_| Bar::new(kind(dice), 1 << dice.u32(..64), value(dice))));
    let mut msi = Msi::new(0x50, dice.u32(..));
    let mut msix = MsiX::new(0x70, dice.u32(..), dice.u32(..), dice.u32(..)).expect("a fuzzer has memory");
    for _ in 0..ACCESSES {
        let Some(access) = ConfigAccess::new(PciAddress::from_bdf(0, dice.u16(..)), dice.u16(..0x90), dice.u32(..6))
        else {
            continue;
        };
        let written = value(dice) as u32;
        bars.write(access.doubleword(), access.merge(bars.read(access.doubleword()).unwrap_or(0), written));
        msi.write(access, written);
        msix.write(access, written);
        let _ = (msi.message(dice.u32(..40)), msix.message(dice.usize(..3000)));
        if let Some(entry) = msix.write_table(dice.u32(..0x9000), dice.u32(..9), value(dice)) {
            assert!(entry < msix.vectors());
        }
        let _ = msix.read_table(dice.u32(..), dice.u32(..9));
        for (_, range) in bars.memory() {
            assert_eq!(range.start.0 & (range.bytes - 1), 0, "an address off its alignment");
        }
    }
}
