use xenolith_hal::Time;

use super::{LVT_TIMER, TDCR, TMCCT, TMICT, at, write, x2apic};

#[test]
fn a_one_shot_timer_fires_once_at_its_deadline() {
    let mut lapic = x2apic(0);
    write(&mut lapic, LVT_TIMER, 0xec);
    write(&mut lapic, TDCR, 0xb);
    lapic.write_msr(TMICT, 1000, at(500)).unwrap();
    assert_eq!(lapic.deadline(), Time(10_500));
    assert_eq!(lapic.read_msr(TMCCT, at(5_500)), Ok(500));
    assert!(!lapic.advance(Time(10_499)));
    assert!(lapic.advance(Time(10_500)));
    assert_eq!(lapic.highest_pending(), Some(0xec));
    assert_eq!(lapic.deadline(), Time::NEVER);
    assert_eq!(lapic.read_msr(TMCCT, at(20_000)), Ok(0));
    assert!(!lapic.advance(Time(1_000_000)));
}

#[test]
fn a_periodic_timer_keeps_its_phase_and_merges_what_was_missed() {
    let mut lapic = x2apic(0);
    write(&mut lapic, LVT_TIMER, 0x2_00ec);
    write(&mut lapic, TDCR, 0);
    lapic.write_msr(TMICT, 100, at(0)).unwrap();
    assert_eq!(lapic.deadline(), Time(2_000), "the divisor is 2");
    assert!(lapic.advance(Time(2_100)));
    assert_eq!(lapic.deadline(), Time(4_000));
    lapic.accept(0xec);
    assert!(lapic.advance(Time(9_999)));
    assert_eq!(lapic.deadline(), Time(10_000));
    lapic.write_msr(TMICT, 0, at(9_999)).unwrap();
    assert_eq!(lapic.deadline(), Time::NEVER);
}

#[test]
fn a_masked_timer_runs_silently() {
    let mut lapic = x2apic(0);
    write(&mut lapic, LVT_TIMER, 0x1_00ec);
    write(&mut lapic, TDCR, 0xb);
    lapic.write_msr(TMICT, 100, at(0)).unwrap();
    assert_eq!(lapic.deadline(), Time::NEVER);
    assert_eq!(lapic.read_msr(TMCCT, at(400)), Ok(60));
    // It ran down before it was unmasked: that interrupt is lost, as on hardware.
    lapic.write_msr(LVT_TIMER, 0xec, at(1_000)).unwrap();
    assert_eq!(lapic.highest_pending(), None);
    assert_eq!(lapic.deadline(), Time::NEVER);
}

#[test]
fn a_tsc_deadline_fires_when_the_counter_gets_there() {
    let mut lapic = x2apic(0);
    write(&mut lapic, LVT_TIMER, 0x4_00ec);
    lapic.set_tsc_deadline(10_001, at(1_000));
    assert_eq!(lapic.tsc_deadline(), 10_001);
    assert_eq!(lapic.deadline(), Time(5_001), "rounded up: never early");
    assert!(lapic.advance(Time(5_001)));
    assert_eq!(lapic.tsc_deadline(), 0);
    lapic.set_tsc_deadline(1, at(6_000));
    assert_eq!(lapic.deadline(), Time(6_000), "the past is now");
    lapic.set_tsc_deadline(0, at(5_999));
    assert_eq!(lapic.deadline(), Time::NEVER);
    // A count means nothing in this mode, and a deadline nothing in the others.
    lapic.write_msr(TMICT, 100, at(0)).unwrap();
    assert_eq!(lapic.deadline(), Time::NEVER);
    write(&mut lapic, LVT_TIMER, 0xec);
    lapic.set_tsc_deadline(10_000, at(0));
    assert_eq!(lapic.deadline(), Time::NEVER);
}
