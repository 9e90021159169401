mod external;
mod timers;

use alloc::vec::Vec;

use proptest::prelude::*;
use xen_abi::VcpuId;
use xenolith_hal::{Gpa, Time, TimeBase};

use super::*;
use crate::GeneralProtection;
use crate::interrupt::{Delivery, Destination};

const ID: u32 = 0x802;
const VERSION_MSR: u32 = 0x803;
const TPR: u32 = 0x808;
const PPR: u32 = 0x80a;
const EOI: u32 = 0x80b;
const LDR: u32 = 0x80d;
const SVR: u32 = 0x80f;
const ESR: u32 = 0x828;
const ICR: u32 = 0x830;
const LVT_TIMER: u32 = 0x832;
const LVT_ERROR: u32 = 0x837;
const TMICT: u32 = 0x838;
const TMCCT: u32 = 0x839;
const TDCR: u32 = 0x83e;
const SELF_IPI: u32 = 0x83f;

fn at(ns: u64) -> TimeBase {
    TimeBase { tsc: ns * 2, time: Time(ns), tsc_khz: 2_000_000 }
}

fn x2apic(vcpu: u32) -> Lapic {
    let mut lapic = Lapic::new(VcpuId(vcpu));
    lapic.write_base_msr(lapic.base_msr() | 0x400).unwrap();
    lapic.write_msr(SVR, 0x1ff, at(0)).unwrap();
    lapic
}

fn write(lapic: &mut Lapic, msr: u32, value: u64) -> Effect {
    lapic.write_msr(msr, value, at(0)).unwrap()
}

#[test]
fn identifiers_are_twice_the_number_of_the_vcpu() {
    let lapic = x2apic(9);
    assert_eq!(lapic.read_msr(ID, at(0)), Ok(18));
    assert_eq!(lapic.read_msr(LDR, at(0)), Ok(0x1_0004));
    assert_eq!(lapic.read_msr(VERSION_MSR, at(0)), Ok(0x5_0014));
    assert_eq!(Lapic::new(VcpuId(9)).read_page(0x20, 4, at(0)), 18 << 24);
}

#[test]
fn the_base_msr_allows_only_the_architectures_changes_of_mode() {
    let mut lapic = Lapic::new(VcpuId(0));
    assert_eq!(lapic.base_msr(), 0xfee0_0900);
    assert_eq!(Lapic::new(VcpuId(1)).base_msr(), 0xfee0_0800);
    assert_eq!(lapic.write_base_msr(0xfee0_0d00), Ok(()));
    assert_eq!(lapic.write_base_msr(0xfee0_0900), Err(GeneralProtection), "x2APIC to xAPIC");
    assert_eq!(lapic.write_base_msr(0xfee0_0500), Err(GeneralProtection), "x2APIC bit alone");
    assert_eq!(lapic.write_base_msr(0xfee0_0100), Ok(()), "off");
    assert_eq!(lapic.write_base_msr(0xfee0_0500), Err(GeneralProtection), "x2APIC bit while off");
    assert_eq!(lapic.write_base_msr(0xfee0_0d00), Err(GeneralProtection), "off to x2APIC");
    assert_eq!(lapic.write_base_msr(0xfee0_0900), Ok(()));
    assert_eq!(lapic.write_base_msr(0xfee0_0901), Err(GeneralProtection), "reserved bit");
    assert_eq!(lapic.write_base_msr(0x1_0000_fee0_0900), Ok(()), "another page");
    assert_eq!(lapic.page(), Some(Gpa(0x1_0000_fee0_0000)));
    assert_eq!(lapic.write_base_msr(0x10_0000_0000_0900), Err(GeneralProtection), "an address too wide");
    assert_eq!(lapic.write_base_msr(0xfee0_0d00), Ok(()));
    assert_eq!((lapic.base_msr(), lapic.page()), (0xfee0_0d00, None));
}

