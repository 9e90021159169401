use super::*;
use crate::GeneralProtection;
use xen_abi::Gfn;
use xen_abi::hvm_param::{HVMPV_BASE_FREQ, HVMPV_FEATURE_MASK, HVMPV_NO_FREQ, HVMPV_STIMER};
use xen_abi::hvm_save::HvmViridianVcpuContext;

/// A counter whose ticks are a power of two for each count.
const KHZ: u32 = 1_280_000;
const TICKS: u64 = 128;
const FIRST: VcpuId = VcpuId(0);
const SCONTROL: u32 = 0x4000_0080;
const SIMP: u32 = 0x4000_0083;
const EOM: u32 = 0x4000_0084;
const SINT2: u32 = 0x4000_0092;
const CONFIG: u32 = 0x4000_00b0;
const COUNT: u32 = 0x4000_00b1;
const ENABLED: u64 = 1;
const PERIODIC: u64 = 2;
const AUTOMATIC: u64 = 8;
const SOURCE_2: u64 = 2 << 16;

fn with(features: u64) -> Viridian {
    Viridian::new(features, 2, KHZ, 0).unwrap()
}

fn everything() -> Viridian {
    with(HVMPV_FEATURE_MASK & !HVMPV_NO_FREQ)
}

fn value(state: &Viridian, msr: u32, tsc: u64) -> Option<u64> {
    match state.read_msr(FIRST, msr, tsc) {
        Ok(Read::Value(value)) => Some(value),
        _ => None,
    }
}

/// A vCPU with messages of source 2 in frame 7, as interrupts of vector 0x61.
fn with_messages() -> Viridian {
    let mut state = everything();
    for (msr, value) in [(SIMP, 0x7001), (SCONTROL, 1), (SINT2, 0x61)] {
        assert!(state.write_msr(FIRST, msr, value, 0).is_ok());
    }
    state
}

/// Looks at the timers; returns what came of it, and the messages.
fn poll(state: &mut Viridian, tsc: u64, placed: Option<bool>) -> (Polled, Vec<(Gfn, usize, Message)>) {
    let now = state.count(tsc);
    let mut messages = Vec::new();
    let polled = state.processor(FIRST).unwrap().poll(now, &mut |gfn, source, message| {
        messages.push((gfn, source, *message));
        placed
    });
    (polled, messages)
}

fn set(state: &mut Viridian, config: u64, count: u64, tsc: u64) {
    assert_eq!(state.write_msr(FIRST, CONFIG, config, tsc), Ok(Written::Timers));
    assert_eq!(state.write_msr(FIRST, COUNT, count, tsc), Ok(Written::Timers));
}

#[test]
fn a_one_shot_timer_sends_one_message() {
    let mut state = with_messages();
    set(&mut state, SOURCE_2 | AUTOMATIC, 50, 0);
    assert_eq!(value(&state, CONFIG, 0), Some(SOURCE_2 | AUTOMATIC | ENABLED));
    assert_eq!(poll(&mut state, 49 * TICKS, Some(true)).0.due, Some(50));
    let (polled, messages) = poll(&mut state, 60 * TICKS, Some(true));
    assert_eq!(messages, [(Gfn(7), 2, [0x18_8000_0010, 0, 0, 50, 60])]);
    assert_eq!((polled.due, polled.vectors), (None, [Some(0x61), None, None, None]));
    assert_eq!(value(&state, CONFIG, 0), Some(SOURCE_2 | AUTOMATIC));
    assert!(poll(&mut state, 1000 * TICKS, Some(true)).1.is_empty());
}

#[test]
fn a_periodic_timer_passes_over_periods_that_were_missed() {
    let mut state = with_messages();
    set(&mut state, SOURCE_2 | PERIODIC | AUTOMATIC, 50, 0);
    let (polled, messages) = poll(&mut state, 175 * TICKS, Some(true));
    assert_eq!((messages.len(), polled.due), (1, Some(200)));
    assert_eq!(poll(&mut state, 200 * TICKS, Some(true)).0.due, Some(250));
}

