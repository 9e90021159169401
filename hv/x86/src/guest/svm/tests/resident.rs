//! What stays in the CPU from run to run: the FPU, the debug registers, the page attributes.

use super::*;
use xenolith_hal::{EventInFlight, EventKind};

#[test]
fn the_fpu_follows_its_vcpu_from_cpu_to_cpu() {
    let first = cpus();
    let (space, mut one, mut other) = (space().0, vcpu(), vcpu());
    then(|_, _| change_physical(|state| state.fpu = 111));
    one.run(&space, RunControl::default(), &mut ());
    one.park();
    then(|_, _| {
        assert_eq!(physical().fpu, 0x37f, "the state after a reset, and not the other's");
        change_physical(|state| state.fpu = 222);
    });
    other.run(&space, RunControl::default(), &mut ());
    go_to(first + 1);
    then(|_, _| assert_eq!(physical().fpu, 111));
    one.run(&space, RunControl::default(), &mut ());
}

#[test]
fn what_is_loaded_from_outside_is_in_the_cpu_when_the_guest_runs() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    let mut image = [0; 512];
    image[FPU_AT..FPU_AT + 2].copy_from_slice(&[0x11, 0x22]);
    // Bits of MXCSR that no CPU has would be a fault when they are loaded.
    image[24..28].copy_from_slice(&[0xff; 4]);
    vcpu.set_fpu_image(Some(&image));
    assert_eq!(vcpu.fpu_image()[24..28], [0xff, 0xff, 0, 0]);
    vcpu.set_debug_addresses([5, 6, 7, 8]);
    let event = EventInFlight { vector: 13, kind: EventKind::Exception, error_code: Some(0x55) };
    vcpu.set_undelivered_event(Some(event));
    assert_eq!((vcpu.undelivered_event(), vcpu.debug_addresses()), (Some(event), [5, 6, 7, 8]));
    then(|_, vmcb| {
        assert_eq!(physical().fpu, 0x2211);
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x55_8000_0b0d);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    assert_eq!(vcpu.undelivered_event(), None);
    vcpu.park();
    vcpu.set_fpu_image(None);
    then(|_, _| assert_eq!(physical().fpu, 0x37f));
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn a_guests_wish_for_misaligned_operands_is_kept_where_the_cpu_has_it() {
    cpus();
    let mut image = [0; 512];
    image[24..28].copy_from_slice(&[0xff; 4]);
    set_features(Features { misaligned_sse: true, ..FEATURES });
    let mut vcpu = vcpu();
    set_features(FEATURES);
    vcpu.set_fpu_image(Some(&image));
    assert_eq!(vcpu.fpu_image()[24..28], [0xff, 0xff, 2, 0]);
}

#[test]
fn a_cpu_that_still_holds_another_vcpu_is_refused() {
    cpus();
    let (space, mut one, mut other) = (space().0, vcpu(), vcpu());
    run(&mut one, &space, RunControl::default(), INTR);
    assert_eq!(other.run(&space, RunControl::default(), &mut ()), Exit::InvalidState);
    drop(one);
    assert_eq!(run(&mut other, &space, RunControl::default(), HLT), Exit::Halt { interrupts_enabled: false });
}

#[test]
fn debug_registers_are_the_guests_from_their_first_use_until_it_is_parked() {
    const WRITE_DR0: u64 = 0x30;
    cpus();
    change_physical(|state| state.debug = [77; 4]);
    let (space, mut vcpu) = (space().0, vcpu());
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), WRITE_DR0), Exit::Interrupted);
    assert_eq!(physical().debug, [0; 4], "another guest's values are gone");
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::REGISTER_INTERCEPTS), 0);
        change_physical(|state| state.debug = [1, 2, 3, 4]);
        vmcb.set(Field::EXIT_CODE, INTR);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    vcpu.park();
    change_physical(|state| state.debug = [0; 4]);
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::REGISTER_INTERCEPTS), 0xffff_ffff << 32);
        vmcb.set(Field::EXIT_CODE, WRITE_DR0);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    assert_eq!(physical().debug, [1, 2, 3, 4]);
}

#[test]
fn each_guest_has_its_own_page_attributes_on_a_cpu_that_has_one_table_for_all() {
    const RESET: u64 = 0x0007_0406_0007_0406;
    cpus();
    emulate(true);
    let (space, mut one, mut other) = (space().0, vcpu(), vcpu());
    let writes = |value| then(move |_, _| change_physical(|state| state.page_attributes = value));
    writes(1);
    one.run(&space, RunControl::default(), &mut ());
    assert_eq!(one.msr(HardwareMsr::Pat), 1, "also while it is in the CPU");
    one.park();
    then(|_, _| assert_eq!(physical().page_attributes, RESET));
    other.run(&space, RunControl::default(), &mut ());
    other.set_msr(HardwareMsr::Pat, 4).unwrap();
    then(|_, _| assert_eq!(physical().page_attributes, 4));
    other.run(&space, RunControl::default(), &mut ());
    writes(2);
    other.run(&space, RunControl::default(), &mut ());
    other.park();
    assert_eq!((one.state().pat, other.state().pat), (1, 4), "2 is none that a CPU has");
    then(|_, _| assert_eq!(physical().page_attributes, 1));
    one.run(&space, RunControl::default(), &mut ());
    one.park();
    emulate(false);
}
