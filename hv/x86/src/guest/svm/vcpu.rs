//! A virtual CPU: enters the guest, reads why it came back, keeps what the hardware does not.

use super::asid::{self, Tag};
use super::control_writes::{self, Write};
use super::exits::{self, Meaning};
use super::features::Features;
use super::fetch;
use super::interrupt::{self, CutShort};
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
    CpuId, CpuState, Exception, Exit, FrameSource, GuestCpu, HardwareMsr, InvalidState, Mfn, Mpa, PageWords,
    PagingRegisters, Registers, RunControl, ShortAnswers,
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
/// Where an image of the FPU has MXCSR, and the bits that it can have. **Source:** AMD manual volume 1, 11.
const MXCSR: usize = 24;
const MXCSR_KNOWN: u32 = 0xffff;
/// Where an XSAVE area says which parts it holds, and those that FXSAVE writes.
const XSTATE_PARTS: usize = 512;
const LEGACY_PARTS: u64 = 3;
const NESTED_PAGING_ON: u64 = 1;

/// How many refusals in a row are taken for the guest's own doing.
const MISTAKEN_REFUSALS: u8 = 100;

/// What a run began with.
struct Entry {
    /// The virtual interrupt word.
    offered: u64,
    event: u64,
    asid: u64,
    nmi: bool,
}

impl Entry {
    /// Whether the guest can be entered once more with nothing new in the block but its registers: what was injected or
    /// flushed was for one entry.
    #[inline]
    const fn can_be_repeated(&self) -> bool {
        self.event == 0 && !self.nmi && !asid::flushes(self.asid)
    }
}

