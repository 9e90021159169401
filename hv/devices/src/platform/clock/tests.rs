//! What the data sheet of the MC146818A says.

use proptest::prelude::*;

use super::*;
use crate::ports::rtc::B_BINARY;

const SECOND: u64 = 1_000_000_000;
/// 2026-11-21 14:05:09 UTC, a Saturday.
const START: u64 = 1_795_269_909;

/// The moment this many nanoseconds after the start, which lay 250 ms into a second.
fn at(ns: u64) -> Moment {
    let wall = ns + SECOND / 4;
    let wall = WallClock { seconds: START + wall / SECOND, nanoseconds: (wall % SECOND) as u32 };
    Moment { time: Time(ns), wall }
}

fn get(clock: &mut Clock, register: u8, now: Moment) -> u8 {
    let _ = clock.write(0x70, register, now);
    clock.read(0x71, now)
}

fn set(clock: &mut Clock, register: u8, value: u8, now: Moment) -> Written {
    let _ = clock.write(0x70, register, now);
    clock.write(0x71, value, now)
}

fn with_b(b: u8) -> Clock {
    let mut clock = Clock::new(at(0));
    let _ = set(&mut clock, STATUS_B, b | B_24_HOURS, at(0));
    clock
}

/// Advances to each deadline before a moment; returns when the line was pulsed.
fn pulses(clock: &mut Clock, from: u64, until: u64) -> alloc::vec::Vec<u64> {
    let mut found = alloc::vec::Vec::new();
    let mut now = from;
    loop {
        let deadline = clock.deadline(at(now)).0;
        assert!(deadline > now);
        if deadline >= until {
            return found;
        }
        now = deadline;
        if clock.advance(at(now), MissedTicks::OneLate) {
            found.push(now);
            let _ = clock.take();
        }
    }
}

#[test]
fn the_time_reads_as_decimal_digits_or_binary() {
    let mut clock = Clock::new(at(0));
    let shown = [SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR].map(|index| get(&mut clock, index, at(0)));
    assert_eq!(shown, [0x09, 0x05, 0x14, 7, 0x21, 0x11, 0x26]);
    let _ = set(&mut clock, STATUS_B, B_BINARY, at(0));
    assert_eq!((get(&mut clock, HOURS, at(0)), get(&mut clock, YEAR, at(SECOND))), (0x82, 26));
    assert_eq!((get(&mut clock, STATUS_D, at(0)), get(&mut clock, STATUS_A, at(0))), (0x80, 0x26));
    assert_eq!(clock.read(0x70, at(0)), 0xff);
}

#[test]
fn setting_the_time_says_how_far_the_guest_went() {
    let mut clock = Clock::new(at(0));
    assert_eq!(set(&mut clock, HOURS, 0x15, at(0)).seconds, 3600);
    assert_eq!(set(&mut clock, SECONDS, 0x08, at(0)).seconds, -1);
    assert_eq!(set(&mut clock, WEEKDAY, 1, at(0)).seconds, 0);
    assert_eq!(clock.save(at(0)).rtc_offset, 3599);
    assert_eq!(get(&mut clock, SECONDS, at(SECOND * 2)), 0x10);
    clock.set_offset(-9, at(0).wall);
    assert_eq!(get(&mut clock, SECONDS, at(0)), 0);
}

#[test]
fn a_time_set_with_updates_stopped_counts_when_they_go_on() {
    let mut clock = with_b(B_SET | UPDATE);
    assert_eq!(get(&mut clock, STATUS_B, at(0)), B_SET | B_24_HOURS, "no update is waited for");
    for (register, value) in [(SECONDS, 0x58), (MINUTES, 0x59), (HOURS, 0x23), (DAY, 0x28), (MONTH, 0x02), (YEAR, 0x28)]
    {
        assert_eq!(set(&mut clock, register, value, at(SECOND)), Written::default());
    }
    assert_eq!(get(&mut clock, SECONDS, at(SECOND * 100)), 0x58, "it stands");
    assert!(!clock.advance(at(SECOND * 100), MissedTicks::NoDelay));
    // 2028-02-28 23:59:58, less 2026-11-21 14:06:49.
    assert_eq!(set(&mut clock, STATUS_B, B_24_HOURS, at(SECOND * 100)).seconds, 464 * 86_400 + 35_589);
    let later = at(SECOND * 102);
    assert_eq!((get(&mut clock, DAY, later), get(&mut clock, MONTH, later)), (0x29, 0x02));
    assert_eq!(get(&mut clock, HOURS, later), 0);
}