#[test]
fn a_message_waits_until_the_guest_says_that_its_slot_is_free() {
    let mut state = with_messages();
    set(&mut state, SOURCE_2 | AUTOMATIC, 50, 0);
    let (polled, messages) = poll(&mut state, 60 * TICKS, Some(false));
    assert_eq!((messages.len(), polled.due, polled.vectors), (1, None, [None; 4]));
    assert!(poll(&mut state, 70 * TICKS, Some(true)).1.is_empty(), "it was not asked to look again");
    assert_eq!(state.write_msr(FIRST, EOM, 0, 0), Ok(Written::Timers));
    assert_eq!(poll(&mut state, 80 * TICKS, Some(true)).1, [(Gfn(7), 2, [0x18_8000_0010, 0, 0, 50, 80])]);
}

#[test]
fn a_message_waits_for_a_page() {
    let mut state = with_messages();
    assert!(state.write_msr(FIRST, SIMP, 0x7000, 0).is_ok());
    set(&mut state, SOURCE_2 | AUTOMATIC, 50, 0);
    assert!(poll(&mut state, 60 * TICKS, Some(true)).1.is_empty());
    assert!(state.write_msr(FIRST, SIMP, 0x7001, 0).is_ok());
    assert_eq!(poll(&mut state, 60 * TICKS, None).0.vectors, [None; 4], "the frame is gone");
    assert_eq!(poll(&mut state, 60 * TICKS, Some(true)).0.vectors[0], Some(0x61));
}

#[test]
fn a_masked_source_raises_no_interrupt() {
    let mut state = with_messages();
    assert!(state.write_msr(FIRST, SINT2, 0x1_0061, 0).is_ok());
    set(&mut state, SOURCE_2 | AUTOMATIC, 50, 0);
    let (polled, messages) = poll(&mut state, 60 * TICKS, Some(true));
    assert_eq!((messages.len(), polled.vectors), (1, [None; 4]));
}

#[test]
fn no_period_of_nothing_divides_time() {
    for (config, count) in [(ENABLED, 0), (ENABLED | PERIODIC, 0), (AUTOMATIC | PERIODIC, 0), (PERIODIC | ENABLED, 1)] {
        let mut state = with_messages();
        set(&mut state, SOURCE_2 | config, count, 0);
        // Enabled once more, with the count as it is.
        assert!(state.write_msr(FIRST, CONFIG, SOURCE_2 | config, 0).is_ok());
        for tsc in [0, 1, TICKS, u64::MAX / 2, u64::MAX] {
            let (_, messages) = poll(&mut state, tsc, Some(true));
            assert!(count != 0 || messages.is_empty());
        }
    }
}

#[test]
fn the_ends_of_time_are_no_end_of_the_machine() {
    let mut state = with_messages();
    for config in [ENABLED, ENABLED | PERIODIC] {
        for count in [1, u64::MAX / 2, u64::MAX] {
            for tsc in [0, u64::MAX] {
                set(&mut state, SOURCE_2 | config | AUTOMATIC, count, tsc);
                let _ = poll(&mut state, tsc, Some(true));
                let _ = poll(&mut state, u64::MAX, Some(true));
            }
        }
    }
}

#[test]
fn a_timer_without_a_source_is_not_enabled() {
    let mut state = with_messages();
    set(&mut state, ENABLED, 50, 0);
    assert_eq!(value(&state, CONFIG, 0), Some(0));
    assert!(poll(&mut state, 60 * TICKS, Some(true)).1.is_empty());
}

#[test]
fn each_register_belongs_to_its_feature() {
    let base = with(HVMPV_BASE_FREQ | HVMPV_NO_FREQ);
    let timers = with(HVMPV_BASE_FREQ | HVMPV_STIMER);
    for msr in MSRS {
        let (least, most) = (base.read_msr(FIRST, msr, 0), everything().read_msr(FIRST, msr, 0));
        assert!(least.is_err() || least == most, "{msr:#x}");
        assert_eq!(
            timers.read_msr(FIRST, msr, 0).is_ok() && least.is_err() && !matches!(msr, 0x4000_0022..=0x4000_0023),
            (CONFIG..CONFIG + 8).contains(&msr),
            "{msr:#x}"
        );
    }
    let answered = MSRS.filter(|msr| base.read_msr(FIRST, *msr, 0).is_ok()).collect::<Vec<_>>();
    let crash = 0x4000_0100..=0x4000_0105;
    let identity = [0x4000_0000, 0x4000_0001, 0x4000_0002, 0x4000_0071, 0x4000_0072, 0x4000_0073];
    assert_eq!(answered, identity.into_iter().chain(crash).collect::<Vec<_>>());
}