#[test]
fn turning_the_local_apic_on_again_resets_it() {
    let mut lapic = x2apic(0);
    lapic.raise(0x40, Trigger::Edge);
    lapic.write_base_msr(0xfee0_0100).unwrap();
    assert_eq!(lapic.highest_pending(), None);
    lapic.write_base_msr(0xfee0_0900).unwrap();
    assert!(!lapic.is_enabled());
    lapic.write_page(0xf0, 4, 0x1ff, at(0));
    assert!(lapic.is_enabled());
    assert_eq!(lapic.highest_pending(), None);
}

#[test]
fn msrs_fault_outside_x2apic_mode_and_the_page_is_gone_inside() {
    let mut lapic = Lapic::new(VcpuId(0));
    assert_eq!(lapic.read_msr(ID, at(0)), Err(GeneralProtection));
    assert_eq!(lapic.write_msr(EOI, 0, at(0)), Err(GeneralProtection));
    let mut lapic2 = x2apic(0);
    assert_eq!(lapic2.read_page(0x30, 4, at(0)), u32::MAX);
    assert_eq!(lapic2.write_page(0x80, 4, 0x20, at(0)), Effect::None);
    assert_eq!(lapic2.read_msr(TPR, at(0)), Ok(0));
    lapic.write_page(0x80, 4, 0x20, at(0));
    assert_eq!(lapic.read_page(0x80, 4, at(0)), 0x20);
}

#[test]
fn exactly_the_registers_that_xen_has_can_be_read() {
    let lapic = x2apic(0);
    let readable: Vec<u32> = x2apic::MSRS.filter(|msr| lapic.read_msr(*msr, at(0)).is_ok()).collect();
    let mut expected = alloc::vec![0x802, 0x803, 0x808, 0x80a, 0x80d, 0x80f];
    expected.extend(0x810..=0x828);
    expected.push(0x82f);
    expected.push(0x830);
    expected.extend(0x832..=0x839);
    expected.push(0x83e);
    assert_eq!(readable, expected);
}

#[test]
fn exactly_the_registers_that_xen_has_can_be_written() {
    let writable: Vec<u32> = x2apic::MSRS.filter(|msr| x2apic(0).write_msr(*msr, 0, at(0)).is_ok()).collect();
    let mut expected = alloc::vec![0x808, 0x80b, 0x80f, 0x828, 0x82f, 0x830];
    expected.extend(0x832..=0x838);
    expected.extend([0x83e, 0x83f]);
    assert_eq!(writable, expected);
}

#[test]
fn bits_that_do_not_exist_fault() {
    let reserved = [
        (TPR, 0x100),
        (EOI, 1),
        (ESR, 1),
        (SVR, 0x1000),
        (LVT_TIMER, 0x8_0000),
        (0x833, 0x2000),
        (0x835, 0x2_0000),
        (LVT_ERROR, 0x100),
        (TDCR, 4),
        (SELF_IPI, 0x100),
        (ICR, 0x1000),
        (ICR, 0x10_0000),
    ];
    for (msr, value) in reserved {
        assert_eq!(x2apic(0).write_msr(msr, value, at(0)), Err(GeneralProtection), "{msr:#x}");
    }
}

#[test]
fn linux_brings_an_ap_up_by_init_and_two_startups() {
    let mut boot = x2apic(0);
    let send =
        |delivery| Effect::Send(Message { destination: Destination::Physical(2), delivery, trigger: Trigger::Edge });
    assert_eq!(write(&mut boot, ICR, 0x2_0000_c500), send(Delivery::Init));
    assert_eq!(write(&mut boot, ICR, 0x2_0000_8500), Effect::None);
    assert_eq!(write(&mut boot, ICR, 0x2_0000_0699), send(Delivery::Startup(0x99)));
    assert_eq!(boot.read_msr(ICR, at(0)), Ok(0x2_0000_0699));
    let mut ap = Lapic::new(VcpuId(1));
    assert!(ap.is_meant(Destination::Physical(2), false));
    assert!(!boot.is_meant(Destination::Physical(2), true));
    assert_eq!(ap.receive(Delivery::Init, Trigger::Edge), Receipt::Init);
    assert_eq!(ap.receive(Delivery::Startup(0x99), Trigger::Edge), Receipt::Startup(0x99));
}

