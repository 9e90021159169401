//! A virtual CPU of SVM: enters the guest, decodes its exits, keeps what the hardware does not.

mod conclude;
mod doorstep;
mod events;
mod msrs;
mod resident;
mod run;

use super::asid::Tag;
use super::exits;
use super::features::Features;
use super::interrupt;
use super::per_cpu::CpuData;
use super::permissions::PermissionMaps;
use super::processor::Processor;
use super::state;
use super::vmcb::{Field, Vmcb, clean};
use crate::guest::frame_access::FrameAccess;
use crate::guest::nested::NestedTables;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_hal::{
    CpuId, CpuState, EventInFlight, Exception, Exit, FrameSource, GuestCpu, HardwareMsr, InvalidState, Mfn, Mpa,
    PageWords, PagingRegisters, Registers, RunControl, Segment, SegmentAttributes, SegmentName, ShortAnswers,
};

/// Number of the next vCPU; 0 is nobody's.
static NEXT: AtomicU64 = AtomicU64::new(1);

const RFLAGS_TF: u64 = 1 << 8;
const RFLAGS_RF: u64 = 1 << 16;
const DR6_SINGLE_STEP: u64 = 1 << 14;
const DEBUG_EXCEPTION: Exception = Exception { vector: 1, error_code: None, address: None };
const SHADOW: u64 = 1;
/// The enabling bits of the four breakpoints.
const DR7_ENABLED: u64 = 0xff;
const NESTED_PAGING_ON: u64 = 1;

/// A frame, and the way to what it holds.
pub type Frame = (Mfn, &'static PageWords);

/// A vCPU of an AMD machine.
///
/// The general registers live in `registers`; of them RAX, RSP, RIP and RFLAGS pass through the control block on each
/// run. Everything else stays in the block. The FPU and DR0 to DR3 stay in the physical CPU until `park`.
pub struct SvmVcpu<P, A> {
    id: u64,
    vmcb: Vmcb,
    /// Of the block and of the FPU's page; none after `tear_down`.
    frames: Option<[Mfn; 2]>,
    fpu: &'static PageWords,
    features: Features,
    /// The map of ports that are open to the control domain.
    opened_ports: Mpa,
    registers: Registers,
    tag: Tag,
    /// What the CPU may believe of the block that it has cached, if it enters on the CPU where it last ran.
    clean: u64,
    last_cpu: Option<CpuId>,
    loaded: bool,
    pending: Option<Exception>,
    /// EVENTINJ of an event whose delivery was cut short, or 0; but for an NMI.
    again: u64,
    /// The delivery of an NMI was cut short.
    nmi_again: bool,
    next_rip: Option<u64>,
    /// Runs in a row that ended because the state was refused.
    refusals: u8,
    interrupt_taken: bool,
    nmi_taken: bool,
    /// From the delivery of an NMI to the handler's IRET.
    nmi_masked: bool,
    debug_addresses: [u64; 4],
    /// The guest's DR0 to DR3 are to be in the CPU while it runs.
    debug_in_use: bool,
    kinds: PhantomData<(P, fn(A))>,
}

impl<P: Processor, A: FrameAccess + 'static> SvmVcpu<P, A> {
    /// Creates a vCPU in the state after INIT.
    ///
    /// # Safety
    /// Each page is the memory of its frame, zero, and nothing else's until [`GuestCpu::tear_down`]. The maps stay
    /// where they are for ever.
    pub unsafe fn new(block: Frame, fpu: Frame, maps: PermissionMaps) -> Self {
        let vmcb = Vmcb::new(block.1);
        P::reset_fpu(fpu.1);
        let features = P::features();
        vmcb.set(Field::INTERCEPTS, exits::INTERCEPTS);
        vmcb.set(Field::MORE_INTERCEPTS, exits::MORE_INTERCEPTS);
        vmcb.set(Field::REGISTER_INTERCEPTS, exits::register_intercepts(&features, true));
        vmcb.set(Field::IO_PERMISSIONS, maps.ports.0);
        vmcb.set(Field::MSR_PERMISSIONS, maps.msrs.0);
        vmcb.set(Field::NESTED_PAGING, NESTED_PAGING_ON);
        let start = CpuState::after_init();
        state::store(vmcb, &start);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            vmcb,
            frames: Some([block.0, fpu.0]),
            fpu: fpu.1,
            features,
            opened_ports: maps.opened_ports,
            registers: start.registers,
            tag: Tag::default(),
            clean: 0,
            last_cpu: None,
            loaded: false,
            pending: None,
            again: 0,
            nmi_again: false,
            next_rip: None,
            refusals: 0,
            interrupt_taken: false,
            nmi_taken: false,
            nmi_masked: false,
            debug_addresses: [0; 4],
            debug_in_use: false,
            kinds: PhantomData,
        }
    }

    /// Writes a word of the VMCB that the CPU may have cached, if it changes.
    #[inline]
    fn change(&mut self, field: Field, value: u64, part: u64) {
        if self.vmcb.get(field) != value {
            self.vmcb.set(field, value);
            self.clean &= !part;
        }
    }
}

