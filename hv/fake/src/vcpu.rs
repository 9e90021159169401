//! A virtual CPU that runs no guest: it exits for the reasons that a test queued.

use std::collections::VecDeque;
use std::fmt;

use xenolith_hal::{
    CpuState, EventInFlight, Exception, Exit, FrameSource, GuestCpu, HardwareMsr, InvalidState, Mfn, NestedSpace,
    PagingRegisters, Registers, RunControl, ShortAnswers,
};

use crate::FakeSpace;

/// Length of VMMCALL and of CPUID's like; every instruction has it here.
const INSTRUCTION_BYTES: u64 = 3;
/// EFER.LMA. **Source:** AMD manual volume 2, 3.1.7.
const EFER_ACTIVE: u64 = 1 << 10;

/// A guest that is played: it changes the registers as its code would, and says why it exits.
pub trait FakeGuest: Send + fmt::Debug {
    /// Goes on from an entry to the next exit.
    fn play(&mut self, entry: &FakeEntry, state: &mut CpuState) -> Exit;
}

/// An entry, as a played guest sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FakeEntry {
    /// What is offered.
    pub control: RunControl,
    /// The exception that it is delivered first.
    pub injected: Option<Exception>,
    /// The whole state was replaced since the last exit.
    pub replaced: bool,
}

/// The hardware side of a virtual CPU.
#[derive(Debug, Default)]
pub struct FakeVcpu {
    /// The exits to report, one after the other; afterwards the guest plays.
    pub exits: VecDeque<Exit>,
    /// The guest; without one, the vCPU halts with interrupts enabled.
    pub guest: Option<Box<dyn FakeGuest>>,
    /// The exception that was injected and not yet delivered by a run.
    pub injected: Option<Exception>,
    /// What the last run offered.
    pub offered: RunControl,
    state: CpuState,
    replaced: bool,
    runs: u64,
    seen_generation: u64,
    /// The frames that it took of its domain's pool, as a real one takes frames for what the hardware keeps.
    frames: [Option<Mfn>; 2],
    fpu: Option<Box<[u8; 512]>>,
    debug_addresses: [u64; 4],
    undelivered: Option<EventInFlight>,
}

impl FakeVcpu {
    /// Creates a vCPU in the state after INIT.
    #[must_use]
    pub fn new() -> Self {
        Self { state: CpuState::after_init(), ..Self::default() }
    }

    /// Creates one with frames that are freed when it is torn down.
    #[must_use]
    pub(crate) fn with_frames(frames: [Mfn; 2]) -> Self {
        Self { frames: frames.map(Some), ..Self::new() }
    }

    /// Returns how often the guest was entered.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs
    }
}

impl GuestCpu for FakeVcpu {
    type Space = FakeSpace;

    const FRAMES: u32 = 2;

    fn run(&mut self, space: &FakeSpace, control: RunControl, short: &mut impl ShortAnswers) -> Exit {
        self.runs += 1;
        self.offered = control;
        let replaced = std::mem::take(&mut self.replaced);
        let mut entry = FakeEntry { control, injected: self.injected.take(), replaced };
        self.seen_generation = space.generation();
        loop {
            let exit = match (self.exits.pop_front(), &mut self.guest) {
                (Some(exit), _) => exit,
                (None, Some(guest)) => guest.play(&entry, &mut self.state),
                (None, None) => Exit::Halt { interrupts_enabled: true },
            };
            (entry.injected, entry.replaced) = (None, false);
            let Exit::Io(access) = exit else { return exit };
            let Some(rax) = short.port(access, self.state.registers.rax) else { return exit };
            self.state.registers.rax = rax;
            self.skip_instruction();
            if !short.may_go_on() {
                return Exit::Interrupted;
            }
        }
    }

    fn interrupt_taken(&self) -> bool {
        // Its flags always allow it; its priority class must be above the task's.
        let is_above = |vector: u8| vector >> 4 > self.offered.task_priority;
        self.offered.interrupt.is_some_and(|vector| self.offered.is_from_8259() || is_above(vector))
    }

    fn nmi_taken(&self) -> bool {
        self.offered.nmi
    }

    fn task_priority(&self) -> u8 {
        self.offered.task_priority & !RunControl::FROM_8259
    }

    fn registers(&self) -> &Registers {
        &self.state.registers
    }

    fn registers_mut(&mut self) -> &mut Registers {
        &mut self.state.registers
    }

    fn skip_instruction(&mut self) {
        self.state.registers.rip = self.state.registers.rip.wrapping_add(INSTRUCTION_BYTES);
    }

    fn paging(&self) -> PagingRegisters {
        self.state.paging()
    }

    fn instruction_bytes(&self) -> ([u8; 15], usize) {
        ([0; 15], 0)
    }

    fn inject(&mut self, exception: Exception) {
        self.injected = Some(exception);
    }

    fn state(&self) -> CpuState {
        self.state
    }

    fn set_state(&mut self, state: &CpuState) -> Result<(), InvalidState> {
        // The one combination that every machine refuses: paging without protection.
        if state.cr0 & (1 << 31) != 0 && state.cr0 & 1 == 0 {
            return Err(InvalidState);
        }
        self.state = *state;
        self.replaced = true;
        self.injected = None;
        Ok(())
    }

    fn fpu_image(&self) -> [u8; 512] {
        self.fpu.as_deref().copied().unwrap_or([0; 512])
    }