#[test]
fn shorthands_name_the_sender_all_and_the_others() {
    let mut lapic = x2apic(0);
    let fixed =
        |destination| Effect::Send(Message { destination, delivery: Delivery::Fixed(0x50), trigger: Trigger::Edge });
    assert_eq!(write(&mut lapic, ICR, 0x8_0050), fixed(Destination::All));
    assert_eq!(write(&mut lapic, ICR, 0xc_0050), fixed(Destination::Others));
    assert_eq!(write(&mut lapic, ICR, 0xffff_ffff_0000_0050), fixed(Destination::All));
    assert_eq!(lapic.highest_pending(), None);
    assert_eq!(write(&mut lapic, ICR, 0x4_0050), Effect::None);
    assert_eq!(lapic.highest_pending(), Some(0x50));
    assert!(lapic.is_meant(Destination::All, true) && !lapic.is_meant(Destination::Others, true));
    assert!(lapic.is_meant(Destination::Others, false));
}

#[test]
fn a_self_ipi_is_pending_at_once() {
    let mut lapic = x2apic(0);
    assert_eq!(write(&mut lapic, SELF_IPI, 0x61), Effect::None);
    assert_eq!(lapic.highest_deliverable(), Some(0x61));
}

#[test]
fn logical_destinations_in_the_three_formats() {
    let x2 = x2apic(9);
    assert!(x2.is_meant(Destination::Logical(0x1_0004), false));
    assert!(x2.is_meant(Destination::Logical(0x1_ffff), false));
    assert!(!x2.is_meant(Destination::Logical(0x0_ffff), false));

    let mut flat = Lapic::new(VcpuId(1));
    flat.write_page(0xd0, 4, 0x0200_0000, at(0));
    assert!(flat.is_meant(Destination::Logical(0x82), false));
    assert!(!flat.is_meant(Destination::Logical(0x81), false));

    let mut cluster = Lapic::new(VcpuId(1));
    cluster.write_page(0xe0, 4, 0, at(0));
    cluster.write_page(0xd0, 4, 0x3200_0000, at(0));
    assert!(cluster.is_meant(Destination::Logical(0x36), false));
    assert!(cluster.is_meant(Destination::Logical(0xf2), false));
    assert!(!cluster.is_meant(Destination::Logical(0x26), false));
    assert!(!cluster.is_meant(Destination::Logical(0x34), false));
}

#[test]
fn a_disabled_local_apic_drops_messages_but_keeps_what_is_raised() {
    let mut lapic = Lapic::new(VcpuId(0));
    assert_eq!(lapic.receive(Delivery::Fixed(0x40), Trigger::Edge), Receipt::Nothing);
    lapic.raise(0xf3, Trigger::Edge);
    assert_eq!(lapic.highest_pending(), None);
    lapic.write_page(0xf0, 4, 0x1ff, at(0));
    assert_eq!(lapic.highest_pending(), Some(0xf3));
    assert!(lapic.accept(0xf3));
    assert_eq!(lapic.highest_pending(), None, "0x40 was dropped");
}

#[test]
fn two_of_one_vector_become_one() {
    let mut lapic = x2apic(0);
    assert_eq!(lapic.receive(Delivery::Fixed(0x40), Trigger::Edge), Receipt::Pending);
    assert_eq!(lapic.receive(Delivery::LowestPriority(0x40), Trigger::Edge), Receipt::Merged);
    assert!(lapic.accept(0x40));
    assert!(!lapic.accept(0x40));
    // One may wait while one is in service.
    assert_eq!(lapic.receive(Delivery::Fixed(0x40), Trigger::Edge), Receipt::Pending);
    assert_eq!(lapic.highest_pending(), None);
    write(&mut lapic, EOI, 0);
    assert_eq!(lapic.highest_pending(), Some(0x40));
}

