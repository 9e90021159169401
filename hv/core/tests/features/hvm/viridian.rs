//! Microsoft's hypervisor interface: guests that use it, through their exits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use xen_abi::hvm_op::{HVMOP_SET_PARAM, HvmParam};
use xen_abi::hvm_param::{HVM_PARAM_VIRIDIAN, HVMPV_BASE_FREQ, HVMPV_FEATURE_MASK, HVMPV_NO_FREQ};
use xen_abi::hvm_save::{
    HVM_SAVE_CODE_VIRIDIAN_DOMAIN, HVM_SAVE_CODE_VIRIDIAN_VCPU, HvmSaveDescriptor, HvmViridianVcpuContext,
};
use xen_abi::hypercall::HVM_OP;
use xen_abi::{DomId, Errno, Gfn};
use xenolith_core::Running;
use xenolith_core::run::CpuLoop;
use xenolith_core::x86::{chipset, hvm_context};
use xenolith_devices::interrupt::Trigger;
use xenolith_fake::{FakeEntry, FakeGuest, FakeMachine};
use xenolith_hal::{CpuId, CpuState, Exception, Exit, FrameSource, Gpa, Machine, Mfn, NestedSpace, PAGE_SIZE};
use xenolith_world::{Plan, World};

const GUEST: u16 = 1;
const PLAN: Plan = Plan { hvm: true, long_mode: true, spare_pages: 4, ..Plan::TESTS };
const ALL: u64 = HVMPV_FEATURE_MASK & !HVMPV_NO_FREQ;
/// A frame of the guest's that is not its own RAM: the shared page.
const SHARED: Gfn = xenolith_world::SHARED_INFO;
const NOWHERE: Gfn = Gfn(1 << 30);
/// Pages of the guest: of hypercalls, assistance, messages, the clock, input.
const PAGE: Gfn = Gfn(10);
const INPUT: Gfn = Gfn(11);
const FLAG: u64 = 1 << 31;

const OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const REFERENCE_COUNT: u32 = 0x4000_0020;
const REFERENCE_TSC: u32 = 0x4000_0021;
const EOI: u32 = 0x4000_0070;
const ASSIST: u32 = 0x4000_0073;
const SCONTROL: u32 = 0x4000_0080;
const SIMP: u32 = 0x4000_0083;
const EOM: u32 = 0x4000_0084;
const SINT2: u32 = 0x4000_0092;
const CONFIG: u32 = 0x4000_00b0;
const COUNT: u32 = 0x4000_00b1;
const CRASH_CONTROL: u32 = 0x4000_0105;
/// The local APIC: its base, the register that turns it on, its first word of interrupts in service, a self-IPI.
const APIC_ON: [Step; 2] = [Step::Write(0x1b, 0xfee0_0d00), Step::Write(0x80f, 0x1ff)];
const IN_SERVICE: u32 = 0x810;
const SELF_IPI: u32 = 0x83f;
const APIC_END: Step = Step::Write(0x80b, 0);

/// Page tables of this machine take no frames.
struct NoTables;

impl FrameSource for NoTables {
    fn take(&mut self) -> Option<Mfn> {
        Some(Mfn(0))
    }

    fn give_back(&mut self, _frame: Mfn) {}
}

/// What a guest does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Read(u32),
    Write(u32, u64),
    Cpuid(u32),
    Call([u64; 3]),
}

/// A guest that does one thing after the other, and notes what came of each: RAX and RDX as one number, or None for a
/// fault. It halts in the end.
#[derive(Debug)]
struct Script {
    steps: VecDeque<Step>,
    asked: Option<Step>,
    answers: Arc<Mutex<Vec<Option<u64>>>>,
    offered: Arc<Mutex<Vec<u8>>>,
}