    fn set_fpu_image(&mut self, image: Option<&[u8; 512]>) {
        self.fpu = image.map(|image| Box::new(*image));
    }

    fn vector(&self, number: u8) -> u128 {
        let at = 160 + usize::from(number) * 16;
        let bytes = self.fpu.as_deref().and_then(|image| image.get(at..at + 16)?.try_into().ok());
        bytes.map_or(0, u128::from_le_bytes)
    }

    fn set_vector(&mut self, number: u8, value: u128) {
        let at = 160 + usize::from(number) * 16;
        self.fpu.get_or_insert_with(|| Box::new([0; 512]))[at..at + 16].copy_from_slice(&value.to_le_bytes());
    }

    fn debug_addresses(&self) -> [u64; 4] {
        self.debug_addresses
    }

    fn set_debug_addresses(&mut self, addresses: [u64; 4]) {
        self.debug_addresses = addresses;
    }

    fn undelivered_event(&self) -> Option<EventInFlight> {
        self.undelivered
    }

    fn set_undelivered_event(&mut self, event: Option<EventInFlight>) {
        self.undelivered = event;
    }

    fn msr(&self, msr: HardwareMsr) -> u64 {
        match msr {
            HardwareMsr::Efer => self.state.efer,
            HardwareMsr::Pat => self.state.pat,
            HardwareMsr::SysenterCs => self.state.sysenter_cs,
            HardwareMsr::SysenterEsp => self.state.sysenter_esp,
            HardwareMsr::SysenterEip => self.state.sysenter_eip,
            HardwareMsr::DebugControl => 0,
        }
    }

    fn set_msr(&mut self, msr: HardwareMsr, value: u64) -> Result<(), InvalidState> {
        let register = match msr {
            // Whether long mode is active does not depend on what is written.
            HardwareMsr::Efer => {
                self.state.efer = (value & !EFER_ACTIVE) | (self.state.efer & EFER_ACTIVE);
                return Ok(());
            }
            HardwareMsr::Pat => &mut self.state.pat,
            HardwareMsr::SysenterCs => &mut self.state.sysenter_cs,
            HardwareMsr::SysenterEsp => &mut self.state.sysenter_esp,
            HardwareMsr::SysenterEip => &mut self.state.sysenter_eip,
            HardwareMsr::DebugControl => return if value == 0 { Ok(()) } else { Err(InvalidState) },
        };
        *register = value;
        Ok(())
    }

    fn shift_tsc(&mut self, _ticks: i64) {}

    fn park(&mut self) {}

    fn tear_down(mut self, frames: &mut dyn FrameSource) {
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            frames.give_back(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_come_in_the_order_they_were_queued_and_then_it_halts() {
        let (mut vcpu, space) = (FakeVcpu::new(), FakeSpace::default());
        vcpu.exits.extend([Exit::Hypercall, Exit::Shutdown]);
        let mut run = || vcpu.run(&space, RunControl::default(), &mut ());
        assert_eq!([run(), run()], [Exit::Hypercall, Exit::Shutdown]);
        assert_eq!(run(), Exit::Halt { interrupts_enabled: true });
        assert_eq!(vcpu.runs(), 3);
    }

    #[test]
    fn a_guest_that_is_played_sees_what_was_injected_once_and_changes_its_registers() {
        #[derive(Debug)]
        struct Counts;
        impl FakeGuest for Counts {
            fn play(&mut self, entry: &FakeEntry, state: &mut CpuState) -> Exit {
                state.registers.rbx += 1;
                if entry.injected.is_some() { Exit::Shutdown } else { Exit::CacheFlush }
            }
        }
        let (mut vcpu, space) = (FakeVcpu::new(), FakeSpace::default());
        vcpu.guest = Some(Box::new(Counts));
        vcpu.inject(Exception::INVALID_OPCODE);
        let mut run = || vcpu.run(&space, RunControl::default(), &mut ());
        assert_eq!([run(), run()], [Exit::Shutdown, Exit::CacheFlush]);
        assert_eq!(vcpu.registers().rbx, 2);
    }

    #[test]
    fn an_interrupt_is_taken_only_above_the_task_priority() {
        let (mut vcpu, space) = (FakeVcpu::new(), FakeSpace::default());
        let control = RunControl { interrupt: Some(0x35), task_priority: 3, ..RunControl::default() };
        vcpu.run(&space, control, &mut ());
        assert!(!vcpu.interrupt_taken());
        vcpu.run(&space, RunControl { task_priority: 2, ..control }, &mut ());
        assert!(vcpu.interrupt_taken());
    }

    #[test]
    fn long_mode_stays_active_whatever_is_written_to_efer() {
        let mut vcpu = FakeVcpu::new();
        vcpu.set_state(&CpuState { efer: 0x500, ..vcpu.state() }).unwrap();
        vcpu.set_msr(HardwareMsr::Efer, 0x901).unwrap();
        assert_eq!(vcpu.msr(HardwareMsr::Efer), 0xd01);
    }

    #[test]
    fn paging_without_protection_is_no_state() {
        let mut vcpu = FakeVcpu::new();
        let before = vcpu.state();
        assert_eq!(vcpu.set_state(&CpuState { cr0: 1 << 31, ..before }), Err(InvalidState));
        assert_eq!(vcpu.state(), before);
    }
}