#[test]
fn updates_interrupt_as_each_second_begins() {
    let mut clock = with_b(UPDATE);
    let expected = [3 * SECOND / 4, 7 * SECOND / 4, 11 * SECOND / 4];
    assert_eq!(pulses(&mut clock, 0, 3 * SECOND), expected);
    assert_eq!(get(&mut clock, STATUS_C, at(3 * SECOND)), C_INTERRUPT | PERIODIC | UPDATE);
}

#[test]
fn an_update_is_announced_244_us_ahead() {
    let mut clock = Clock::new(at(0));
    let next = 3 * SECOND / 4;
    assert_eq!(get(&mut clock, STATUS_A, at(next - 244_001)), 0x26);
    assert_eq!(get(&mut clock, STATUS_A, at(next - 244_000)), 0xa6);
    assert_eq!(get(&mut clock, STATUS_A, at(next)), 0x26);
    let _ = set(&mut clock, STATUS_B, B_SET, at(next));
    assert_eq!(get(&mut clock, STATUS_A, at(next + SECOND - 1)), 0x26);
}

#[test]
fn the_alarm_rings_once_a_day_or_each_minute() {
    let mut clock = with_b(ALARM);
    for (register, value) in [(ALARM_HOURS, 0x14), (ALARM_MINUTES, 0x05), (ALARM_SECONDS, 0x11)] {
        assert_eq!(set(&mut clock, register, value, at(0)), Written::default());
    }
    let first = 7 * SECOND / 4;
    let mut soon = clock;
    let _ = set(&mut soon, ALARM_SECONDS, 0x10, at(0));
    assert_eq!(soon.deadline(at(0)), Time(3 * SECOND / 4), "in the next second");
    assert_eq!(pulses(&mut clock, 0, 86_400 * SECOND), [first]);
    assert_eq!(get(&mut clock, STATUS_C, at(86_400 * SECOND)) & (C_INTERRUPT | ALARM), C_INTERRUPT | ALARM);
    let _ = set(&mut clock, ALARM_HOURS, 0xff, at(0));
    let _ = set(&mut clock, ALARM_MINUTES, 0xff, at(0));
    let mut clock = Clock { updated: START as i64, ..clock };
    assert_eq!(pulses(&mut clock, 0, 180 * SECOND), [first, first + 60 * SECOND, first + 120 * SECOND]);
}

#[test]
fn an_alarm_rings_late_rather_than_not_at_all() {
    let mut clock = with_b(ALARM);
    for (register, value) in [(ALARM_HOURS, 0x15), (ALARM_MINUTES, 0), (ALARM_SECONDS, 0)] {
        let _ = set(&mut clock, register, value, at(0));
    }
    assert!(clock.advance(at(10_000_000 * SECOND), MissedTicks::NoDelay));
    assert!(!clock.advance(at(10_000_001 * SECOND), MissedTicks::NoDelay));
}

#[test]
fn the_periodic_interrupt_keeps_the_crystals_rate() {
    for (rate, per_second) in [(3, 8192), (6, 1024), (15, 2), (1, 256), (2, 128)] {
        let mut clock = with_b(PERIODIC);
        let _ = set(&mut clock, STATUS_A, 0x20 | rate, at(0));
        assert_eq!(pulses(&mut clock, 0, SECOND + 1).len(), per_second, "rate {rate}");
    }
    let mut clock = with_b(PERIODIC);
    let _ = set(&mut clock, STATUS_A, 0x70 | 6, at(0));
    assert_eq!(clock.deadline(at(0)), Time::NEVER, "the divider is held");
    let _ = set(&mut clock, STATUS_A, 0x20, at(0));
    assert_eq!(clock.deadline(at(0)), Time::NEVER, "no rate");
}