impl FakeGuest for Script {
    fn play(&mut self, entry: &FakeEntry, state: &mut CpuState) -> Exit {
        self.offered.lock().unwrap().extend(entry.control.interrupt);
        let r = &mut state.registers;
        match self.asked {
            // A call that is to be made again is made again.
            Some(Step::Call(_)) if r.rax == FLAG => return Exit::Hypercall,
            Some(_) if entry.injected == Some(Exception::GENERAL_PROTECTION) => self.answers.lock().unwrap().push(None),
            Some(Step::Write(..)) => self.answers.lock().unwrap().push(Some(0)),
            Some(Step::Call(_) | Step::Cpuid(_)) => self.answers.lock().unwrap().push(Some(r.rax)),
            Some(Step::Read(_)) => self.answers.lock().unwrap().push(Some(r.rdx << 32 | r.rax)),
            None => {}
        }
        self.asked = self.steps.pop_front();
        match self.asked {
            Some(Step::Read(msr)) => Exit::ReadMsr { msr },
            Some(Step::Write(msr, value)) => Exit::WriteMsr { msr, value },
            Some(Step::Cpuid(leaf)) => Exit::Cpuid { leaf, subleaf: 0 },
            Some(Step::Call([control, input, output])) => {
                (r.rax, r.rcx, r.rdx, r.r8) = (FLAG, control, input, output);
                Exit::Hypercall
            }
            None => Exit::Halt { interrupts_enabled: true },
        }
    }
}

/// A guest with the interface, and a CPU that runs it.
struct Stage {
    world: World,
    cpu: CpuLoop<FakeMachine>,
    /// The vectors that were offered to the guest.
    offered: Arc<Mutex<Vec<u8>>>,
}

fn set_param(world: &World, value: u64) -> Result<u64, Errno> {
    let mut param = HvmParam { domid: DomId(GUEST), pad: 0, index: HVM_PARAM_VIRIDIAN, value };
    world.call_with(0, HVM_OP, HVMOP_SET_PARAM, &mut param)
}

impl Stage {
    fn new(features: u64) -> Self {
        Self::planned(PLAN, features)
    }

    /// A guest in real mode, whose state can be saved: the other's mode is one of these tests alone.
    fn in_real_mode(features: u64) -> Self {
        let stage = Self::planned(Plan { long_mode: false, ..PLAN }, features);
        stage.world.domain(GUEST).vcpus[0].bring_up();
        stage
    }

    fn planned(plan: Plan, features: u64) -> Self {
        let world = World::planned(plan, &[1, 2]);
        if features != 0 {
            assert_eq!(set_param(&world, features), Ok(0));
        }
        Self { world, cpu: CpuLoop::new(CpuId(0)), offered: Arc::default() }
    }

    /// Lets vCPU 0 do this, and returns what came of it.
    fn run(&mut self, steps: &[Step]) -> Vec<Option<u64>> {
        let answers = Arc::<Mutex<Vec<_>>>::default();
        let domain = self.world.domain(GUEST);
        let script = Script {
            steps: steps.iter().copied().collect(),
            asked: None,
            answers: answers.clone(),
            offered: self.offered.clone(),
        };
        self.turns(2);
        domain.vcpus[0].with_core(|core| core.hardware.guest = Some(Box::new(script))).unwrap();
        domain.vcpus[0].unblock();
        self.world.hv.scheduler.wake(&self.world.hv.machine, &domain, &domain.vcpus[0]);
        self.turns(16);
        let answers = answers.lock().unwrap().clone();
        assert_eq!(answers.len(), steps.len(), "the guest did not get through: {answers:x?}");
        answers
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.cpu.turn(&self.world.hv);
        }
    }

    fn one(&mut self, step: Step) -> Option<u64> {
        self.run(&[step])[0]
    }

    fn word(&self, gfn: Gfn, offset: usize) -> u64 {
        self.world.page(GUEST, gfn).load_u64(offset).unwrap()
    }

    fn write_input(&self, words: &[u64]) -> u64 {
        for (index, word) in words.iter().enumerate() {
            self.world.page(GUEST, INPUT).store_u64(index * 8, *word).unwrap();
        }
        Gpa::from_gfn(INPUT).0
    }

    /// Turns the controller on, with messages in [`PAGE`] as interrupts of vector 0x61, and a timer due in 50 counts.
    fn start_timer(&mut self, config: u64) {
        let steps = [
            Step::Write(SIMP, at(PAGE)),
            Step::Write(SCONTROL, 1),
            Step::Write(SINT2, 0x61),
            Step::Write(CONFIG, 0x2_0008 | config),
        ];
        self.run(&APIC_ON);
        self.run(&steps);
        let now = self.one(Step::Read(REFERENCE_COUNT)).unwrap();
        self.one(Step::Write(COUNT, if config & 2 != 0 { 50 } else { now + 50 }));
    }
}

