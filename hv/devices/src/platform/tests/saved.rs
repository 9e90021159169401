//! Records of a saved domain, and a reset.

use super::*;
use crate::interrupt::{Message, Trigger};

/// A platform in which much is going on.
fn busy() -> Platform {
    let mut platform = booted();
    tick_at_18_hz(&mut platform);
    assert!(platform.set_link_route(3, 5) && platform.set_isa_line(4, true) && platform.set_isa_line(9, true));
    entry(&mut platform, 28, 0x8050);
    platform.set_intx(IntxPin::new(3, 0).unwrap(), true);
    for (register, value) in [(0x10, 1), (0x120, 0x2806), (0x128, 10_000), (0x100, 0x4c), (0x108, 50_000)] {
        platform.write_hpet(register, 8, value, at(0));
    }
    let _ = platform.write(0xb002, IoSize::Word, 0x101, at(0));
    platform.set_clock_offset(-5, at(0));
    platform.advance(at(SECOND / 20));
    let _ = vectors(&mut platform);
    platform
}

#[test]
fn what_was_saved_goes_on_where_it_was() {
    let now = at(SECOND / 20);
    let mut platform = busy();
    let records = platform.save(now);
    assert_eq!(records.isa_lines.lines, 1 << 4 | 1 << 9);
    let mut loaded = Platform::new(now);
    assert!(loaded.set_acpi_location(1));
    for record in records.each() {
        assert_eq!(loaded.load(record, now), Ok(()));
    }
    assert_eq!(loaded.save(now), records);
    assert_eq!(vectors(&mut loaded), [], "what was in service still is");
    // The guest ends the device's interrupt, which is asserted still.
    loaded.end_of_interrupt(0x50);
    assert_eq!(loaded.take_message().map(|message: Message| message.trigger), Some(Trigger::Level));
    loaded.set_intx(IntxPin::new(3, 0).unwrap(), false);
    assert!(loaded.set_isa_line(9, false));
    assert_eq!(loaded.save(now).isa_lines.lines, 1 << 4);
    assert_eq!((loaded.clock_offset(), loaded.read(0xb000, IoSize::Dword, now)), (-5, Some(0x0101_0000)));
}

#[test]
fn a_saved_button_does_not_stay_pressed() {
    let mut platform = booted();
    let _ = platform.write(0xb002, IoSize::Word, 0x100, at(0));
    platform.note_power_event(PowerEvent::PowerButton);
    let records = platform.save(at(0));
    let mut loaded = booted();
    for record in records.each() {
        assert_eq!(loaded.load(record, at(0)), Ok(()));
    }
    assert!(loaded.requests_interrupt());
    let _ = loaded.write(0xb000, IoSize::Word, 0x100, at(0));
    assert!(!loaded.requests_interrupt(), "the record of the ISA lines did not make it the device model's");
}

#[test]
fn a_restored_line_0_is_at_pin_2() {
    let mut platform = booted();
    for (register, value) in [(0x10, 3), (0x100, 6), (0x108, 1_000)] {
        platform.write_hpet(register, 8, value, at(0));
    }
    platform.advance(at(SECOND));
    let mut records = platform.save(at(SECOND));
    assert_eq!(records.isa_lines.lines, 1, "a level of the HPET, for the interval timer");
    records.io_apic.redirtbl[2] = 0x8030;
    assert_eq!(platform.load(PlatformRecord::IoApic(&records.io_apic), at(SECOND)), Ok(()));
    assert_eq!(vectors(&mut platform), [0x30]);
}

#[test]
fn timers_go_on_after_a_record_of_xen_that_leaves_their_lines_asserted() {
    let mut platform = booted();
    tick_at_18_hz(&mut platform);
    let records = platform.save(at(0));
    let lines = xen_abi::hvm_save::HvmHwIsaIrqs { lines: 0x101 };
    assert_eq!(platform.load(PlatformRecord::IsaLines(&lines), at(0)), Ok(()));
    assert_eq!(platform.load(PlatformRecord::Timer(&records.timer), at(0)), Ok(()));
    platform.advance(at(SECOND / 18));
    assert_eq!(taken(&mut platform), [8]);
}

#[test]
fn records_of_what_is_not_there_are_refused() {
    let mut platform = busy();
    let records = platform.save(at(SECOND));
    let before = platform.clone();
    let mut links = records.links;
    links.route = [5, 10, 11, 16];
    assert_eq!(platform.load(PlatformRecord::Links(&links), at(SECOND)), Err(InvalidRecord));
    assert_eq!(platform.load(PlatformRecord::Pic(2, &records.pics[0]), at(SECOND)), Err(InvalidRecord));
    assert_eq!(platform, before);
}

#[test]
fn a_reset_keeps_devices_and_what_the_toolstack_chose() {
    let mut platform = busy();
    platform.set_missed_ticks(MissedTicks::OneLate);
    platform.reset(at(SECOND));
    assert_eq!((platform.next_deadline(at(SECOND)), platform.clock_offset()), (Time::NEVER, -5));
    assert_eq!(platform.read(0xb000, IoSize::Dword, at(SECOND)), Some(0), "at the same place");
    entry(&mut platform, 28, 0x8050);
    assert_eq!(vectors(&mut platform), [0x50], "the device still asserts its line");
    assert_eq!(platform.missed, MissedTicks::OneLate);
    entry(&mut platform, 21, 0x8051);
    assert_eq!(vectors(&mut platform), [], "the HPET no more");
}