/// How the last turn of a run ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// With an exit that was answered.
    Answered,
    Unanswered,
}

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
    /// EVENTINJ of an event whose delivery was cut short, or 0.
    again: u64,
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
    /// A vCPU in the state after INIT.
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

    /// Writes a word of the block that the CPU may have cached, if it is another than before.
    #[inline]
    fn change(&mut self, field: Field, value: u64, part: u64) {
        if self.vmcb.get(field) != value {
            self.vmcb.set(field, value);
            self.clean &= !part;
        }
    }

    /// Brings the FPU and debug registers into this CPU. False while another vCPU's lie there: it was not parked.
    fn bring_in(&mut self, data: &CpuData, block: Mfn) -> bool {
        if self.loaded && data.holds(self.id) {
            return true;
        }
        if self.loaded || !data.claim(self.id, block) {
            return false;
        }
        self.loaded = true;
        P::load_fpu(self.fpu);
        self.page_attributes_changed();
        if self.debug_in_use {
            P::set_debug_addresses(&self.debug_addresses);
        }
        true
    }

    /// The guest's page attribute table. An emulated CPU, which does not put it into the block, lets the guest write what
    /// no CPU has.
    #[inline]
    fn page_attributes(&self) -> u64 {
        let of_block = self.vmcb.get(Field::G_PAT);
        if !self.loaded || !self.features.shares_page_attributes() {
            return of_block;
        }
        let of_cpu = P::page_attributes();
        if of_cpu != of_block && state::pat_is_valid(of_cpu) { of_cpu } else { of_block }
    }

    /// What stands in the block is to be the guest's.
    #[inline]
    fn page_attributes_changed(&self) {
        if self.loaded && self.features.shares_page_attributes() {
            P::set_page_attributes(self.vmcb.get(Field::G_PAT));
        }
    }

    /// The event for EVENTINJ, or 0. An exception goes first; what was cut short goes before a new NMI.
    #[inline]
    fn next_event(&mut self, nmi_waits: bool) -> u64 {
        if let Some(exception) = self.pending.take() {
            if self.again != interrupt::NMI {
                self.again = 0;
            }
            if let Some(address) = exception.address {
                self.change(Field::CR2, address, clean::CR2);
            }
            let protected = self.vmcb.get(Field::CR0) & state::cr0::PE != 0;
            return interrupt::exception(&exception, protected);
        }
        if self.again != 0 {
            return core::mem::take(&mut self.again);
        }
        if nmi_waits && !self.nmi_masked && self.vmcb.get(Field::INTERRUPT_SHADOW) & SHADOW == 0 {
            self.nmi_taken = true;
            self.mask_nmi(true);
            return interrupt::NMI;
        }
        0
    }

    /// Whether DR0 to DR3 are the guest's while it runs, or another's and out of its reach.
    fn use_debug_registers(&mut self, used: bool) {
        self.debug_in_use = used;
        let intercepts = exits::register_intercepts(&self.features, !used);
        self.change(Field::REGISTER_INTERCEPTS, intercepts, clean::INTERCEPTS);
    }

    fn mask_nmi(&mut self, masked: bool) {
        self.nmi_masked = masked;
        let also = if masked { exits::INTERCEPT_IRET } else { 0 };
        self.change(Field::INTERCEPTS, exits::INTERCEPTS | also, clean::INTERCEPTS);
    }

    /// Writes into the block what this entry needs, and gives the event that it injects, or 0. RIP, RSP, RAX and RFLAGS
    /// are never cached by the CPU.
    #[inline]
    fn prepare(&mut self, cpu: CpuId, control: RunControl) -> u64 {
        if self.last_cpu != Some(cpu) {
            self.last_cpu = Some(cpu);
            self.clean = 0;
        }
        self.interrupt_taken = false;
        self.nmi_taken = false;
        let event = self.next_event(control.nmi);
        self.vmcb.set(Field::EVENT_INJECTION, event);
        self.change(Field::VIRTUAL_INTERRUPT, interrupt::virtual_interrupt(control), clean::VIRTUAL_INTERRUPT);
        self.vmcb.set(Field::RAX, self.registers.rax);
        self.vmcb.set(Field::RSP, self.registers.rsp);
        self.vmcb.set(Field::RIP, self.registers.rip);
        self.vmcb.set(Field::RFLAGS, self.registers.rflags);
        event
    }

    /// What the CPU may believe after a run of what it has cached of the block.
    #[inline]
    fn all_clean(&self) -> u64 {
        if self.features.clean_bits { clean::ALL } else { 0 }
    }

    /// Answers an exit that is the same whatever else is going on, in the block itself; false for any other, and nothing
    /// was done.
    #[inline]
    fn answer_shortly(&self, entry: &Entry, data: &CpuData, short: &mut impl ShortAnswers) -> bool {
        let vmcb = self.vmcb;
        let Some((access, next)) = exits::port(vmcb) else { return false };
        let flags = vmcb.get(Field::RFLAGS);
        let unchanged = vmcb.get(Field::VIRTUAL_INTERRUPT) == entry.offered
            && interrupt::cut_short(vmcb.get(Field::EXIT_INTERRUPTION)) == CutShort::Nothing;
        if !entry.can_be_repeated() || !unchanged || flags & RFLAGS_TF != 0 {
            return false;
        }
        let Some(rax) = short.port(access, vmcb.get(Field::RAX)) else { return false };
        vmcb.set(Field::RAX, rax);
        vmcb.set(Field::RIP, next);
        vmcb.set(Field::RFLAGS, flags & !RFLAGS_RF);
        vmcb.set(Field::INTERRUPT_SHADOW, vmcb.get(Field::INTERRUPT_SHADOW) & !SHADOW);
        if let Some(counts) = data.counts() {
            counts.count_port();
        }
        true
    }

    /// Reads from the block what the run left there.
    #[inline]
    fn collect(&mut self, control: RunControl) {
        self.registers.rax = self.vmcb.get(Field::RAX);
        self.registers.rsp = self.vmcb.get(Field::RSP);
        self.registers.rip = self.vmcb.get(Field::RIP);
        self.registers.rflags = self.vmcb.get(Field::RFLAGS);
        self.clean = self.all_clean();
        let offered = interrupt::still_offered(self.vmcb.get(Field::VIRTUAL_INTERRUPT));
        self.interrupt_taken = control.interrupt.is_some() && !offered;
        match interrupt::cut_short(self.vmcb.get(Field::EXIT_INTERRUPTION)) {
            CutShort::Nothing => {}
            CutShort::Inject(event) => self.again = event,
            CutShort::Interrupt => self.interrupt_taken = false,
        }
        self.next_rip = exits::next_instruction(self.vmcb, self.registers.rip, self.features.next_rip);
    }

    /// QEMU 7.2 says that a guest's state was refused when the guest itself sets a reserved bit of a control or debug
    /// register; a CPU raises #GP. So a refusal of a sound state is taken for that, but not without end.
    fn is_mistaken_refusal(&mut self) -> bool {
        self.refusals = self.refusals.saturating_add(1);
        self.refusals <= MISTAKEN_REFUSALS && state::checked(&self.state(), &self.features).is_ok()
    }

    /// What the exit means to the core; what is no concern of the core's is done here.
    #[inline]
    fn conclude(&mut self, space: &NestedTables<A>) -> Exit {
        let meaning = exits::decode(self.vmcb, &self.registers);
        if matches!(meaning, Meaning::Core(Exit::InvalidState)) {
            if self.is_mistaken_refusal() {
                self.pending = Some(Exception::GENERAL_PROTECTION);
                return Exit::Interrupted;
            }
            return Exit::InvalidState;
        }
        self.refusals = 0;
        if !interrupt::is_sound(self.vmcb.get(Field::VIRTUAL_INTERRUPT)) {
            return Exit::StateLost;
        }
        match meaning {
            Meaning::Core(exit) => return exit,
            Meaning::HostInterrupt => P::open_interrupt_window(),
            Meaning::MachineCheck => P::machine_check(),
            Meaning::Inject(exception) => self.pending = Some(exception),
            Meaning::ControlRegister => return self.write_control_register(space),
            Meaning::DebugRegisters => {
                P::set_debug_addresses(&self.debug_addresses);
                self.use_debug_registers(true);
            }
            Meaning::InterruptReturn => {
                self.mask_nmi(false);
                // The IRET has yet to run; an NMI that waits must not come before it.
                let shadow = self.vmcb.get(Field::INTERRUPT_SHADOW);
                self.vmcb.set(Field::INTERRUPT_SHADOW, shadow | SHADOW);
            }
        }
        Exit::Interrupted
    }

    /// Writes CR0 or CR4 as a CPU would.
    fn write_control_register(&mut self, space: &NestedTables<A>) -> Exit {
        let now = self.paging();
        let base = if now.long_code { 0 } else { self.vmcb.segment(Field::CS).base };
        let (bytes, count) = fetch::instruction(space, &now, base.wrapping_add(self.registers.rip));
        let code = bytes.get(..count).and_then(|bytes| control_writes::decode(bytes, now.long_code));
        let Some((write, length)) = code else { return Exit::Unknown { code: self.vmcb.get(Field::EXIT_CODE) } };
        let value = write.value(now.cr0, &self.registers, now.long_code);
        let changed = if matches!(write, Write::Cr4(_)) {
            control_writes::cr4_fits(value, &now, &self.features).then_some([(Field::CR4, value); 2])
        } else {
            control_writes::cr0_after(value, &now)
                .map(|(cr0, efer)| [(Field::CR0, cr0), (Field::EFER, efer | state::efer::SVME)])
        };
        let Some(changed) = changed else {
            self.pending = Some(Exception::GENERAL_PROTECTION);
            return Exit::Interrupted;
        };
        for (field, value) in changed {
            self.change(field, value, clean::CONTROL_REGISTERS);
        }
        // Such a write drops what the CPU has cached of the guest's translations.
        self.tag = Tag::default();
        self.next_rip = Some(self.registers.rip.wrapping_add(length));
        self.skip_instruction();
        Exit::Interrupted
    }

    /// True when EFER may become this.
    fn efer_fits(&self, value: u64) -> bool {
        let paging = self.vmcb.get(Field::CR0) & state::cr0::PG != 0;
        let changed = value ^ self.vmcb.get(Field::EFER);
        value & !self.features.efer == 0 && !(paging && changed & state::efer::LME != 0)
    }

    const fn field_of(msr: HardwareMsr) -> (Field, u64) {
        match msr {
            HardwareMsr::Efer => (Field::EFER, clean::CONTROL_REGISTERS),
            HardwareMsr::Pat => (Field::G_PAT, clean::NESTED_PAGING),
            HardwareMsr::SysenterCs => (Field::SYSENTER_CS, 0),
            HardwareMsr::SysenterEsp => (Field::SYSENTER_ESP, 0),
            HardwareMsr::SysenterEip => (Field::SYSENTER_EIP, 0),
            HardwareMsr::DebugControl => (Field::DEBUG_CONTROL, clean::LAST_BRANCH),
        }
    }
}

