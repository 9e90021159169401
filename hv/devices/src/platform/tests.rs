//! The chips together: what comes out for what goes in.

use alloc::vec::Vec;

use proptest::prelude::*;
use xenolith_hal::{IoSize, WallClock};

use super::*;
use crate::interrupt::{Delivery, Destination, Message, Trigger};

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

#[test]
fn a_guest_that_was_away_for_a_second_gets_its_18_ticks() {
    let mut platform = booted();
    tick_at_18_hz(&mut platform);
    platform.advance(at(SECOND));
    assert_eq!(taken(&mut platform), [8; 18]);
    assert!(platform.waiting_lines() == 0 && platform.next_deadline(at(SECOND)) > Time(SECOND));
    for (mode, late) in [(0, 18), (1, 18), (2, 0), (3, 1)] {
        let mut platform = booted();
        tick_at_18_hz(&mut platform);
        platform.set_missed_ticks(MissedTicks::from_param(mode).unwrap());
        platform.advance(at(SECOND));
        assert_eq!(taken(&mut platform).len(), late, "mode {mode}");
    }
}

#[test]
fn ticks_by_the_io_apic_follow_each_other_as_they_are_taken() {
    let mut platform = booted();
    let _ = out(&mut platform, 0x21, 0xff, 0);
    tick_at_18_hz(&mut platform);
    assert_eq!(platform.next_deadline(at(0)), Time::NEVER, "masked everywhere");
    entry(&mut platform, 2, 0x30);
    platform.advance(at(SECOND / 6));
    for _ in 0..3 {
        assert_eq!(vectors(&mut platform), [0x30]);
        assert_eq!(platform.awaited_vectors(), [1 << 0x30, 0, 0, 0]);
        platform.interrupt_taken(0x31);
        assert_eq!(vectors(&mut platform), [], "another vector is no tick");
        platform.interrupt_taken(0x30);
    }
    assert_eq!(vectors(&mut platform), []);
    assert!(platform.awaited_vectors() == [0; 4]);
}

#[test]
fn each_timer_waits_for_the_vector_of_its_own_pin() {
    let mut platform = booted();
    for (pin, low) in [(8, 0xb8), (22, 0x76)] {
        entry(&mut platform, pin, low);
    }
    for (port, value) in [(0x70, 0x0b), (0x71, 0x42)] {
        let _ = out(&mut platform, port, value, 0);
    }
    for (register, value) in [(0x10, 1), (0x140, 0x2c4c), (0x148, 1_000_000)] {
        platform.write_hpet(register, 8, value, at(0));
    }
    platform.advance(at(33_000_000));
    assert_eq!(vectors(&mut platform), [0xb8, 0x76]);
    assert_eq!(platform.awaited_vectors(), [0, 1 << (0x76 - 0x40), 1 << (0xb8 - 0x80), 0]);
    platform.interrupt_taken(0x76);
    assert_eq!(vectors(&mut platform), [0x76], "of two periods of 16 ms");
    platform.interrupt_taken(0x76);
    for _ in 1..33 {
        platform.interrupt_taken(0xb8);
        assert_eq!(vectors(&mut platform), [0xb8]);
    }
    platform.interrupt_taken(0xb8);
    assert_eq!((vectors(&mut platform), platform.awaited_vectors()), (alloc::vec![], [0; 4]));
}

#[test]
fn a_tick_that_was_lost_in_a_masked_pin_does_not_stop_the_timer() {
    let mut platform = booted();
    let _ = out(&mut platform, 0x21, 0xff, 0);
    tick_at_18_hz(&mut platform);
    platform.advance(at(SECOND / 18));
    assert_eq!(platform.waiting_lines(), 1);
    entry(&mut platform, 2, 0x30);
    let deadline = platform.next_deadline(at(SECOND / 18));
    assert!(deadline > Time(SECOND / 18) && deadline < Time(SECOND / 8));
    platform.advance(at(deadline.0));
    assert_eq!(vectors(&mut platform), [0x30]);
}

#[test]
fn a_poll_takes_a_tick_as_an_acknowledge_does() {
    let mut platform = booted();
    tick_at_18_hz(&mut platform);
    platform.advance(at(SECOND / 18));
    let _ = out(&mut platform, 0x20, 0x0c, 0);
    assert_eq!(input(&mut platform, 0x20, 0), Some(0x80));
    assert_eq!(platform.waiting_lines(), 0);
}

