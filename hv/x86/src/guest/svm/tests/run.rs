//! What goes into the guest and comes out of it, and what the CPU is told of what it has cached.

use super::*;

#[test]
fn registers_go_in_and_come_out() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    *vcpu.registers_mut() = Registers { rax: 1, rsp: 2, rip: 0x100, rflags: 2, rbx: 9, ..Registers::default() };
    then(|registers, vmcb| {
        assert_eq!((vmcb.get(Field::RAX), vmcb.get(Field::RSP), vmcb.get(Field::RIP)), (1, 2, 0x100));
        assert_eq!(registers.rbx, 9);
        registers.rcx = 7;
        vmcb.set(Field::RAX, 0x4000_0000);
        vmcb.set(Field::RIP, 0x105);
        vmcb.set(Field::EXIT_CODE, CPUID);
    });
    let exit = vcpu.run(&space, RunControl::default(), &mut ());
    assert_eq!(exit, Exit::Cpuid { leaf: 0x4000_0000, subleaf: 7 });
    assert_eq!(vcpu.registers().rip, 0x105);
    vcpu.skip_instruction();
    assert_eq!(vcpu.registers().rip, 0x107);
    vcpu.skip_instruction();
    assert_eq!(vcpu.registers().rip, 0x107, "one exit is skipped once");
}

#[test]
fn a_vcpu_that_uses_open_ports_is_entered_with_their_map_from_then_on() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| assert_ne!(vmcb.get(Field::IO_PERMISSIONS), MAPS.opened_ports.0));
    vcpu.run(&space, RunControl::default(), &mut ());
    vcpu.use_open_ports();
    then(|_, vmcb| {
        assert_eq!(vmcb.get(Field::IO_PERMISSIONS), MAPS.opened_ports.0);
        assert_eq!(vmcb.get(Field::CLEAN) & 2, 0, "the CPU must look at the map's address anew");
    });
    vcpu.run(&space, RunControl::default(), &mut ());
}

#[test]
fn what_did_not_change_is_marked_as_clean() {
    let first = cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0));
    vcpu.run(&space, RunControl::default(), &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0x7ff));
    vcpu.run(&space, RunControl::default(), &mut ());
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0x7ff & !8));
    vcpu.run(&space, offer(0x30), &mut ());
    vcpu.park();
    go_to(first + 1);
    then(|_, vmcb| assert_eq!(vmcb.get(Field::CLEAN), 0));
    vcpu.run(&space, offer(0x30), &mut ());
}

#[test]
fn a_removed_translation_gives_the_vcpu_a_new_tag() {
    cpus();
    let ((space, mut pool), mut vcpu) = (space(), vcpu());
    let mapping = Mapping { mfn: Mfn(1), order: PageOrder::SIZE_4K, rights: Rights::ALL, kind: PageKind::Ram };
    space.map(Gfn(0), mapping, &mut pool).unwrap();
    for expected in [1, 1, 2, 2] {
        then(move |_, vmcb| assert_eq!(vmcb.get(Field::ASID), expected));
        vcpu.run(&space, RunControl::default(), &mut ());
        if expected == 1 && steps_left() == 0 && vcpu.registers().rbx == 1 {
            space.unmap(Gfn(0), &mut pool).unwrap();
        }
        vcpu.registers_mut().rbx += 1;
    }
}

#[test]
fn translations_of_the_old_state_are_not_used_in_a_new_one() {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    for expected in [1, 1, 2] {
        then(move |_, vmcb| assert_eq!(vmcb.get(Field::ASID), expected));
        vcpu.run(&space, RunControl::default(), &mut ());
        if vcpu.registers().rbx == 1 {
            vcpu.set_state(&CpuState::after_startup_ipi(0x9a)).unwrap();
        }
        vcpu.registers_mut().rbx += 1;
    }
}

#[test]
fn a_vcpu_gives_its_frames_back_and_does_not_run_in_a_space_that_is_gone() {
    struct Counted(u32);
    impl FrameSource for Counted {
        fn take(&mut self) -> Option<Mfn> {
            None
        }
        fn give_back(&mut self, _: Mfn) {
            self.0 += 1;
        }
    }
    cpus();
    let ((space, mut pool), one, mut other) = (space(), vcpu(), vcpu());
    let mut frames = Counted(0);
    one.tear_down(&mut frames);
    assert_eq!(frames.0, 2);
    space.tear_down(&mut pool);
    assert_eq!(other.run(&space, RunControl::default(), &mut ()), Exit::InvalidState);
}