#[test]
fn a_source_has_no_vector_of_an_exception() {
    let mut state = everything();
    for value in [0, 0xf, 0x1_0000, 0x1_000f] {
        assert_eq!(state.write_msr(FIRST, SINT2, value, 0), Err(GeneralProtection));
    }
    assert_eq!(value(&state, SINT2, 0), Some(0x1_0000));
    assert_eq!(state.write_msr(FIRST, SINT2, 0x2_0031, 0), Ok(Written::Timers));
    let own = state.processor(FIRST).unwrap();
    assert!(own.ends_by_itself(0x31) && !own.ends_by_itself(0x32));
    assert_eq!(state.write_msr(FIRST, SINT2, 0x31, 0), Ok(Written::Timers));
    assert!(!state.processor(FIRST).unwrap().ends_by_itself(0x31));
}

#[test]
fn an_interrupt_needs_no_end_if_it_is_alone_and_the_guest_has_a_page_for_it() {
    let mut state = everything();
    assert_eq!(state.interrupt_taken(FIRST, 0x41, true), Taken::Nothing);
    assert_eq!(state.write_msr(FIRST, 0x4000_0073, 0x5001, 0), Ok(Written::ClearPage(Gfn(5))));
    assert_eq!(state.interrupt_taken(FIRST, 0x41, false), Taken::Nothing);
    assert_eq!(state.interrupt_taken(VcpuId(1), 0x41, true), Taken::Nothing, "the other vCPU's page");
    assert_eq!(state.interrupt_taken(FIRST, 0x41, true), Taken::Assisted(Gfn(5)));
    assert_eq!(state.processor(FIRST).unwrap().assisted(), Some(Gfn(5)));
    state.processor(FIRST).unwrap().end_assistance();
    assert_eq!(state.processor(FIRST).unwrap().assisted(), None);
    let mut without = with(HVMPV_BASE_FREQ);
    assert_eq!(without.write_msr(FIRST, 0x4000_0073, 0x5001, 0), Ok(Written::ClearPage(Gfn(5))));
    assert_eq!(without.interrupt_taken(FIRST, 0x41, true), Taken::Nothing);
}

#[test]
fn page_and_register_tell_the_same_time() {
    for (khz, tsc, shift) in [(KHZ, 12_345_678_901, 0), (2_399_998, 1 << 50, -987_654_321), (3, 1000, 500), (0, 5, 5)] {
        let state = Viridian::new(HVMPV_FEATURE_MASK, 1, khz, 1000).unwrap();
        let [scale, offset] = state.clock(tsc, shift);
        for later in [0, 1, 1_000_000_000] {
            let own = (tsc + later).wrapping_add_signed(shift);
            let by_page = ((u128::from(own) * u128::from(scale)) >> 64) as u64;
            let apart = by_page.wrapping_add(offset).wrapping_sub(state.count(tsc + later)).cast_signed();
            assert!(apart.abs() <= 1, "{apart} at {khz} kHz");
        }
    }
    assert_eq!(everything().count(1000 * TICKS), 1000);
}

#[test]
fn leaves_say_what_there_is() {
    let mut state = everything();
    assert_eq!(leaf(&state, 0x4000_0004).eax, 0, "before the guest says what it is");
    assert_eq!(leaf(&state, 0x4000_0003).eax, 0xa7e);
    assert!(state.write_msr(FIRST, 0x4000_0000, 0x8100_0601_0000_0000, 0).is_ok());
    assert_eq!(leaf(&state, 0x4000_0004).eax, 0xc2c);
    assert_eq!(leaf(&with(HVMPV_BASE_FREQ | HVMPV_NO_FREQ), 0x4000_0003).eax, 0x70);
    assert_eq!(leaf(&state, 0x4000_0000).eax, 0x4000_0006);
    assert_eq!(leaf(&state, 0x4000_0007), xenolith_hal::CpuidRegisters::default());
}