#[test]
fn the_clock_interrupts_by_the_slave() {
    let mut platform = booted();
    for (index, value) in [(0x8a, 0x26), (0x8b, 0x42)] {
        assert_eq!(out(&mut platform, 0x70, index, 0), Some(Written::default()));
        let _ = out(&mut platform, 0x71, value, 0);
    }
    let deadline = platform.next_deadline(at(0));
    assert_eq!(deadline, Time(976_563));
    platform.advance(at(deadline.0));
    assert_eq!(taken(&mut platform), [0x70]);
    let _ = out(&mut platform, 0x70, 0x0c, deadline.0);
    assert_eq!(input(&mut platform, 0x71, deadline.0), Some(0xc0));
}

#[test]
fn setting_the_clock_is_told_and_its_memory_is_the_device_models() {
    let mut platform = booted();
    platform.set_clock_offset(10, at(0));
    assert!(out(&mut platform, 0x70, 4, 0).is_some());
    assert_eq!(out(&mut platform, 0x71, 0x15, 0), Some(Written { clock_moved: 3600 }));
    assert_eq!(platform.clock_offset(), 3610);
    assert_eq!(out(&mut platform, 0x70, 0x0f, 0), None);
    assert_eq!((out(&mut platform, 0x71, 0x55, 0), input(&mut platform, 0x71, 0)), (None, None));
    assert_eq!(platform.read(0x70, IoSize::Word, at(0)), None);
    assert_eq!(platform.clock_offset(), 3610);
    assert!(out(&mut platform, 0x70, 0x0d, 0).is_some());
    assert_eq!(input(&mut platform, 0x71, 0), Some(0x80));
}

#[test]
fn other_ports_are_the_device_models_and_wide_accesses_nobodys() {
    let mut platform = booted();
    let before = platform.clone();
    for port in [0, 0x1f, 0x22, 0x3f, 0x44, 0x60, 0x62, 0x72, 0x9f, 0xe9, 0x4cf, 0x4d2, 0xb004, 0xb00c, 0xcf8, 0xffff] {
        assert_eq!(input(&mut platform, port, 0), None, "{port:#x}");
        assert_eq!(out(&mut platform, port, 0, 0), None);
    }
    for port in [0x20, 0xa1, 0x40, 0x61, 0x4d0] {
        assert_eq!(platform.read(port, IoSize::Word, at(0)), Some(0xffff));
        assert_eq!(platform.write(port, IoSize::Dword, 0, at(0)), Some(Written::default()));
    }
    assert_eq!(platform, before);
}

#[test]
fn the_hpet_takes_the_lines_of_the_older_timers() {
    let mut platform = booted();
    tick_at_18_hz(&mut platform);
    for (register, value) in [(0x10, 3), (0x100, 0x4c), (0x108, 1_000_000)] {
        platform.write_hpet(register, 8, value, at(0));
    }
    let counter = HPET_PAGE.0 + 0xf0;
    assert_eq!(platform.read_hpet((counter & 0xfff) as u32, 4, at(1600)), 100);
    assert_eq!(platform.next_deadline(at(0)), Time(16_000_000));
    platform.advance(at(100_000_000));
    assert_eq!(taken(&mut platform), [8; 6], "at 16, 32, 48, 64, 80 and 96 ms; the interval timer is not connected");
    platform.write_hpet(0x10, 8, 1, at(SECOND));
    assert!(taken(&mut platform).iter().all(|vector| *vector == 8));
    platform.write_hpet(0x100, 8, 0, at(SECOND));
    assert!(platform.next_deadline(at(SECOND)) <= Time(SECOND + SECOND / 18), "it is again");
}

#[test]
fn what_the_older_timers_missed_is_forgotten_while_the_hpet_has_their_lines() {
    let mut platform = booted();
    tick_at_18_hz(&mut platform);
    for (port, value) in [(0x70, 0x0b), (0x71, 0x42)] {
        let _ = out(&mut platform, port, value, 0);
    }
    platform.advance(at(SECOND));
    platform.write_hpet(0x10, 8, 3, at(SECOND));
    platform.advance(at(2 * SECOND));
    assert_eq!(platform.waiting_lines(), 0);
    assert_eq!(taken(&mut platform), [8, 0x70], "what had reached the controllers");
    platform.write_hpet(0x10, 8, 0, at(2 * SECOND));
    platform.advance(at(2 * SECOND + 60_000_000));
    let taken = taken(&mut platform);
    assert_eq!((taken.iter().filter(|vector| **vector == 8).count(), taken.len()), (1, 1 + 61));
}

