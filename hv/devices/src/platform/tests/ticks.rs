//! Ticks of the timers, and the clock.

use proptest::prelude::*;

use super::*;

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
    assert!(platform.waiting_lines() == 1 && !platform.awaits_interrupt());
    entry(&mut platform, 2, 0x30);
    assert!(platform.awaits_interrupt());
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