/// Returns the value of a register that names a frame, in use.
fn at(gfn: Gfn) -> u64 {
    gfn.0 << 12 | 1
}

#[test]
fn xens_leaves_lie_behind_those_of_the_interface() {
    let mut stage = Stage::new(ALL);
    let steps = [0x4000_0000, 0x4000_0001, 0x4000_0100, 0x4000_0101, 0x4000_0006, 0x4000_0007].map(Step::Cpuid);
    let expected = [0x4000_0006, 0x3123_7648, 0x4000_0105, 0x4_0011, 0xa, 0].map(Some);
    assert_eq!(stage.run(&steps), expected);
    let mut stage = Stage::new(0);
    assert_eq!(stage.one(Step::Cpuid(0x4000_0000)), Some(0x4000_0005));
    assert_eq!(stage.one(Step::Cpuid(0x4000_0100)), Some(0));
}

#[test]
fn the_parameter_is_a_set_of_features_once() {
    let world = World::planned(PLAN, &[1, 2]);
    for value in [0, HVMPV_NO_FREQ, 1 << 13 | 1, u64::MAX] {
        assert_eq!(set_param(&world, value), Err(Errno::EINVAL), "{value:#x}");
    }
    assert!(world.domain(GUEST).viridian.get().is_none());
    assert_eq!(set_param(&world, ALL), Ok(0));
    assert_eq!(set_param(&world, ALL), Ok(0));
    assert_eq!(set_param(&world, HVMPV_BASE_FREQ), Err(Errno::EEXIST));
}

#[test]
fn a_guest_without_the_interface_has_none_of_its_registers_and_calls() {
    let mut stage = Stage::new(0);
    assert_eq!(stage.one(Step::Read(OS_ID)), Some(0), "the register of Xen's hypercall page");
    for msr in (HYPERCALL..0x4000_0300).step_by(7) {
        assert_eq!(stage.run(&[Step::Read(msr), Step::Write(msr, 0)]), [None; 2], "{msr:#x}");
    }
    assert_eq!(stage.one(Step::Call([8, 0, 0])), Some(Errno::ENOSYS.as_return().cast_unsigned()));
}

#[test]
fn the_hypercall_page_has_its_code_and_xens_lies_elsewhere() {
    let mut stage = Stage::new(ALL);
    let page = Gpa::from_gfn(INPUT).0;
    let answers = stage.run(&[
        Step::Write(OS_ID, 1),
        Step::Write(HYPERCALL, at(PAGE)),
        Step::Read(HYPERCALL),
        Step::Write(0x4000_0200, page | 1),
        Step::Write(0x4000_0200, page),
        Step::Call([8, 0, 0]),
    ]);
    assert_eq!(answers, [Some(0), Some(0), Some(at(PAGE)), None, Some(0), Some(0)]);
    assert_eq!(stage.word(PAGE, 0), 0xd901_0f80_0000_000d);
    assert_eq!(stage.word(PAGE, 8), 0xcccc_cccc_cccc_ccc3);
    assert_eq!(stage.word(PAGE, PAGE_SIZE - 8), 0xcccc_cccc_cccc_cccc);
    assert_ne!(stage.word(INPUT, 0), 0);
}

#[test]
fn pages_that_are_not_the_guests_own_ram_stay_as_they_are() {
    let mut stage = Stage::new(ALL);
    // Where nobody but the guest writes: the masks of events.
    let masks = || (2560..3072).step_by(8);
    masks().for_each(|offset| stage.world.page(GUEST, SHARED).store_u64(offset, offset as u64).unwrap());
    for gfn in [SHARED, NOWHERE, Gfn(u64::MAX >> 12)] {
        for msr in [HYPERCALL, REFERENCE_TSC, ASSIST, SIMP] {
            assert_eq!(stage.run(&[Step::Write(msr, at(gfn)), Step::Read(msr)]), [Some(0), Some(at(gfn))]);
        }
        stage.run(&[
            Step::Write(SCONTROL, 1),
            Step::Write(SINT2, 0x61),
            Step::Write(CONFIG, 0x2_0008),
            Step::Write(COUNT, 1),
        ]);
        stage.world.hv.machine.pass_ns(1_000_000);
        stage.turns(4);
        stage.run(&APIC_ON);
        stage.run(&[Step::Write(SELF_IPI, 0x60), Step::Read(IN_SERVICE + 3), APIC_END, Step::Write(EOM, 0)]);
    }
    assert!(masks().all(|offset| stage.word(SHARED, offset) == offset as u64));
}