impl<P: Processor, A: FrameAccess + 'static> GuestCpu for SvmVcpu<P, A> {
    type Space = NestedTables<A>;

    fn run(&mut self, space: &Self::Space, control: RunControl, short: &mut impl ShortAnswers) -> Exit {
        let cpu = P::this_cpu();
        let (Some(data), Some(root)) = (CpuData::of(cpu), space.root()) else { return Exit::InvalidState };
        let (Some(host), Some([block, _])) = (data.host(), self.frames) else { return Exit::InvalidState };
        if !self.bring_in(data, block) {
            return Exit::InvalidState;
        }
        let event = self.prepare(cpu, control);
        self.change(Field::NESTED_CR3, root.0, clean::NESTED_PAGING);
        let Some(generation) = space.residency().enter(cpu) else { return Exit::InvalidState };
        let asid = data.asids.word(&mut self.tag, cpu, root.0, generation, self.features.flush_by_asid);
        self.change(Field::ASID, asid, clean::ASID);
        self.vmcb.set(Field::CLEAN, self.clean);
        let entry = Entry { offered: self.vmcb.get(Field::VIRTUAL_INTERRUPT), event, asid, nmi: control.nmi };
        let turn = loop {
            // SAFETY: the block lies in its own frame (promised to `new`) and was filled there and by `set_state`, which
            // refuses what no guest may hold; its nested tables are those of `space`, the vCPU's own, and cannot be torn
            // down while a vCPU runs in it. `host` is set by `enable_cpu` only, and each CPU reads its own.
            unsafe { P::enter(&mut self.registers, Mpa::from_mfn(block), host) };
            if self.features.forgets_interrupts() {
                P::recall_interrupts();
            }
            if !self.answer_shortly(&entry, data, short) {
                break Turn::Unanswered;
            }
            // As at each entry: the quiet point first, then the generation of the translation.
            if !short.may_go_on() || space.residency().generation() != generation {
                break Turn::Answered;
            }
            self.vmcb.set(Field::CLEAN, self.all_clean());
        };
        space.residency().leave(cpu);
        self.collect(control);
        if turn == Turn::Answered {
            self.next_rip = None;
            return Exit::Interrupted;
        }
        if let Some(counts) = data.counts() {
            counts.count(self.vmcb.get(Field::EXIT_CODE), self.registers.rax);
        }
        self.conclude(space)
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

    fn skip_instruction(&mut self) {
        let Some(next) = self.next_rip.take() else { return };
        self.registers.rip = next;
        let shadow = self.vmcb.get(Field::INTERRUPT_SHADOW);
        self.vmcb.set(Field::INTERRUPT_SHADOW, shadow & !SHADOW);
        self.registers.rflags &= !RFLAGS_RF;
        if self.registers.rflags & RFLAGS_TF != 0 && self.pending.is_none() {
            let status = self.vmcb.get(Field::DR6);
            self.change(Field::DR6, status | DR6_SINGLE_STEP, clean::DEBUG_REGISTERS);
            self.pending = Some(DEBUG_EXCEPTION);
        }
    }

    fn paging(&self) -> PagingRegisters {
        PagingRegisters {
            cr0: self.vmcb.get(Field::CR0),
            cr3: self.vmcb.get(Field::CR3),
            cr4: self.vmcb.get(Field::CR4),
            efer: self.vmcb.get(Field::EFER) & !state::efer::SVME,
            rflags: self.registers.rflags,
            cpl: (self.vmcb.get(Field::CPL) >> 24) as u8 & 3,
            long_code: self.vmcb.segment(Field::CS).attributes & (1 << 9) != 0,
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
        self.pending = None;
        self.again = 0;
        self.next_rip = None;
        Ok(())
    }

    fn fpu_image(&self) -> [u8; 512] {
        let mut image = [0; 512];
        // The image is a part of the page.
        let _ = self.fpu.read_bytes(0, &mut image);
        image
    }

    fn set_fpu_image(&mut self, image: Option<&[u8; 512]>) {
        self.fpu.clear();
        let Some(image) = image else { return P::reset_fpu(self.fpu) };
        let _ = self.fpu.write_bytes(0, image);
        let control = self.fpu.load_u32(MXCSR).unwrap_or(0);
        let _ = self.fpu.store_u32(MXCSR, control & MXCSR_KNOWN);
        if self.features.xcr0 != 0 {
            let _ = self.fpu.store_u64(XSTATE_PARTS, LEGACY_PARTS);
        }
    }

    fn debug_addresses(&self) -> [u64; 4] {
        self.debug_addresses
    }

    fn set_debug_addresses(&mut self, addresses: [u64; 4]) {
        self.debug_addresses = addresses;
        self.use_debug_registers(self.vmcb.get(Field::DR7) & DR7_ENABLED != 0);
    }

    fn undelivered_event(&self) -> u64 {
        let protected = self.vmcb.get(Field::CR0) & state::cr0::PE != 0;
        self.pending.as_ref().map_or(self.again, |pending| interrupt::exception(pending, protected))
    }

    fn set_undelivered_event(&mut self, event: u64) {
        self.pending = None;
        self.again = interrupt::valid(event);
    }

    fn msr(&self, msr: HardwareMsr) -> u64 {
        let value = self.vmcb.get(Self::field_of(msr).0);
        match msr {
            HardwareMsr::Efer => value & !state::efer::SVME,
            HardwareMsr::Pat => self.page_attributes(),
            _ => value,
        }
    }

    fn set_msr(&mut self, msr: HardwareMsr, value: u64) -> Result<(), InvalidState> {
        let (field, part) = Self::field_of(msr);
        let value = match msr {
            HardwareMsr::Efer if self.efer_fits(value) => {
                let active = self.vmcb.get(Field::EFER) & state::efer::LMA;
                (value & !state::efer::LMA) | active | state::efer::SVME
            }
            HardwareMsr::Pat if state::pat_is_valid(value) => value,
            HardwareMsr::SysenterCs => value,
            HardwareMsr::SysenterEsp | HardwareMsr::SysenterEip if state::canonical(value) => value,
            // Kept, and without effect: branch records are not virtualised.
            HardwareMsr::DebugControl => value,
            _ => return Err(InvalidState),
        };
        self.change(field, value, part);
        if msr == HardwareMsr::Pat {
            self.page_attributes_changed();
        }
        Ok(())
    }

    fn shift_tsc(&mut self, ticks: i64) {
        let offset = self.vmcb.get(Field::TSC_OFFSET).wrapping_add_signed(ticks);
        self.change(Field::TSC_OFFSET, offset, clean::INTERCEPTS);
    }

    fn use_open_ports(&mut self) {
        self.change(Field::IO_PERMISSIONS, self.opened_ports.0, clean::PERMISSION_MAPS);
    }

    fn park(&mut self) {
        let Some(data) = CpuData::of(P::this_cpu()) else { return };
        if !self.loaded || !data.holds(self.id) {
            return;
        }
        P::save_fpu(self.fpu);
        if self.features.shares_page_attributes() {
            self.change(Field::G_PAT, self.page_attributes(), clean::NESTED_PAGING);
        }
        if self.debug_in_use {
            self.debug_addresses = P::debug_addresses();
            // Without a breakpoint that is on they are not needed until the guest asks again.
            self.use_debug_registers(self.vmcb.get(Field::DR7) & DR7_ENABLED != 0);
        }
        self.loaded = false;
        data.forget(self.id);
    }

    fn tear_down(&mut self, frames: &mut dyn FrameSource) {
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