#[test]
fn a_sparse_set_has_no_vcpu_that_its_banks_do_not_have() {
    // Flush of a set: space, flags, format, mask of banks, banks.
    let control = Control(0x13);
    let all: Vec<u64> = [0, 0, 0, u64::MAX].into_iter().chain([1 << 63; 64]).collect();
    assert_eq!(control.banks(&all[..4]), 64);
    let (set, _) = control.set(&all).unwrap();
    for vcpu in (0..8192).chain([u32::MAX, 1 << 31]) {
        assert_eq!(set.contains(vcpu), vcpu < 4096 && vcpu % 64 == 63, "{vcpu}");
    }
    let (set, _) = control.set(&[0, 0, 0, 0b101, 2, 4]).unwrap();
    assert_eq!((0..4096).filter(|vcpu| set.contains(*vcpu)).collect::<Vec<_>>(), [1, 130]);
    // Banks that are named and not there.
    let (set, _) = control.set(&[0, 0, 0, u64::MAX, 1]).unwrap();
    assert_eq!((0..4096).filter(|vcpu| set.contains(*vcpu)).collect::<Vec<_>>(), [0]);
    assert_eq!(control.set(&[]).map(|(set, _)| set.contains(0)), Ok(false));
}

#[test]
fn interrupts_have_a_vector_and_no_other_level() {
    let control = Control(0xb);
    let set = |word| control.set(&[word, 0b10]).map(|(set, vector)| (set.contains(0), set.contains(1), vector));
    assert_eq!(set(0x61), Ok((false, true, 0x61)));
    for word in [0, 0xf, 0x100, 0x161, 1 << 32 | 0x61, u64::MAX] {
        assert_eq!(set(word), Err(5), "{word:#x}");
    }
}

#[test]
fn what_was_saved_goes_on() {
    let mut state = with_messages();
    assert!(state.write_msr(FIRST, 0x4000_0000, 0x1234, 0).is_ok());
    assert!(state.write_msr(FIRST, 0x4000_0073, 0x5001, 0).is_ok());
    state.processor(FIRST).unwrap().assisted = true;
    set(&mut state, SOURCE_2 | AUTOMATIC, 50, 0);
    assert!(poll(&mut state, 10 * TICKS, Some(true)).1.is_empty());
    let (domain, vcpu) = (state.save(20 * TICKS), state.save_vcpu(FIRST));
    let later = 1 << 40;
    let mut other = Viridian::new(HVMPV_FEATURE_MASK, 2, KHZ, 77).unwrap();
    other.load(&domain, later);
    assert_eq!(other.load_vcpu(FIRST, &vcpu, later), Ok(()));
    assert_eq!(other.save(later), domain);
    assert_eq!(other.save_vcpu(FIRST), vcpu);
    assert_eq!(other.processor(FIRST).unwrap().assisted(), Some(Gfn(5)));
    assert_eq!(poll(&mut other, later + 29 * TICKS, Some(true)).0.due, Some(50));
    assert_eq!(poll(&mut other, later + 31 * TICKS, Some(true)).1[0].2[3], 50);
}

#[test]
fn a_message_that_waited_is_not_lost_by_saving() {
    let mut state = with_messages();
    set(&mut state, SOURCE_2 | AUTOMATIC, 50, 0);
    assert_eq!(poll(&mut state, 60 * TICKS, Some(false)).1.len(), 1);
    assert_eq!(value(&state, CONFIG, 0), Some(SOURCE_2 | AUTOMATIC));
    let mut other = everything();
    other.load(&state.save(60 * TICKS), 0);
    assert_eq!(other.load_vcpu(FIRST, &state.save_vcpu(FIRST), 0), Ok(()));
    assert_eq!(poll(&mut other, 0, Some(true)).1[0].2[3], 50);
}

#[test]
fn a_record_of_what_cannot_be_changes_nothing() {
    let mut state = with_messages();
    let before = state.clone();
    let mut record = HvmViridianVcpuContext { simp_msr: 0x9001, ..state.save_vcpu(FIRST) };
    record.sint_msr[15] = 3;
    assert!(state.load_vcpu(FIRST, &record, 0).is_err());
    assert!(state.load_vcpu(VcpuId(2), &before.save_vcpu(FIRST), 0).is_err());
    assert_eq!(state, before);
}