#[test]
fn the_clock_goes_by_page_as_by_register() {
    let mut stage = Stage::new(ALL);
    stage.world.hv.machine.set_steady_tsc();
    let count = stage.run(&[Step::Write(REFERENCE_TSC, at(PAGE)), Step::Read(REFERENCE_COUNT)])[1].unwrap();
    let by_page = || {
        let tsc = stage.world.hv.machine.time_base().tsc;
        let scaled = (u128::from(tsc) * u128::from(stage.word(PAGE, 8))) >> 64;
        (scaled as u64).wrapping_add(stage.word(PAGE, 16))
    };
    assert!(by_page().abs_diff(count) < 10);
    stage.world.hv.machine.pass_ns(1_000_000_000);
    assert!(by_page().abs_diff(count + 10_000_000) < 10);
    assert_eq!(stage.word(PAGE, 0), 1, "the first sequence");
}

#[test]
fn a_counter_that_may_stop_is_no_clock() {
    let mut stage = Stage::new(ALL);
    assert_eq!(stage.one(Step::Write(REFERENCE_TSC, at(PAGE))), Some(0));
    assert_eq!([0, 8, 16].map(|offset| stage.word(PAGE, offset)), [0; 3]);
}

#[test]
fn a_timer_sends_its_message_while_the_guest_sleeps() {
    let mut stage = Stage::new(ALL);
    stage.start_timer(0);
    assert_eq!(stage.word(PAGE, 512), 0);
    stage.world.hv.machine.pass_ns(6000);
    stage.turns(4);
    assert_eq!(stage.word(PAGE, 512), 0x18_8000_0010);
    assert_eq!(stage.offered.lock().unwrap().last(), Some(&0x61));
    assert_eq!(
        stage.run(&[Step::Read(IN_SERVICE + 3), Step::Write(EOI, 0), Step::Read(IN_SERVICE + 3)]),
        [2, 0, 0].map(Some)
    );
}

#[test]
fn a_page_of_messages_that_goes_away_under_a_timer_is_no_matter() {
    let mut stage = Stage::new(ALL);
    stage.start_timer(2);
    let domain = stage.world.domain(GUEST);
    let was = domain.space.lookup(PAGE).unwrap();
    domain.space.unmap(PAGE, &mut NoTables).unwrap();
    for _ in 0..8 {
        stage.world.hv.machine.pass_ns(100_000);
        stage.turns(2);
    }
    assert!(!stage.offered.lock().unwrap().contains(&0x61), "nothing was sent");
    domain.space.map(PAGE, was, &mut NoTables).unwrap();
    stage.one(Step::Write(EOM, 0));
    assert_eq!(stage.word(PAGE, 512), 0x18_8000_0010, "it waited");
    assert!(stage.offered.lock().unwrap().contains(&0x61));
}

#[test]
fn an_interrupt_that_needs_no_end_is_over_when_the_guest_says_so() {
    let mut stage = Stage::new(ALL);
    stage.run(&APIC_ON);
    stage.run(&[Step::Write(ASSIST, at(PAGE)), Step::Write(SELF_IPI, 0x60)]);
    assert_eq!(stage.word(PAGE, 0), 1);
    assert_eq!(stage.one(Step::Read(IN_SERVICE + 3)), Some(1), "nobody has looked");
    stage.world.page(GUEST, PAGE).store_u32(0, 0).unwrap();
    // A lower one comes, and needs no end either.
    stage.one(Step::Write(SELF_IPI, 0x50));
    assert_eq!(stage.run(&[Step::Read(IN_SERVICE + 3), Step::Read(IN_SERVICE + 2)]), [0, 1 << 16].map(Some));
    assert_eq!(stage.word(PAGE, 0), 1);
    // Another waits behind it: its end must be told.
    stage.one(Step::Write(SELF_IPI, 0x40));
    assert_eq!(stage.word(PAGE, 0), 0);
    assert_eq!(stage.run(&[APIC_END, Step::Read(IN_SERVICE + 2)]), [0, 1].map(Some));
    assert_eq!(stage.word(PAGE, 0), 1, "that one is alone again");
}

