//! The fast path: exits that are answered without leaving the run loop.

use super::*;
use xenolith_hal::{IoAccess, IoSize, ShortAnswers};

const IOIO: u64 = 0x7b;
/// IN of one byte from port 0x20, and where the next instruction begins.
const IN_BYTE: u64 = 0x20 << 16 | 1 << 4 | 1;
const NEXT: u64 = 0x102;
const TF: u64 = 1 << 8;
const RF: u64 = 1 << 16;

/// Answers every port with a value, so often.
struct Answers {
    value: u64,
    times: u32,
    asked: Vec<(IoAccess, u64)>,
}

impl Answers {
    fn often(times: u32) -> Self {
        Self { value: 0xff, times, asked: Vec::new() }
    }
}

impl ShortAnswers for Answers {
    fn port(&mut self, access: IoAccess, rax: u64) -> Option<u64> {
        self.asked.push((access, rax));
        Some(self.value)
    }

    fn may_go_on(&mut self) -> bool {
        self.times = self.times.saturating_sub(1);
        self.times > 0
    }
}

fn port_exit(vmcb: Vmcb) {
    vmcb.set(Field::EXIT_CODE, IOIO);
    vmcb.set(Field::EXIT_INFO_1, IN_BYTE);
    vmcb.set(Field::EXIT_INFO_2, NEXT);
}

fn then_port() {
    then(|_, vmcb| port_exit(vmcb));
}

/// Returns the first run of a vCPU on a CPU flushes, so nothing is answered shortly then.
fn settled() -> (Space, Vcpu) {
    cpus();
    let (space, mut vcpu) = (space().0, vcpu());
    run(&mut vcpu, &space, RunControl::default(), HLT);
    (space, vcpu)
}

#[test]
fn the_guest_goes_on_behind_the_instruction_with_the_answer() {
    let (space, mut vcpu) = settled();
    vcpu.registers_mut().rax = 0x1234;
    vcpu.registers_mut().rflags = RF | 2;
    then(|_, vmcb| {
        port_exit(vmcb);
        vmcb.set(Field::INTERRUPT_SHADOW, 1);
    });
    then(|_, vmcb| {
        let (rax, rip, flags) = (vmcb.get(Field::RAX), vmcb.get(Field::RIP), vmcb.get(Field::RFLAGS));
        assert_eq!((rax, rip, flags, vmcb.get(Field::INTERRUPT_SHADOW)), (0xff, NEXT, 2, 0));
        assert_eq!(vmcb.get(Field::CLEAN), 0x7ff);
        vmcb.set(Field::EXIT_CODE, HLT);
    });
    let mut answers = Answers::often(9);
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut answers), Exit::Halt { interrupts_enabled: false });
    let access = IoAccess { port: 0x20, size: IoSize::Byte, write: false, string: false, repeat: false };
    assert_eq!(answers.asked, [(access, 0x1234)]);
    assert_eq!((vcpu.registers().rax, vcpu.registers().rip), (0xff, NEXT));
}

#[test]
fn when_something_else_waits_the_answered_exit_ends_the_run_and_is_not_answered_again() {
    let (space, mut vcpu) = settled();
    then_port();
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut Answers::often(1)), Exit::Interrupted);
    assert_eq!((vcpu.registers().rax, vcpu.registers().rip), (0xff, NEXT));
    vcpu.skip_instruction();
    assert_eq!(vcpu.registers().rip, NEXT, "it is stepped over already");
}

#[test]
fn a_new_generation_of_the_translation_ends_the_run() {
    let (space, mut vcpu) = settled();
    let space = alloc::rc::Rc::new(space);
    let other = alloc::rc::Rc::clone(&space);
    then(move |_, vmcb| {
        port_exit(vmcb);
        other.residency().advance();
    });
    assert_eq!(vcpu.run(&space, RunControl::default(), &mut Answers::often(9)), Exit::Interrupted);
}

#[test]
fn an_interrupt_that_was_taken_meanwhile_is_not_overlooked() {
    let (space, mut vcpu) = settled();
    then_port();
    then(|_, vmcb| {
        port_exit(vmcb);
        vmcb.set(Field::VIRTUAL_INTERRUPT, vmcb.get(Field::VIRTUAL_INTERRUPT) & !V_IRQ);
    });
    let mut answers = Answers::often(9);
    let exit = vcpu.run(&space, offer(0xf3), &mut answers);
    assert!(matches!(exit, Exit::Io(_)), "{exit:?}");
    assert_eq!(answers.asked.len(), 1, "the second is for who accepts the interrupt first");
    assert!(vcpu.interrupt_taken());
}

#[test]
fn what_was_injected_or_is_to_be_traced_or_was_cut_short_takes_the_long_way() {
    let long_way = |prepare: fn(&mut Vcpu), control: RunControl, exit: fn(Vmcb)| {
        let (space, mut vcpu) = settled();
        prepare(&mut vcpu);
        then(move |_, vmcb| {
            port_exit(vmcb);
            exit(vmcb);
        });
        let mut answers = Answers::often(9);
        let exit = vcpu.run(&space, control, &mut answers);
        matches!(exit, Exit::Io(_)) && answers.asked.is_empty()
    };
    let nothing: fn(&mut Vcpu) = |_| {};
    let none: fn(Vmcb) = |_| {};
    assert!(long_way(|vcpu| vcpu.inject(Exception::INVALID_OPCODE), RunControl::default(), none));
    assert!(long_way(nothing, NMI, none));
    assert!(long_way(|vcpu| vcpu.registers_mut().rflags |= TF, RunControl::default(), none));
    assert!(long_way(nothing, RunControl::default(), |vmcb| vmcb.set(Field::EXIT_INTERRUPTION, 0x8000_030e)));
    assert!(!long_way_is_all_there_is());
}

/// Returns whether even a plain access is not answered shortly: then the test above says nothing.
fn long_way_is_all_there_is() -> bool {
    let (space, mut vcpu) = settled();
    then_port();
    let mut answers = Answers::often(1);
    vcpu.run(&space, RunControl::default(), &mut answers);
    answers.asked.is_empty()
}
