//! What the specification of the HPET says.

use proptest::prelude::*;
use xen_abi::hvm_save::HvmHwHpet;

use super::timer::SETS_COMPARATOR;
use super::*;

const NO_DELAY: MissedTicks = MissedTicks::NoDelay;

const fn config(timer: u32) -> u32 {
    REGISTER_FIRST_TIMER + timer * 0x20
}

const fn comparator(timer: u32) -> u32 {
    config(timer) + TIMER_COMPARATOR
}

/// Ticks since the start as a moment.
const fn at(ticks: u64) -> Time {
    Time(1_000_000 + ticks * TICK_NS)
}

fn started() -> Hpet {
    let mut hpet = Hpet::default();
    hpet.write(REGISTER_CONFIG, 4, CONFIG_ENABLED, at(0));
    hpet
}

fn write(hpet: &mut Hpet, register: u32, value: u64, now: Time) {
    hpet.write(register, 8, value, now);
}

#[test]
fn it_says_what_it_is() {
    let hpet = Hpet::default();
    assert_eq!(hpet.read(0, 8, at(0)), 0x00f4_2400_8086_a201);
    assert_eq!(hpet.read(4, 4, at(0)), 16_000_000, "femtoseconds: 62.5 MHz");
    for timer in 0..3 {
        assert_eq!(hpet.read(config(timer), 8, at(0)), 0x00f0_0000_0000_0030);
        assert_eq!(hpet.read(comparator(timer), 8, at(0)), u64::MAX);
    }
    assert_eq!((hpet.read(config(3), 8, at(0)), hpet.read(0x3f8, 8, at(0)), hpet.read(8, 8, at(0))), (0, 0, 0));
}

#[test]
fn accesses_across_a_register_read_ones_and_change_nothing() {
    let mut hpet = started();
    for (offset, bytes) in [(0xf4, 8), (0xf2, 4), (0xf1, 2), (0xf0, 3), (0x400, 4), (u32::MAX, 1), (0xf0, 16), (0, 0)] {
        assert_eq!(hpet.read(offset, bytes, at(5)), ones(bytes), "{offset:#x}");
        hpet.write(offset, bytes, 0, at(5));
    }
    assert_eq!((hpet, hpet.read(0xf2, 4, at(5)), hpet.read(0xf0, 0, at(5))), (started(), 0xffff_ffff, 0));
    assert_eq!((hpet.read(0xf0, 4, at(7)), hpet.read(0xf0, 1, at(0x107)), hpet.read(2, 2, at(0))), (7, 7, 0x8086));
}

#[test]
fn the_counter_stands_until_it_is_started_and_can_be_set() {
    let mut hpet = Hpet::default();
    assert_eq!((hpet.read(REGISTER_COUNTER, 8, at(50)), hpet.advance(at(50), NO_DELAY)), (0, 0));
    write(&mut hpet, REGISTER_COUNTER, 0x1_0000_0000, at(50));
    hpet.write(REGISTER_COUNTER + 4, 4, 7, at(50));
    assert_eq!(hpet.read(REGISTER_COUNTER, 8, at(60)), 0x7_0000_0000);
    write(&mut hpet, REGISTER_CONFIG, CONFIG_ENABLED, at(60));
    assert_eq!(hpet.read(REGISTER_COUNTER, 8, at(65)), 0x7_0000_0005);
    write(&mut hpet, REGISTER_CONFIG, 0, at(70));
    assert_eq!(hpet.read(REGISTER_COUNTER, 8, at(99)), 0x7_0000_000a);
}

#[test]
fn a_one_shot_fires_once_when_the_counter_is_there() {
    let mut hpet = started();
    write(&mut hpet, config(2), ENABLED | 21 << 9, at(0));
    write(&mut hpet, comparator(2), 1000, at(0));
    assert_eq!((hpet.deadline(2), hpet.line(2)), (at(1000), 21));
    assert_eq!((hpet.advance(at(999), NO_DELAY), hpet.advance(at(1000), NO_DELAY)), (0, 4));
    assert_eq!((hpet.deadline(2), hpet.advance(at(1 << 40), NO_DELAY)), (Time::NEVER, 0));
    assert!(hpet.waits(2) && !hpet.take(2) && !hpet.waits(2));
    write(&mut hpet, comparator(2), 500, at(1001));
    assert_eq!(hpet.advance(at(1001), NO_DELAY), 4, "what is past fires at once");
    write(&mut hpet, comparator(2), u64::MAX, at(1001));
    assert_eq!(hpet.advance(at(1 << 40), NO_DELAY), 0, "the end of time is not past");
}