#[test]
fn missed_periodic_interrupts_are_flagged_anew_as_they_come() {
    let mut clock = with_b(PERIODIC);
    assert!(clock.advance(at(SECOND / 128), MissedTicks::NoDelay));
    for _ in 0..7 {
        assert_eq!(get(&mut clock, STATUS_C, at(SECOND / 128)), C_INTERRUPT | PERIODIC);
        assert_eq!(get(&mut clock, STATUS_C, at(SECOND / 128)), 0, "reading clears");
        assert!(clock.take());
    }
    assert!(!clock.take());
}

#[test]
fn ticks_that_were_missed_are_forgotten_with_the_interrupt() {
    let mut clock = with_b(PERIODIC);
    assert!(clock.advance(at(SECOND / 128), MissedTicks::NoDelay));
    let _ = set(&mut clock, STATUS_B, PERIODIC | UPDATE, at(SECOND / 128));
    assert!(clock.take(), "it is still on");
    let _ = set(&mut clock, STATUS_B, UPDATE, at(SECOND / 128));
    assert!(!clock.take() && !clock.waits());
    assert!(!set(&mut clock, STATUS_B, UPDATE | ALARM, at(SECOND / 128)).pulse, "nothing is flagged for it");
}

#[test]
fn an_event_that_is_not_enabled_is_flagged_and_interrupts_when_enabled() {
    let mut clock = Clock::new(at(0));
    assert!(!clock.advance(at(SECOND), MissedTicks::NoDelay));
    assert_eq!(clock.deadline(at(SECOND)), Time::NEVER);
    let written = set(&mut clock, STATUS_B, B_24_HOURS | UPDATE, at(SECOND));
    assert!(written.pulse);
    assert!(!set(&mut clock, STATUS_B, B_24_HOURS | UPDATE, at(SECOND)).pulse, "it was enabled before");
    assert_eq!(get(&mut clock, STATUS_C, at(SECOND)), C_INTERRUPT | PERIODIC | UPDATE);
}

#[test]
fn the_memory_behind_the_registers_is_not_the_clocks() {
    let mut clock = Clock::new(at(0));
    for (index, is_own) in [(13, true), (14, false), (0x7f, false), (0x80, true), (0x8e, false)] {
        let _ = clock.write(0x70, index, at(0));
        assert_eq!(clock.is_selected(), is_own, "{index:#x}");
    }
}

#[test]
fn what_was_saved_goes_on_where_it_was() {
    let mut clock = with_b(PERIODIC | ALARM);
    let _ = set(&mut clock, HOURS, 0x03, at(0));
    let _ = set(&mut clock, ALARM_HOURS, 0x04, at(0));
    assert!(clock.advance(at(SECOND / 1000), MissedTicks::OneLate) && !clock.take());
    let record = clock.save(at(SECOND / 1000));
    assert_eq!(record.rtc_offset, -11 * 3600);
    assert_eq!(record.cmos_data, [9, 0, 5, 0, 3, 4, 7, 0x21, 0x11, 0x26, 0x26, 0x62, 0xc0, 0x80]);
    let mut loaded = Clock::load(&record, at(SECOND));
    assert_eq!(loaded.save(at(SECOND / 1000)), record);
    assert_eq!(get(&mut loaded, SECONDS, at(SECOND)), 0x10);
}

proptest! {
    #[test]
    fn a_record_of_anything_gives_what_a_guest_could_have_set(
        cmos_data: [u8; 14], cmos_index: u8, rtc_offset: i64, ns in 0u64..1 << 60, later in 0u64..1 << 60,
    ) {
        let record = HvmHwRtc { cmos_data, cmos_index, pad0: 1, rtc_offset };
        let mut clock = Clock::load(&record, at(ns));
        let saved = clock.save(at(ns));
        prop_assert_eq!(Clock::load(&saved, at(ns)).save(at(ns)), saved);
        prop_assert_eq!(Clock::load(&saved, at(ns)), clock);
        let now = at(ns + later);
        let _ = clock.advance(now, MissedTicks::NoDelay);
        prop_assert!(clock.deadline(now) > now.time);
        let flags = clock.get(STATUS_C);
        prop_assert_eq!(flags & C_INTERRUPT != 0, clock.enabled(flags & EVENTS));
        for index in 0..14 {
            let _ = get(&mut clock, index, now);
            let _ = set(&mut clock, index, saved.cmos_data[usize::from(13 - index)], now);
        }
    }
}
