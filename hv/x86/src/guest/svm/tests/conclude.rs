//! What is made of an exit, whatever the block says.

use super::*;
use proptest::prelude::*;

#[test]
fn a_block_that_the_cpu_did_not_leave_as_it_must_holds_no_guest() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| {
        vmcb.set(Field::VIRTUAL_INTERRUPT, 0);
        vmcb.set(Field::EXIT_CODE, 0x400);
    });
    assert_eq!(vcpu.run(&space, offer(0xf3), &mut ()), Exit::StateLost);
}

#[test]
fn a_step_over_an_instruction_ends_the_interrupt_shadow_and_traps_if_asked_to() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| {
        vmcb.set(Field::INTERRUPT_SHADOW, 1);
        vmcb.set(Field::RFLAGS, 0x302);
        vmcb.set(Field::EXIT_CODE, HLT);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::Halt { interrupts_enabled: true });
    vcpu.skip_instruction();
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::INTERRUPT_SHADOW), 0);
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_0301);
        assert_eq!(vmcb.get(Field::DR6) & 0x4000, 0x4000);
    });
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn a_refusal_of_a_sound_state_is_the_guests_fault_but_not_without_end() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    for round in 0..100 {
        assert_eq!(run(&mut vcpu, &space, RunControl::default(), 0xffff_ffff), Exit::Interrupted, "{round}");
    }
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_030d);
        vmcb.set(Field::EXIT_CODE, u64::MAX);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::InvalidState);
    run(&mut vcpu, &space, RunControl::default(), HLT);
    then(|_, vmcb| {
        vmcb.set(Field::CR4, 1 << 63);
        vmcb.set(Field::EXIT_CODE, u64::MAX);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::InvalidState, "an unsound state");
}

#[test]
fn an_emulated_cpus_control_registers_are_written_as_a_real_one_would() {
    const WRITE_CR4: u64 = 0x14;
    cpus();
    emulate(true);
    let ((space, mut pool), mut vcpu) = (space(), vcpu());
    let mfn = pool.take().unwrap();
    // mov cr4, ecx
    assert!(space.access().frame(mfn).unwrap().write_bytes(0, &[0x0f, 0x22, 0xe1]));
    let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
    space.map(Gfn(1), mapping, &mut pool).unwrap();
    vcpu.set_state(&CpuState::after_startup_ipi(1)).unwrap();
    vcpu.registers_mut().rcx = 0x20;
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), WRITE_CR4), Exit::Interrupted);
    assert_eq!((vcpu.state().cr4, vcpu.registers().rip), (0x20, 3));
    vcpu.registers_mut().rip = 0;
    vcpu.registers_mut().rcx = 1 << 20;
    assert_eq!(run(&mut vcpu, &space, RunControl::default(), WRITE_CR4), Exit::Interrupted);
    assert_eq!((vcpu.state().cr4, vcpu.registers().rip), (0x20, 0));
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_030d);
        vmcb.set(Field::RIP, 0x10_0000);
        vmcb.set(Field::EXIT_CODE, WRITE_CR4);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::Unknown { code: WRITE_CR4 }, "no code is there");
}

#[test]
fn an_emulated_cpus_task_priority_is_written_as_a_real_one_would_while_an_interrupt_waits() {
    const WRITE_CR8: u64 = 0x18;
    cpus();
    emulate(true);
    let ((space, mut pool), mut vcpu) = (space(), vcpu());
    let mfn = pool.take().unwrap();
    // lock mov cr0, ecx, which is mov cr8, ecx
    assert!(space.access().frame(mfn).unwrap().write_bytes(0, &[0xf0, 0x0f, 0x22, 0xc1]));
    let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
    space.map(Gfn(1), mapping, &mut pool).unwrap();
    vcpu.set_state(&CpuState::after_startup_ipi(1)).unwrap();
    let control = RunControl { interrupt: Some(0x31), task_priority: 5, ..RunControl::default() };
    vcpu.registers_mut().rcx = 2;
    assert_eq!(run(&mut vcpu, &space, control, WRITE_CR8), Exit::Interrupted);
    assert_eq!((vcpu.task_priority(), vcpu.registers().rip), (2, 4));
    assert!(!vcpu.interrupt_taken());
    vcpu.registers_mut().rip = 0;
    vcpu.registers_mut().rcx = 16;
    assert_eq!(run(&mut vcpu, &space, control, WRITE_CR8), Exit::Interrupted);
    assert_eq!((vcpu.task_priority(), vcpu.registers().rip), (5, 0));
    then(|_, vmcb| assert_eq!(vmcb.get(Field::EVENT_INJECTION), 0x8000_030d));
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::Interrupted);
}

#[test]
fn long_mode_is_left_though_the_block_says_that_it_has_ended_already() {
    const WRITE_CR0: u64 = 0x10;
    const LARGE: u64 = 1 << 7 | 3;
    cpus();
    emulate(true);
    let ((space, mut pool), mut vcpu) = (space(), vcpu());
    // The guest's tables, of which the last holds a page of 2 MiB; then mov cr0, eax.
    let words = [0x2003, 0x3003, LARGE, u64::from_le_bytes([0x0f, 0x22, 0xc0, 0, 0, 0, 0, 0])];
    for (gfn, word) in (1..).zip(words) {
        let mfn = pool.take().unwrap();
        assert!(space.access().frame(mfn).unwrap().write_bytes(0, &word.to_le_bytes()));
        let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
        space.map(Gfn(gfn), mapping, &mut pool).unwrap();
    }
    vcpu.set_state(&CpuState::at_pvh_entry(0, 0)).unwrap();
    vcpu.registers_mut().rax = 0x11;
    then(|_, vmcb| {
        for (field, value) in
            [(Field::CR0, 0x8000_0011), (Field::CR3, 0x1000), (Field::CR4, 0x20), (Field::RIP, 0x4000)]
        {
            vmcb.set(field, value);
        }
        vmcb.set(Field::EFER, 0x1100);
        vmcb.set(Field::EXIT_CODE, WRITE_CR0);
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut ()), Exit::Interrupted);
    let state = vcpu.state();
    assert_eq!((state.cr0, state.efer, vcpu.registers().rip), (0x11, 0x100, 0x4003));
}

proptest! {
    #[test]
    fn no_exit_whatever_it_says_upsets_the_hypervisor(
        code in prop_oneof![0u64..0x500, any::<u64>()],
        words in prop::collection::vec((0usize..PAGE_SIZE / 8, any::<u64>()), 0..40),
        registers in prop::array::uniform6(any::<u64>()),
        (interrupt, task_priority, nmi) in (any::<Option<u8>>(), any::<u8>(), any::<bool>()),
    ) {
        same_cpus();
        let (space, mut vcpu) = (space().0, vcpu());
        for _ in 0..2 {
            let words = words.clone();
            then(move |general, vmcb| {
                for (index, value) in words {
                    vmcb.set_word(index, value);
                }
                vmcb.set(Field::EXIT_CODE, code);
                [general.rcx, general.rdx, general.rbx, general.rsi, general.rdi, general.rbp] = registers;
            });
            let exit = vcpu.run(&space, RunControl { interrupt, task_priority, nmi }, &mut ());
            prop_assert_eq!(exit == Exit::Shutdown, code == 0x7f);
            prop_assert!(vcpu.instruction_bytes().1 <= 15);
            prop_assert!(vcpu.task_priority() < 16 && vcpu.paging().cpl < 4);
            vcpu.skip_instruction();
            let state = vcpu.state();
            let _ = vcpu.set_state(&state);
        }
        vcpu.park();
        tear_down(vcpu);
    }
}
