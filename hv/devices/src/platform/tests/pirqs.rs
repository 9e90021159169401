//! Interrupts that come as events.

use super::*;
use crate::platform::pirqs::PIRQS;
use xen_abi::Errno;
use xen_abi::physdev::{MAP_PIRQ_TYPE_GSI, MAP_PIRQ_TYPE_MSI};

fn raised(platform: &mut Platform) -> Vec<u32> {
    core::iter::from_fn(|| platform.take_pirq()).collect()
}

#[test]
fn a_pin_with_a_number_makes_events_and_no_messages_and_the_8259_sees_it_all_the_same() {
    let mut platform = booted();
    let pin = IntxPin::new(1, 0).unwrap();
    entry(&mut platform, 20, 0x8044);
    entry(&mut platform, 9, 0x39);
    assert_eq!((platform.map_pirq(-1, 20), platform.map_pirq(-1, 9)), (Ok(16), Ok(17)));
    platform.set_intx(pin, true);
    assert!(platform.has_pirq() && platform.set_isa_line(9, true));
    assert_eq!((raised(&mut platform), vectors(&mut platform)), (alloc::vec![16, 17], alloc::vec![]));
    assert!(platform.requests_interrupt() && !platform.has_pirq());
    // A level that is still there comes again at its end; an ISA line is an edge.
    assert!(platform.end_pirq(16) && platform.end_pirq(17));
    assert_eq!(raised(&mut platform), [16]);
    platform.set_intx(pin, false);
    assert!(platform.end_pirq(16));
    assert_eq!(raised(&mut platform), []);
    platform.unmap_pirq(16);
    platform.set_intx(pin, true);
    assert_eq!((raised(&mut platform), vectors(&mut platform)), (alloc::vec![], alloc::vec![0x44]));
}

#[test]
fn an_event_that_nobody_hears_is_an_interrupt_of_the_io_apic() {
    let mut platform = booted();
    let pin = IntxPin::new(1, 0).unwrap();
    entry(&mut platform, 20, 0x8044);
    entry(&mut platform, 9, 0x39);
    assert_eq!((platform.map_pirq(3, 20), platform.map_pirq(4, 9)), (Ok(3), Ok(4)));
    platform.set_intx(pin, true);
    assert!(platform.set_isa_line(9, true) && platform.set_isa_line(9, false));
    for pirq in raised(&mut platform) {
        platform.pirq_unheard(pirq);
    }
    assert_eq!(vectors(&mut platform), [0x39, 0x44]);
    platform.end_of_interrupt(0x44);
    assert_eq!(vectors(&mut platform), [0x44], "the level is there");
    platform.set_intx(pin, false);
    platform.end_of_interrupt(0x44);
    assert_eq!(vectors(&mut platform), []);
}

#[test]
fn the_interval_timer_ticks_as_events_behind_a_masked_pin() {
    let mut platform = booted();
    assert_eq!(out(&mut platform, 0x21, 0xff, 0), Some(Written::default()));
    tick_at_18_hz(&mut platform);
    assert_eq!(platform.next_deadline(at(0)), Time::NEVER);
    assert_eq!(platform.map_pirq(-1, 2), Ok(16));
    let due = platform.next_deadline(at(0));
    platform.advance(Moment { time: due, ..at(0) });
    assert_eq!((raised(&mut platform), vectors(&mut platform)), (alloc::vec![16], alloc::vec![]));
}

#[test]
fn numbers_stand_for_one_thing_and_are_given_until_there_are_no_more() {
    let mut platform = booted();
    for (pirq, gsi) in [(-1, -1), (-1, 48), (56, 5), (i32::MAX, 5), (5, i32::MIN)] {
        assert_eq!(platform.map_pirq(pirq, gsi), Err(Errno::EINVAL), "{pirq} {gsi}");
    }
    assert_eq!(platform.map_pirq(5, 5), Ok(5));
    assert!(platform.is_pirq_of_pin(5) && !platform.is_pirq_of_pin(6));
    // A pin keeps its number, and a number its pin.
    assert_eq!((platform.map_pirq(6, 5), platform.map_pirq(5, 6)), (Ok(6), Ok(5)));
    assert!(!platform.is_pirq_of_pin(6) && !platform.end_pirq(6) && platform.end_pirq(5));
    assert!(platform.set_isa_line(6, true) && platform.set_isa_line(5, true));
    assert_eq!(raised(&mut platform), [5]);
    let given: Vec<u32> = core::iter::from_fn(|| platform.give_pirq(MAP_PIRQ_TYPE_MSI).ok()).collect();
    assert_eq!(given, (24..PIRQS as u32).rev().collect::<Vec<_>>());
    assert_eq!(platform.give_pirq(MAP_PIRQ_TYPE_GSI), Ok(16));
    assert_eq!(platform.map_pirq(-1, 7), Ok(17));
    platform.unmap_pirq(17);
    assert_eq!((platform.map_pirq(-1, 8), platform.map_pirq(16, 7)), (Ok(17), Ok(16)));
    for pirq in [0, 63, 64, u32::MAX] {
        platform.unmap_pirq(pirq);
        assert!(!platform.end_pirq(pirq) && !platform.is_pirq_of_pin(pirq));
    }
}

#[test]
fn a_message_without_a_vector_raises_the_number_that_it_names() {
    let mut platform = booted();
    assert_eq!((platform.send_pirq(0), platform.send_pirq(56)), (Err(Errno::ERANGE), Err(Errno::EINVAL)));
    let given = platform.give_pirq(MAP_PIRQ_TYPE_MSI).unwrap();
    assert_eq!((platform.send_pirq(given), platform.send_pirq(1)), (Ok(()), Ok(())));
    assert_eq!(raised(&mut platform), [1, given]);
    assert!(!platform.is_pirq_of_pin(given) && platform.end_pirq(given));
    assert_eq!(platform.map_pirq(2, 9), Ok(2));
    assert_eq!(platform.send_pirq(2), Err(Errno::EINVAL));
    platform.reset(at(SECOND));
    assert!(platform.is_pirq_of_pin(2), "the guest's kernel goes on");
}