#[test]
fn a_timer_of_32_bits_fires_at_each_wrap() {
    let mut hpet = started();
    write(&mut hpet, config(0), ENABLED | IS_32_BITS, at(0));
    write(&mut hpet, comparator(0), 0xffff_0000_0000_0100, at(0));
    assert_eq!(hpet.read(comparator(0), 8, at(0)), 0x100);
    write(&mut hpet, config(1), IS_32_BITS, at(0));
    assert_eq!(hpet.read(comparator(1), 8, at(0)), 0xffff_ffff, "narrowed with the timer");
    assert_eq!(hpet.advance(at(0x100), NO_DELAY), 1);
    assert_eq!(hpet.deadline(0), at(0x1_0000_0100));
    assert_eq!(hpet.advance(at(0x5_0000_0000), NO_DELAY), 1);
    assert_eq!(hpet.deadline(0), at(0x5_0000_0100));
    // Less than a millisecond late is late; more is the next wrap.
    write(&mut hpet, comparator(0), 0x1000, at(0x5_0000_1001));
    assert_eq!(hpet.advance(at(0x5_0000_1001), NO_DELAY), 1);
    write(&mut hpet, comparator(0), 0x1000, at(0x5_0010_1001));
    assert_eq!(hpet.deadline(0), at(0x6_0000_1000));
}

#[test]
fn linux_sets_a_periodic_timer_by_two_writes() {
    let mut hpet = started();
    write(&mut hpet, config(0), ENABLED | PERIODIC | SETS_COMPARATOR | IS_32_BITS, at(100));
    hpet.write(comparator(0), 4, 50_100, at(100));
    hpet.write(comparator(0), 4, 50_000, at(100));
    assert_eq!(hpet.deadline(0), at(50_100));
    assert_eq!(hpet.read(config(0), 4, at(100)) & SETS_COMPARATOR, 0, "the bit clears itself");
    assert_eq!(hpet.advance(at(200_000), NO_DELAY), 1);
    assert_eq!((hpet.deadline(0), hpet.read(comparator(0), 4, at(200_000))), (at(200_100), 200_100));
    assert!(hpet.take(0) && hpet.take(0) && !hpet.take(0), "three were due");
}

#[test]
fn one_write_sets_the_first_time_and_the_period() {
    let mut hpet = Hpet::default();
    write(&mut hpet, config(1), ENABLED | PERIODIC | SETS_COMPARATOR, at(0));
    write(&mut hpet, comparator(1), 10_000, at(0));
    assert_eq!(hpet.deadline(1), Time::NEVER, "the counter stands");
    write(&mut hpet, REGISTER_CONFIG, CONFIG_ENABLED, at(0));
    assert_eq!(hpet.deadline(1), at(10_000));
    assert_eq!(hpet.advance(at(10_000), NO_DELAY), 2);
    assert_eq!(hpet.deadline(1), at(20_000));
}

#[test]
fn a_period_is_at_least_100_us() {
    let mut hpet = started();
    write(&mut hpet, config(0), ENABLED | PERIODIC | SETS_COMPARATOR, at(0));
    write(&mut hpet, comparator(0), 1, at(0));
    assert_eq!(hpet.advance(at(1), NO_DELAY), 1);
    assert_eq!(hpet.deadline(0), at(6251));
}