#[test]
fn a_vcpu_that_halts_sees_what_comes_behind_an_interrupt_that_is_over() {
    let mut stage = Stage::new(ALL);
    stage.run(&APIC_ON);
    stage.run(&[Step::Write(ASSIST, at(PAGE)), Step::Write(SELF_IPI, 0x60)]);
    stage.turns(2);
    let domain = stage.world.domain(GUEST);
    let vcpu = &domain.vcpus[0];
    stage.world.page(GUEST, PAGE).store_u32(0, 0).unwrap();
    let offered = vcpu.with_core_apart(|core| {
        core.lapic.raise(0x50, Trigger::Edge);
        assert_eq!(core.lapic.highest_deliverable(), None);
        chipset::is_offered(&mut Running { hv: &stage.world.hv, domain: &domain, vcpu, core })
    });
    assert_eq!(offered, Ok(true));
}

#[test]
fn of_two_interrupts_the_one_that_is_over_first_needs_no_end() {
    let mut stage = Stage::new(ALL);
    stage.run(&APIC_ON);
    stage.run(&[Step::Write(ASSIST, at(PAGE)), Step::Write(SELF_IPI, 0x40), Step::Write(SELF_IPI, 0x60)]);
    assert_eq!(stage.word(PAGE, 0), 1);
    stage.world.page(GUEST, PAGE).store_u32(0, 0).unwrap();
    // The next one makes the hypervisor look: the inner one is over. This one is not alone, and must be ended.
    stage.one(Step::Write(SELF_IPI, 0x50));
    assert_eq!(stage.word(PAGE, 0), 0);
    let ends = [Step::Read(IN_SERVICE + 3), Step::Read(IN_SERVICE + 2), APIC_END, APIC_END, Step::Read(IN_SERVICE + 2)];
    assert_eq!(stage.run(&ends), [0, 1 << 16 | 1, 0, 0, 0].map(Some));
}

#[test]
fn calls_that_make_no_sense_are_refused_and_no_vcpu_beyond_the_last_is_touched() {
    let mut stage = Stage::new(ALL);
    let input = stage.write_input(&[0, 2, 1, 0]);
    for (call, status) in [
        ([0x5c, input, 0], 2),
        ([0xffff, 0, 0], 2),
        ([0x2, input, 0], 0),
        ([0x3 | 1 << 32, input, 0], 1 << 32),
        ([0x2 | 1 << 16, input, 0], 5),
        ([0x2 | 2 << 32, input + 4, 0], 2 << 32),
        ([0x2, Gpa::from_gfn(NOWHERE).0, 0], 5),
        ([0x2, u64::MAX - 7, 0], 5),
        ([0xb | 1 << 16, 0x61, u64::MAX], 0),
        ([0xb | 1 << 16, 0xf, 1], 5),
    ] {
        assert_eq!(stage.one(Step::Call(call)), Some(status), "{call:x?}");
    }
    // The input goes on past the guest's memory.
    let domain = stage.world.domain(GUEST);
    let last = Gfn(PLAN.guest_pages - 1);
    let end = Gpa::from_gfn(last).0 + PAGE_SIZE as u64;
    stage.world.page(GUEST, last).store_u64(PAGE_SIZE - 8, u64::MAX).unwrap();
    domain.space.unmap(SHARED, &mut NoTables).unwrap();
    assert_eq!(stage.one(Step::Call([0x13, end - 32, 0])), Some(5));
    assert_eq!(stage.one(Step::Call([0x2, end - 8, 0])), Some(5));
}

