//! What a sequence works on, and how it makes a call.

use xenolith_sync::Arc;

use fastrand::Rng;
use xen_abi::{DomId, Gfn, GrantRef, VcpuId};
use xenolith_core::domains::domain::Domain;
use xenolith_core::domains::hypervisor::Hypervisor;
use xenolith_core::domains::running::Running;
use xenolith_core::hypercalls::answer;
use xenolith_core::lifecycle::destruction::reap;
use xenolith_core::outcome::After;
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, GuestCpu};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::guests;
use crate::hypercalls;

pub type Guest = Arc<Domain<FakeMachine>>;

/// Guest frames that sequences name: those below 32 are RAM at first.
pub const SPAN: u64 = 160;
/// Guest frames of RAM that hold no arguments.
pub const RAM: std::ops::Range<u64> = 4..BUFFER >> 12;
/// Where a call's structure and its lists lie, in bytes.
pub const ARGUMENT: u64 = 0x1000;
pub const LIST: u64 = 0x1800;
pub const BUFFER: u64 = 0x1_4000;
/// A call that is not done after this many rounds never will be.
const MOST_ROUNDS: u32 = 20_000;
/// Rounds after which the other CPU leaves its guest, and the clock moves.
const PATIENT_ROUNDS: u32 = 8;

/// A world, and what was made in it so far.
pub struct Stage<'a> {
    pub hv: &'a Hypervisor<FakeMachine>,
    pub dice: &'a mut Rng,
    pub ports: Vec<u32>,
    /// Grants: whose, to whom, and by which reference.
    pub granted: Vec<(DomId, DomId, GrantRef)>,
    /// Grant handles: whose, and where they are mapped.
    pub handles: Vec<(u16, u32, u64)>,
    /// Domains that were made.
    pub made: Vec<DomId>,
    /// Hypercalls made, and how many of them succeeded.
    pub calls: u64,
    pub good: u64,
    /// Grants that were mapped.
    pub mapped: u64,
    /// Steps of the guest after which it waited for a device model.
    pub waits: u32,
}

impl<'a> Stage<'a> {
    pub fn new(hv: &'a Hypervisor<FakeMachine>, dice: &'a mut Rng) -> Self {
        Self {
            hv,
            dice,
            ports: Vec::new(),
            granted: Vec::new(),
            handles: Vec::new(),
            made: Vec::new(),
            calls: 0,
            good: 0,
            mapped: 0,
            waits: 0,
        }
    }

    /// Lets time pass at each look at the clock for some calls, and another vCPU write to the arguments of some.
    pub fn unsettle(&mut self, guest: &Guest) {
        if self.dice.u8(..8) == 0 {
            self.hv.machine.set_pace(self.dice.u64(..600_000));
        }
        if self.dice.u8(..8) == 0 {
            let page = guests::page(self.hv, guest, Gfn(ARGUMENT >> 12)).map(|(mfn, _)| mfn);
            self.hv.machine.disturbance.set(self.dice.u64(1..), page.as_slice());
        }
    }

    /// Every CPU passes a quiescent state, and what waited for that is freed.
    pub fn pass_quiescent_states(&mut self) {
        for cpu in 0..2 {
            self.hv.frames.quiet(CpuId(cpu));
        }
        let _ = self.hv.frames.poll(&self.hv.machine, || true);
        let _ = reap(self.hv);
    }

    /// A domain that exists, mostly.
    pub fn domain(&mut self) -> DomId {
        match self.dice.u8(..8) {
            0..=3 => DomId(0),
            4..=6 => DomId(1),
            _ => self.made.last().copied().unwrap_or(DomId(1)),
        }
    }

    /// Returns a frame that is RAM at first, or one where something may be mapped. Frames with arguments are left out:
    /// a guest that gave them away would have every later call refused.
    pub fn gfn(&mut self) -> u64 {
        match self.dice.u8(..8) {
            0..=3 => self.dice.u64(RAM),
            _ => self.dice.u64(32..SPAN),
        }
    }

    /// Writes to a guest's memory; false where there is none.
    pub fn write(&self, guest: &Guest, at: u64, bytes: &[u8]) -> bool {
        guests::page(self.hv, guest, Gfn(at >> 12))
            .is_some_and(|(_, page)| page.write_bytes((at & 0xfff) as usize, bytes))
    }

    /// Reads a structure from a guest's memory.
    pub fn read<T: FromBytes + IntoBytes>(&self, guest: &Guest, at: u64) -> Option<T> {
        let mut value = T::new_zeroed();
        let (_, page) = guests::page(self.hv, guest, Gfn(at >> 12))?;
        page.read_bytes((at & 0xfff) as usize, value.as_mut_bytes()).then_some(value)
    }

    /// Makes a call with this structure as its argument, and returns what stands in RAX afterwards. None if the vCPU
    /// makes calls no more.
    pub fn op<T: IntoBytes + Immutable>(
        &mut self,
        guest: &Guest,
        number: u32,
        operation: u32,
        value: &T,
        count: u64,
    ) -> Option<i64> {
        self.write(guest, ARGUMENT, value.as_bytes());
        self.call(guest, number, [operation.into(), ARGUMENT, count, 0, 0, 0])
    }

    /// Makes a call to its end, and returns RAX.
    pub fn call(&mut self, guest: &Guest, number: u32, args: [u64; 6]) -> Option<i64> {
        let vcpu = guest.vcpu(VcpuId(0))?;
        let mut core = vcpu.take_core()?;
        self.calls += 1;
        self.hv.machine.go_to(CpuId(0));
        let registers = core.hardware.registers_mut();
        registers.rax = number.into();
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = args;
        let begun_at = registers.rip;
        let mut rounds = 0;
        let result = loop {
            self.hv.frames.quiet(CpuId(0));
            let after = answer(&mut Running { hv: self.hv, domain: guest, vcpu, core: &mut core });
            if core.hardware.registers().rip != begun_at {
                break Some(core.hardware.registers().rax.cast_signed());
            }
            if !matches!(after, After::Resume | After::Yield | After::Block) {
                break None;
            }
            rounds += 1;
            if rounds > PATIENT_ROUNDS {
                self.pass_quiescent_states();
                self.hv.machine.pass_ns(3_000_000);
            }
            assert!(rounds < MOST_ROUNDS, "call {number} {args:x?} is never done");
        };
        vcpu.unblock();
        vcpu.put_core(core);
        self.good += u64::from(result.is_some_and(|value| value >= 0));
        result
    }

    /// Makes any call of the table with arguments that fit nothing in particular.
    pub fn use_anything(&mut self, guest: &Guest) -> Option<()> {
        hypercalls::write_structures(self.dice, self.hv, guest);
        let (number, args) = hypercalls::call(self.dice);
        // Ending the machine or the control domain ends the sequence.
        self.call(guest, number as u32, args).map(drop)
    }
}
