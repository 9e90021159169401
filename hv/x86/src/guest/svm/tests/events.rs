//! Interrupts, exceptions and NMIs: offered, injected, cut short.

use super::*;

#[test]
fn an_offered_interrupt_is_taken_when_the_cpu_clears_its_offer() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    assert_eq!(run(&mut vcpu, &space, offer(0xf3), HLT), Exit::Halt { interrupts_enabled: false });
    assert!(!vcpu.interrupt_taken());
    then(|_, vmcb| {
        vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !V_IRQ);
        vmcb.set(Field::EXIT_CODE, VMMCALL);
    });
    assert_eq!(vcpu.run(&space, offer(0xf3), &mut ()), Exit::Hypercall);
    assert!(vcpu.interrupt_taken());
    run(&mut vcpu, &space, RunControl::default(), HLT);
    assert!(!vcpu.interrupt_taken());
}

#[test]
fn an_interrupt_whose_delivery_was_cut_short_was_not_taken() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| {
        vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !V_IRQ);
        vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_00f3);
        vmcb.set(Field::EXIT_CODE, 0x400);
    });
    vcpu.run(&space, offer(0xf3), &mut ());
    assert!(!vcpu.interrupt_taken());
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0);
        assert_ne!(vmcb.get(Field::VIRTUAL_INTERRUPT) & V_IRQ, 0);
        vmcb.set(Field::EXIT_INTERRUPTION, 0);
    });
    vcpu.run(&space, offer(0xf3), &mut ());
}

#[test]
fn an_interrupt_that_was_handed_in_comes_again_when_its_delivery_is_cut_short() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    let event = EventInFlight { vector: 0xa4, kind: EventKind::Interrupt, error_code: None };
    vcpu.set_undelivered_event(Some(event));
    for control in [RunControl::default(), offer(0x31)] {
        then(|_, vmcb| {
            assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_00a4);
            vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_00a4);
            vmcb.set(Field::EXIT_CODE, 0x400);
        });
        vcpu.run(&space, control, &mut ());
        assert_eq!((vcpu.interrupt_taken(), vcpu.undelivered_event()), (false, Some(event)));
    }
    // It is delivered, and then the one that is offered is not.
    then(|_, vmcb| {
        vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !V_IRQ);
        vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_0031);
    });
    vcpu.run(&space, offer(0x31), &mut ());
    assert_eq!((vcpu.interrupt_taken(), vcpu.undelivered_event()), (false, None));
}

#[test]
fn an_exception_is_injected_once() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    vcpu.set_state(&CpuState::at_pvh_entry(0, 0)).unwrap();
    vcpu.inject(Exception { vector: 14, error_code: Some(2), address: Some(0x1234) });
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x2_8000_0b0e);
        assert_eq!(vmcb.get(Field::CR2), 0x1234);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0));
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn a_cut_short_exception_comes_again_unless_another_takes_its_place() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    for replaced in [false, true] {
        then(|_, vmcb| vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_030e));
        vcpu.run(&space, RunControl::default(), &mut ());
        if replaced {
            vcpu.inject(Exception::INVALID_OPCODE);
        }
        let expected = if replaced { 0x8000_0306 } else { 0x8000_030e };
        then(move |_, vmcb| {
            assert_eq!(vmcb.get(Field::EVENT_INJECTION), expected);
            vmcb.set(Field::EXIT_INTERRUPTION, 0);
        });
        vcpu.run(&space, RunControl::default(), &mut ());
    }
}

#[test]
fn an_nmi_comes_after_the_exceptions_that_came_between() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_0202));
    vcpu.run(&space, NMI, &mut ());
    assert!(vcpu.nmi_taken());
    vcpu.inject(Exception::INVALID_OPCODE);
    for (injected, cut_short) in [(0x8000_0306, 0x8000_0306), (0x8000_0306, 0), (0x8000_0202, 0), (0, 0)] {
        then(move |_, vmcb| {
            assert_eq!(vmcb.get(Field::EVENT_INJECTION), injected);
            vmcb.set(Field::EXIT_INTERRUPTION, cut_short);
        });
        vcpu.run(&space, RunControl::default(), &mut ());
    }
}

#[test]
fn a_second_nmi_waits_for_the_return_from_the_first() {
    const IRET: u64 = 0x74;
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_0202));
    vcpu.run(&space, NMI, &mut ());
    assert!(vcpu.nmi_taken());
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0);
        assert_ne!(vmcb.get(Field::INTERCEPTS) & 1 << (32 + 20), 0, "IRET exits");
        vmcb.set(Field::EXIT_CODE, IRET);
    });
    assert_eq!(vcpu.run(&space, NMI, &mut ()), Exit::Interrupted);
    assert!(!vcpu.nmi_taken());
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0, "not before the IRET itself");
        assert_eq!(vmcb.get(Field::INTERCEPTS) & 1 << (32 + 20), 0);
        vmcb.set(Field::INTERRUPT_SHADOW, 0);
        vmcb.set(Field::EXIT_CODE, INTR);
    });
    vcpu.run(&space, NMI, &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_0202));
    vcpu.run(&space, NMI, &mut ());
    assert!(vcpu.nmi_taken());
}

#[test]
fn a_host_interrupt_is_let_in_before_the_core_hears_of_it() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    let before = physical().windows;
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), INTR), Exit::Interrupted);
    assert_eq!(physical().windows, before + 1);
}

#[test]
fn an_emulated_cpu_is_asked_after_each_run_for_an_interrupt_that_it_forgot() {
    for (emulated, recalled) in [(true, 2), (false, 0)] {
        cpus();
        emulate(emulated);
        let (space, mut vcpu) = (space().0, vcpu());
        let before = physical().recalled;
        for exit in [CPUID, INTR] {
            run(&mut vcpu, &space, RunControl::default(), exit);
        }
        assert_eq!(physical().recalled - before, recalled);
    }
}