#[test]
fn a_level_is_asserted_until_its_status_is_cleared() {
    let mut hpet = started();
    write(&mut hpet, config(1), ENABLED | LEVEL | 23 << 9, at(0));
    write(&mut hpet, comparator(1), 100, at(0));
    assert_eq!(hpet.advance(at(100), NO_DELAY), 0, "no edge");
    assert!(hpet.asserts(1) && !hpet.asserts(0) && hpet.line(1) == 23);
    assert_eq!((hpet.read(REGISTER_STATUS, 8, at(100)), hpet.deadline(1)), (2, Time::NEVER));
    hpet.write(REGISTER_STATUS + 4, 4, 2, at(100));
    write(&mut hpet, REGISTER_STATUS, 5, at(100));
    assert!(hpet.asserts(1), "neither was its bit");
    write(&mut hpet, config(1), LEVEL, at(100));
    assert!(!hpet.asserts(1), "not enabled");
    write(&mut hpet, config(1), LEVEL | ENABLED, at(100));
    assert!(hpet.asserts(1));
    hpet.write(REGISTER_STATUS, 1, 2, at(100));
    assert!(!hpet.asserts(1));
}

#[test]
fn legacy_routes_are_those_of_the_older_timers() {
    let mut hpet = started();
    write(&mut hpet, config(0), ENABLED | 22 << 9, at(0));
    assert_eq!([0, 1, 2].map(|timer| hpet.line(timer)), [22, 20, 20]);
    write(&mut hpet, REGISTER_CONFIG, CONFIG_ENABLED | CONFIG_LEGACY, at(0));
    assert_eq!([0, 1, 2].map(|timer| hpet.line(timer)), [0, 8, 20]);
    write(&mut hpet, REGISTER_CONFIG, CONFIG_LEGACY, at(0));
    assert!(!hpet.is_legacy(), "only while the counter runs");
    write(&mut hpet, config(0), 5 << 9, at(0));
    assert_eq!((hpet.line(0), hpet.read(config(0), 4, at(0)) >> 9 & 0x1f), (20, 20), "pin 5 cannot be chosen");
}

#[test]
fn what_was_saved_goes_on_where_it_was() {
    let mut hpet = started();
    write(&mut hpet, config(0), ENABLED | PERIODIC | SETS_COMPARATOR, at(0));
    write(&mut hpet, comparator(0), 10_000, at(0));
    write(&mut hpet, config(1), ENABLED | LEVEL | 21 << 9, at(0));
    write(&mut hpet, comparator(1), 5000, at(0));
    write(&mut hpet, config(2), ENABLED | IS_32_BITS, at(0));
    write(&mut hpet, comparator(2), 15_000, at(0));
    assert_eq!((hpet.advance(at(15_000), NO_DELAY), hpet.take(0), hpet.take(2)), (5, false, false));
    let record = hpet.save(at(15_000));
    assert_eq!((record.mc64, record.isr, record.config), (15_000, 2, 1));
    assert_eq!((record.timers[0][1], record.period), (20_000, [10_000, 0, 0]));
    let mut loaded = Hpet::load(&record, at(1 << 30));
    assert_eq!(loaded.save(at(1 << 30)), record);
    assert!(loaded.asserts(1));
    assert_eq!(loaded.advance(at(1 << 30), NO_DELAY), 0, "what has fired does not fire again");
    assert_eq!(loaded.deadline(0), at((1 << 30) + 5000));
    assert_eq!(loaded.deadline(2), at((1 << 30) + (1 << 32)));
}

proptest! {
    #[test]
    fn a_record_of_anything_gives_what_a_guest_could_have_set(
        head: [u64; 3], timers: [[u64; 4]; 3], period: [u64; 3], small: bool, now: u64, later: u64,
    ) {
        let [config, isr, mc64] = head;
        let timers = timers.map(|[config, comparator, fsb, res]| {
            [config, if small { comparator & 0xffff } else { comparator }, fsb, res]
        });
        let record = HvmHwHpet { config, isr, mc64, timers, period, ..HvmHwHpet::default() };
        let now = Time(now >> 1);
        let mut hpet = Hpet::load(&record, now);
        let saved = hpet.save(now);
        prop_assert_eq!(Hpet::load(&saved, now), hpet);
        let later = now.after_ns(later >> 2);
        let _ = hpet.advance(later, NO_DELAY);
        for timer in 0..TIMERS {
            prop_assert!(hpet.deadline(timer) > later);
            prop_assert!((20..24).contains(&hpet.line(timer)) || hpet.is_legacy());
        }
    }
}