#[test]
fn only_a_higher_class_interrupts_what_is_in_service() {
    let mut lapic = x2apic(0);
    lapic.raise(0x55, Trigger::Edge);
    assert!(lapic.accept(0x55));
    lapic.raise(0x5f, Trigger::Edge);
    assert_eq!(lapic.highest_pending(), None);
    lapic.raise(0x60, Trigger::Edge);
    assert_eq!(lapic.highest_pending(), Some(0x60));
    assert_eq!(lapic.read_msr(PPR, at(0)), Ok(0x50));
    assert!(lapic.accept(0x60));
    assert_eq!(lapic.read_msr(PPR, at(0)), Ok(0x60));
    write(&mut lapic, EOI, 0);
    assert_eq!(lapic.read_msr(PPR, at(0)), Ok(0x50));
    write(&mut lapic, EOI, 0);
    assert_eq!(lapic.highest_pending(), Some(0x5f));
}

#[test]
fn the_task_priority_holds_back_but_the_vector_is_offered() {
    let mut lapic = x2apic(0);
    lapic.raise(0x35, Trigger::Edge);
    write(&mut lapic, TPR, 0x30);
    assert_eq!(lapic.highest_pending(), Some(0x35));
    assert_eq!(lapic.highest_deliverable(), None);
    assert_eq!(lapic.task_priority_class(), 3);
    lapic.set_task_priority_class(2);
    assert_eq!(lapic.read_msr(TPR, at(0)), Ok(0x20));
    assert_eq!(lapic.highest_deliverable(), Some(0x35));
}

#[test]
fn the_end_of_a_level_interrupt_is_reported() {
    let mut lapic = x2apic(0);
    lapic.raise(0x41, Trigger::Level);
    lapic.accept(0x41);
    assert_eq!(write(&mut lapic, EOI, 0), Effect::EndOfInterrupt(0x41));
    lapic.raise(0x41, Trigger::Edge);
    lapic.accept(0x41);
    assert_eq!(write(&mut lapic, EOI, 0), Effect::None);
    assert_eq!(write(&mut lapic, EOI, 0), Effect::None, "nothing is in service");
}

#[test]
fn illegal_vectors_show_in_the_error_register_after_a_write() {
    let mut lapic = x2apic(0);
    assert_eq!(write(&mut lapic, ICR, 0x200_0000_0005), Effect::None);
    assert_eq!(lapic.receive(Delivery::Fixed(3), Trigger::Edge), Receipt::Nothing);
    assert_eq!(lapic.read_msr(ESR, at(0)), Ok(0));
    write(&mut lapic, ESR, 0);
    assert_eq!(lapic.read_msr(ESR, at(0)), Ok(0x60));
    write(&mut lapic, ESR, 0);
    assert_eq!(lapic.read_msr(ESR, at(0)), Ok(0));
}

#[test]
fn an_error_interrupts_through_its_entry_even_if_that_is_illegal_too() {
    let mut lapic = x2apic(0);
    write(&mut lapic, LVT_ERROR, 0xfe);
    lapic.raise(1, Trigger::Edge);
    assert_eq!(lapic.highest_pending(), Some(0xfe));
    let mut lapic = x2apic(0);
    write(&mut lapic, LVT_ERROR, 0x02);
    write(&mut lapic, SELF_IPI, 0x03);
    assert_eq!(lapic.highest_pending(), None);
    write(&mut lapic, ESR, 0);
    assert_eq!(lapic.read_msr(ESR, at(0)), Ok(0x60));
}

#[test]
fn local_entries_stay_masked_while_software_disabled() {
    let mut lapic = x2apic(0);
    write(&mut lapic, LVT_ERROR, 0xfe);
    write(&mut lapic, SVR, 0xff);
    assert_eq!(lapic.read_msr(LVT_ERROR, at(0)), Ok(0x1_00fe));
    write(&mut lapic, LVT_ERROR, 0xfe);
    assert_eq!(lapic.read_msr(LVT_ERROR, at(0)), Ok(0x1_00fe));
}

#[test]
fn the_focus_bit_is_kept_and_a_counts_upper_half_dropped() {
    let mut lapic = x2apic(0);
    write(&mut lapic, SVR, 0x3ff);
    assert_eq!(lapic.read_msr(SVR, at(0)), Ok(0x3ff));
    write(&mut lapic, TMICT, 1 << 32);
    assert_eq!(lapic.read_msr(TMICT, at(0)), Ok(0));
}