#[test]
fn a_sparse_set_of_every_bank_reaches_the_vcpus_that_there_are() {
    let mut stage = Stage::new(ALL);
    stage.run(&APIC_ON);
    let mut words = vec![0x61, 0, u64::MAX];
    words.extend([u64::MAX; 64]);
    let input = stage.write_input(&words);
    for header in [0, 1, 64, 0x1ff] {
        stage.offered.lock().unwrap().clear();
        assert_eq!(stage.one(Step::Call([0x15 | header << 17, input, 0])), Some(0));
        assert!(stage.offered.lock().unwrap().contains(&0x61));
        stage.one(APIC_END);
    }
    for mask in [1 << 63, 1 << 1, 0] {
        stage.offered.lock().unwrap().clear();
        let input = stage.write_input(&[0x61, 0, mask, u64::MAX]);
        assert_eq!(stage.one(Step::Call([0x15 | 1 << 17, input, 0])), Some(0));
        assert!(!stage.offered.lock().unwrap().contains(&0x61), "{mask:#x}");
    }
    let input = stage.write_input(&[0x61, 7, 1, 1]);
    assert_eq!(stage.one(Step::Call([0x15 | 1 << 17, input, 0])), Some(5));
}

#[test]
fn a_guests_words_about_its_crash_are_logged() {
    let mut stage = Stage::new(ALL);
    stage.run(&[Step::Write(0x4000_0100, 0xabc), Step::Write(0x4000_0104, 0xdef), Step::Write(CRASH_CONTROL, 1 << 63)]);
    let lines = stage.world.hv.machine.logged();
    assert!(lines.iter().any(|line| line.contains("d1v0 VIRIDIAN CRASH: abc 0 0 0 def")), "{lines:?}");
}

#[test]
fn the_interface_is_saved_and_restored() {
    let mut stage = Stage::in_real_mode(ALL);
    stage.run(&[Step::Write(OS_ID, 0x1234), Step::Write(REFERENCE_TSC, at(INPUT)), Step::Write(ASSIST, at(Gfn(12)))]);
    stage.start_timer(0);
    stage.turns(4);
    let saved = hvm_context::save(&stage.world.hv, &stage.world.domain(GUEST)).unwrap();
    let mut other = Stage::in_real_mode(ALL);
    other.world.hv.machine.set_steady_tsc();
    other.world.hv.machine.pass_ns(123_456_789);
    hvm_context::load(&other.world.hv, &other.world.domain(GUEST), &saved).unwrap();
    assert_eq!(other.word(INPUT, 0), 1, "the clock of this machine is told");
    let steps = [OS_ID, REFERENCE_TSC, ASSIST, SIMP, SINT2, COUNT].map(Step::Read);
    assert_eq!(other.run(&steps), stage.run(&steps));
    other.world.hv.machine.pass_ns(6000);
    other.turns(4);
    assert_eq!(other.word(PAGE, 512), 0x18_8000_0010);
}

#[test]
fn records_of_what_cannot_be_are_refused() {
    let stage = Stage::in_real_mode(ALL);
    let domain = stage.world.domain(GUEST);
    let saved = hvm_context::save(&stage.world.hv, &domain).unwrap();
    let find = |code: u16| {
        let mut offset = 0;
        loop {
            let typecode = u16::from_le_bytes([saved[offset], saved[offset + 1]]);
            let length = u32::from_le_bytes(saved[offset + 4..offset + 8].try_into().unwrap()) as usize;
            if typecode == code {
                return (offset, length);
            }
            offset += size_of::<HvmSaveDescriptor>() + length;
        }
    };
    let (vcpu, length) = find(HVM_SAVE_CODE_VIRIDIAN_VCPU);
    assert_eq!(length, size_of::<HvmViridianVcpuContext>());
    assert_eq!(find(HVM_SAVE_CODE_VIRIDIAN_DOMAIN).1, 32);
    let load = |bytes: &[u8]| hvm_context::load(&stage.world.hv, &domain, bytes);
    assert_eq!(load(&saved), Ok(()));
    // A vCPU that does not exist, and a vector that is none.
    let mut broken = saved.clone();
    broken[vcpu + 2] = 9;
    assert_eq!(load(&broken), Err(Errno::EINVAL));
    let mut broken = saved.clone();
    broken[vcpu + 8 + 24..vcpu + 8 + 32].copy_from_slice(&5_u64.to_le_bytes());
    assert_eq!(load(&broken), Err(Errno::EINVAL));
    // A guest without the interface.
    let plain = Stage::in_real_mode(0);
    assert_eq!(hvm_context::load(&plain.world.hv, &plain.world.domain(GUEST), &saved), Err(Errno::EINVAL));
}
