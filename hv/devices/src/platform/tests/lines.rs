//! Lines from devices to controllers.

use super::*;
use crate::interrupt::Destination;

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
fn the_power_management_timer_interrupts_by_itself() {
    let mut platform = booted();
    let _ = platform.write(0xb002, IoSize::Word, 1, at(0));
    let deadline = platform.next_deadline(at(0));
    assert_eq!(deadline.0 / SECOND, 599);
    platform.advance(at(deadline.0 - 1));
    assert!(!platform.requests_interrupt());
    platform.advance(at(deadline.0));
    assert_eq!(platform.acknowledge().vector, 0x71);
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