#[test]
fn init_keeps_the_mode_and_forgets_the_rest() {
    let mut lapic = x2apic(3);
    lapic.raise(0x40, Trigger::Edge);
    write(&mut lapic, LVT_TIMER, 0xec);
    lapic.init();
    assert!(lapic.is_x2apic() && !lapic.is_enabled());
    assert_eq!(lapic.read_msr(LVT_TIMER, at(0)), Ok(0x1_0000));
    assert_eq!(lapic.read_msr(SVR, at(0)), Ok(0xff));
    assert_eq!(lapic.read_msr(ID, at(0)), Ok(6));
    lapic.reset();
    assert!(lapic.is_xapic());
}

#[test]
fn narrow_and_odd_accesses_to_the_page_touch_only_their_bytes() {
    let mut lapic = Lapic::new(VcpuId(0));
    lapic.write_page(0xd3, 1, 0x7f, at(0));
    assert_eq!(lapic.read_page(0xd0, 4, at(0)), 0x7f00_0000);
    assert_eq!(lapic.read_page(0xd3, 1, at(0)), 0x7f);
    assert_eq!(lapic.read_page(0xd2, 2, at(0)), 0x7f00);
    assert_eq!(lapic.read_page(0x34, 4, at(0)), 0);
    assert_eq!(lapic.write_page(0xff0, 4, 1, at(0)), Effect::None);
    assert_eq!(lapic.read_page(0xfff, 4, at(0)), 0);
}

#[test]
fn an_xapic_sends_to_the_upper_byte_of_its_command() {
    let mut lapic = Lapic::new(VcpuId(0));
    lapic.write_page(0x310, 4, 0x0200_0000, at(0));
    let effect = lapic.write_page(0x300, 4, 0x0000_4899, at(0));
    let message =
        Message { destination: Destination::Logical(2), delivery: Delivery::Fixed(0x99), trigger: Trigger::Edge };
    assert_eq!(effect, Effect::Send(message));
}

#[derive(Clone, Debug)]
enum Step {
    Raise(u8),
    AcceptHighest,
    EndOfInterrupt,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (16u8..=255).prop_map(Step::Raise),
        2 => Just(Step::AcceptHighest),
        2 => Just(Step::EndOfInterrupt),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    /// Compares with a naive model: a set of pending vectors and a stack of those in service.
    #[test]
    fn interrupts_nest_by_priority_class_and_none_is_lost(steps in steps()) {
        let mut lapic = x2apic(0);
        let mut pending = alloc::collections::BTreeSet::new();
        let mut in_service: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Raise(vector) => prop_assert_eq!(lapic.raise(vector, Trigger::Edge), pending.insert(vector)),
                Step::AcceptHighest => {
                    let class = in_service.last().map_or(0, |vector| vector >> 4);
                    let expected = pending.last().copied().filter(|vector| vector >> 4 > class);
                    prop_assert_eq!(lapic.highest_pending(), expected);
                    if let Some(vector) = expected {
                        prop_assert!(lapic.accept(vector));
                        pending.remove(&vector);
                        in_service.push(vector);
                    }
                }
                Step::EndOfInterrupt => {
                    in_service.pop();
                    prop_assert_eq!(lapic.write_msr(EOI, 0, at(0)), Ok(Effect::None));
                }
            }
        }
    }

    /// No access, however odd, panics (overflow checks are on in tests).
    #[test]
    fn no_sequence_of_accesses_overflows(
        accesses in proptest::collection::vec((0x7f0u32..0x910, any::<u64>(), any::<u32>(), 0u32..5), 0..100),
    ) {
        let (mut x2, mut x) = (x2apic(0), Lapic::new(VcpuId(u32::MAX)));
        for (number, value, ns, bytes) in accesses {
            let now = at(u64::from(ns));
            let _ = x2.write_msr(number, value, now);
            let _ = x2.write_msr(number, value & 0xff, now);
            let _ = x2.read_msr(number, now);
            x2.set_tsc_deadline(value, now);
            x.write_page(number & 0xfff, bytes, value as u32, now);
            let _ = x.read_page(number & 0xfff, bytes, now);
        }
    }
}