impl<P: Processor, A: FrameAccess + 'static> GuestCpu for SvmVcpu<P, A> {
    type Space = NestedTables<A>;

    /// The VMCB, and the FPU state.
    const FRAMES: u32 = 2;

    #[inline]
    fn run(&mut self, space: &Self::Space, control: RunControl, short: &mut impl ShortAnswers) -> Exit {
        self.run_in(space, control, short)
    }

    fn interrupt_taken(&self) -> bool {
        self.interrupt_taken
    }

    fn nmi_taken(&self) -> bool {
        self.nmi_taken
    }

    fn task_priority(&self) -> u8 {
        interrupt::task_priority(self.vmcb.get(Field::VIRTUAL_INTERRUPT))
    }

    fn registers(&self) -> &Registers {
        &self.registers
    }

    fn registers_mut(&mut self) -> &mut Registers {
        &mut self.registers
    }

    #[inline]
    fn skip_instruction(&mut self) {
        self.step_over();
    }

    fn paging(&self) -> PagingRegisters {
        PagingRegisters {
            cr0: self.vmcb.get(Field::CR0),
            cr3: self.vmcb.get(Field::CR3),
            cr4: self.vmcb.get(Field::CR4),
            efer: state::efer_now(self.vmcb) & !state::efer::SVME,
            rflags: self.registers.rflags,
            cpl: (self.vmcb.get(Field::CPL) >> 24) as u8 & 3,
            long_code: self.vmcb.attributes(Field::CS).contains(SegmentAttributes::LONG),
        }
    }

    fn instruction_bytes(&self) -> ([u8; 15], usize) {
        // Other exits leave the bytes of an earlier one where they were.
        let fetched = self.features.decode_assists && self.vmcb.get(Field::EXIT_CODE) == exits::NESTED_FAULT;
        if fetched { self.vmcb.instruction() } else { ([0; 15], 0) }
    }

    fn inject(&mut self, exception: Exception) {
        self.pending = Some(exception);
    }

    fn state(&self) -> CpuState {
        CpuState { pat: self.page_attributes(), ..state::load(self.vmcb, &self.registers) }
    }

    fn segment(&self, name: SegmentName) -> Segment {
        self.vmcb.segment(match name {
            SegmentName::Es => Field::ES,
            SegmentName::Cs => Field::CS,
            SegmentName::Ss => Field::SS,
            SegmentName::Ds => Field::DS,
            SegmentName::Fs => Field::FS,
            SegmentName::Gs => Field::GS,
        })
    }

    fn set_state(&mut self, state: &CpuState) -> Result<(), InvalidState> {
        let state = state::checked(state, &self.features)?;
        state::store(self.vmcb, &state);
        self.registers = state.registers;
        self.page_attributes_changed();
        self.vmcb.set(Field::INTERRUPT_SHADOW, 0);
        self.mask_nmi(false);
        if state.dr7 & DR7_ENABLED != 0 && !self.debug_in_use {
            self.use_debug_registers(true);
            if self.loaded {
                P::set_debug_addresses(&self.debug_addresses);
            }
        }
        self.clean = 0;
        // As INIT does, and as writes of the control registers do one by one: what the CPU has cached of the guest's
        // own translations belongs to the old state.
        self.tag = Tag::default();
        self.drop_events();
        self.next_rip = None;
        Ok(())
    }

    fn fpu_image(&self) -> [u8; 512] {
        self.saved_fpu()
    }

    fn set_fpu_image(&mut self, image: Option<&[u8; 512]>) {
        self.set_saved_fpu(image);
    }

    fn vector(&self, number: u8) -> u128 {
        self.saved_vector(number)
    }

    fn set_vector(&mut self, number: u8, value: u128) {
        self.set_saved_vector(number, value);
    }

    fn debug_addresses(&self) -> [u64; 4] {
        self.debug_addresses
    }

    fn set_debug_addresses(&mut self, addresses: [u64; 4]) {
        self.debug_addresses = addresses;
        self.use_debug_registers(self.vmcb.get(Field::DR7) & DR7_ENABLED != 0);
    }

    #[inline]
    fn undelivered_event(&self) -> Option<EventInFlight> {
        interrupt::in_flight(self.waiting_event())
    }

    fn set_undelivered_event(&mut self, event: Option<EventInFlight>) {
        self.drop_events();
        if let Some(event) = event {
            self.deliver_again(interrupt::inject(event));
        }
    }

    #[inline]
    fn msr(&self, msr: HardwareMsr) -> u64 {
        self.read_msr(msr)
    }

    #[inline]
    fn set_msr(&mut self, msr: HardwareMsr, value: u64) -> Result<(), InvalidState> {
        self.write_msr(msr, value)
    }

    fn shift_tsc(&mut self, ticks: i64) {
        let offset = self.vmcb.get(Field::TSC_OFFSET).wrapping_add_signed(ticks);
        self.change(Field::TSC_OFFSET, offset, clean::INTERCEPTS);
    }

    fn use_open_ports(&mut self) {
        self.change(Field::IO_PERMISSIONS, self.opened_ports.0, clean::PERMISSION_MAPS);
    }

    #[inline]
    fn park(&mut self) {
        self.take_out();
    }

    fn tear_down(mut self, frames: &mut dyn FrameSource) {
        if let Some(data) = self.last_cpu.and_then(CpuData::of) {
            data.forget(self.id);
        }
        for frame in self.frames.take().into_iter().flatten() {
            frames.give_back(frame);
        }
    }
}

impl<P, A> Drop for SvmVcpu<P, A> {
    fn drop(&mut self) {
        if let Some(data) = self.last_cpu.and_then(CpuData::of) {
            data.forget(self.id);
        }
    }
}