#[test]
fn a_level_of_the_hpet_shares_its_pin_with_a_device() {
    let mut platform = booted();
    let inta = IntxPin::new(1, 0).unwrap();
    assert_eq!(inta.gsi(), 20);
    entry(&mut platform, 20, 0x8044);
    platform.set_intx(inta, true);
    assert_eq!(vectors(&mut platform), [0x44]);
    for (register, value) in [(0x10, 1), (0x120, 0x2806), (0x128, 10_000)] {
        platform.write_hpet(register, 8, value, at(0));
    }
    platform.advance(at(SECOND));
    assert_eq!(vectors(&mut platform), [], "it was asserted already");
    platform.set_intx(inta, false);
    platform.end_of_interrupt(0x44);
    assert_eq!(vectors(&mut platform), [0x44], "by the HPET");
    platform.write_hpet(0x20, 4, 2, at(SECOND));
    platform.end_of_interrupt(0x44);
    assert_eq!(vectors(&mut platform), []);
}

#[test]
fn the_power_button_makes_a_system_control_interrupt_beside_the_device_models() {
    let mut platform = booted();
    entry(&mut platform, 9, 0x8039);
    let _ = platform.write(0xb002, IoSize::Word, 0x100, at(0));
    platform.note_power_event(PowerEvent::PowerButton);
    assert_eq!((vectors(&mut platform), platform.requests_interrupt()), (alloc::vec![0x39], true));
    assert!(platform.set_isa_line(9, true));
    let _ = platform.write(0xb000, IoSize::Word, 0x100, at(0));
    platform.end_of_interrupt(0x39);
    assert_eq!((vectors(&mut platform), platform.requests_interrupt()), (alloc::vec![0x39], true));
    assert!(platform.set_isa_line(9, false));
    platform.end_of_interrupt(0x39);
    assert_eq!((vectors(&mut platform), platform.requests_interrupt()), (alloc::vec![], false));
}

#[test]
fn a_device_reaches_its_own_pin_and_the_isa_line_of_its_link() {
    let mut platform = booted();
    assert!(platform.set_link_route(3, 5) && !platform.set_link_route(4, 5) && !platform.set_link_route(0, 16));
    assert!(!platform.set_isa_line(16, true));
    let nic = IntxPin::new(3, 0).unwrap();
    entry(&mut platform, u32::from(nic.gsi()), 0x8050);
    platform.set_intx(nic, true);
    assert_eq!(vectors(&mut platform), [0x50]);
    assert_eq!(platform.acknowledge().vector, 13);
    platform.set_intx(nic, false);
    let _ = out(&mut platform, 0x20, 0x20, 0);
    assert!(!platform.requests_interrupt());
}

#[test]
fn pin_0_is_the_8259a_pairs() {
    let mut platform = booted();
    assert_eq!(platform.external_destination(), None);
    entry(&mut platform, 0, 0x700);
    assert_eq!(platform.external_destination(), Some(Destination::Physical(0)));
    tick_at_18_hz(&mut platform);
    platform.advance(at(SECOND));
    assert_eq!(platform.take_message(), None, "what it passes on is no message");
}

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

proptest! {
    /// A guest that looks now and then gets each tick, late or in time, and none that there was not.
    #[test]
    fn no_tick_is_lost_or_made_up_however_time_passes(
        steps in proptest::collection::vec((0u64..200_000_000, any::<bool>()), 0..40),
        by_hpet: bool,
    ) {
        let mut platform = booted();
        tick_at_18_hz(&mut platform);
        if by_hpet {
            for (register, value) in [(0x10, 3), (0x100, 0x4c), (0x108, 1_000_000)] {
                platform.write_hpet(register, 8, value, at(0));
            }
        }
        let (mut now, mut count) = (0, 0);
        for (step, looks) in steps {
            now += step;
            platform.advance(at(now));
            prop_assert!(platform.next_deadline(at(now)) > Time(now));
            if looks {
                count += taken(&mut platform).len();
            }
        }
        count += taken(&mut platform).len();
        let expected = if by_hpet { now / 16_000_000 } else { now * 1_193_182 / SECOND / 0x1_0000 };
        prop_assert_eq!(count as u64, expected);
    }
}
