//! The machine and its parts.

use crate::{
    CpuId, CpuState, CpuidRegisters, Devices, EventInFlight, Exception, Exit, FrameSource, HostEvents, IoAccess,
    NestedSpace, PageWords, PagingRegisters, Registers, Segment, SegmentName, Time, TimeBase, WallClock,
};
use xen_abi::Mfn;

/// Severity of a line of the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}

/// How the machine ends: power off, or reboot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerAction {
    Halt,
    /// Restarts after this delay.
    Reboot {
        delay_ms: u32,
    },
    PowerOff,
}

/// Who receives what is typed on the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsoleInput {
    Dom0,
    Hypervisor,
}

/// A CPU register behind an MSR that the hardware keeps for a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HardwareMsr {
    Efer,
    Pat,
    SysenterCs,
    SysenterEsp,
    SysenterEip,
    DebugControl,
}

/// The machine refused a CPU state (or a register): a reserved bit is set, or the hardware does not enter the
/// combination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidState;

/// What [`GuestCpu::run`] injects at this entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunControl {
    /// The highest pending external interrupt; delivered as soon as the guest's RFLAGS.IF and task priority allow it.
    pub interrupt: Option<u8>,
    /// The guest's task priority (CR8), 0 to 15, and perhaps [`RunControl::FROM_8259`].
    pub task_priority: u8,
    /// An NMI is pending.
    pub nmi: bool,
}

impl RunControl {
    /// In `task_priority`: the interrupt comes from an 8259, which knows no priorities, so the task priority does not hold it
    /// back. It stands there so that the control stays as small as a register.
    pub const FROM_8259: u8 = 1 << 7;

    /// Returns whether the interrupt comes from an 8259.
    #[must_use]
    #[inline]
    pub const fn is_from_8259(self) -> bool {
        self.task_priority & Self::FROM_8259 != 0
    }
}

/// The fast path: answers to exits that change nothing but RAX, after which the guest is entered again at once. What
/// was offered to it and what it may have cached stay valid.
pub trait ShortAnswers {
    /// Handles IN or OUT and returns RAX afterwards. None if the access needs more than that; then nothing was done.
    fn port(&mut self, access: IoAccess, rax: u64) -> Option<u64>;

    /// Returns, after an answer, whether the guest may be entered again with what it was offered. Checks everything
    /// that is checked before each entry, except the translations.
    fn may_go_on(&mut self) -> bool;
}

/// No fast path: every exit is returned.
impl ShortAnswers for () {
    fn port(&mut self, _access: IoAccess, _rax: u64) -> Option<u64> {
        None
    }

    fn may_go_on(&mut self) -> bool {
        false
    }
}

/// The hardware side of a virtual CPU (SVM: its VMCB and saved registers).
pub trait GuestCpu: Send {
    /// The nested page tables (p2m) that it runs in.
    type Space: NestedSpace;

    /// The most frames that [`Machine::new_vcpu`] takes for one.
    const FRAMES: u32;

    /// Enters the guest on this CPU with host interrupts off, and returns why it exited. A host interrupt that arrives
    /// meanwhile ends the run as [`Exit::Interrupted`] and shows in [`Machine::take_events`]; so does an exit that
    /// `short` answers and after which it does not let the guest go on.
    fn run(&mut self, space: &Self::Space, control: RunControl, short: &mut impl ShortAnswers) -> Exit;

    /// Returns whether the last [`GuestCpu::run`] delivered the interrupt that it offered.
    fn interrupt_taken(&self) -> bool;

    /// Returns whether the last [`GuestCpu::run`] delivered the NMI that it offered.
    fn nmi_taken(&self) -> bool;

    /// Returns the guest's task priority (CR8, 0 to 15) after the last [`GuestCpu::run`].
    fn task_priority(&self) -> u8;

    /// Returns the general registers.
    fn registers(&self) -> &Registers;
    /// Returns the general registers for writing.
    fn registers_mut(&mut self) -> &mut Registers;

    /// Steps over the instruction that caused the last exit.
    fn skip_instruction(&mut self);

    /// Returns the registers that a walk of the guest's page tables depends on.
    fn paging(&self) -> PagingRegisters;

    /// Returns the bytes of the instruction at the last exit, as far as the hardware fetched them, and how many there
    /// are.
    fn instruction_bytes(&self) -> ([u8; 15], usize);

    /// Injects an exception at the next entry. A second one before that entry replaces the first.
    fn inject(&mut self, exception: Exception);

    /// Returns the whole state except the FPU.
    fn state(&self) -> CpuState;

    /// Returns one segment of that state.
    fn segment(&self, name: SegmentName) -> Segment {
        *self.state().segment(name)
    }

    /// Replaces the whole state except the FPU, and drops what was to be injected.
    ///
    /// **Errors:** [`InvalidState`], and nothing was changed.
    fn set_state(&mut self, state: &CpuState) -> Result<(), InvalidState>;

    /// Returns the FPU state in the format of FXSAVE. The vCPU must be parked.
    fn fpu_image(&self) -> [u8; 512];

    /// Replaces the FPU state by an image in the format of FXSAVE, or by the state after reset. The vCPU must be
    /// parked. Bits that no CPU can hold are dropped.
    fn set_fpu_image(&mut self, image: Option<&[u8; 512]>);

    /// Returns XMM register `number`, below 16. The vCPU must be parked.
    fn vector(&self, number: u8) -> u128;

    /// Replaces XMM register `number`, below 16, and nothing else. The vCPU must be parked.
    fn set_vector(&mut self, number: u8, value: u128);

    /// Returns the breakpoint addresses DR0 to DR3. The vCPU must be parked.
    fn debug_addresses(&self) -> [u64; 4];

    /// Replaces the breakpoint addresses DR0 to DR3. The vCPU must be parked.
    fn set_debug_addresses(&mut self, addresses: [u64; 4]);

    /// Returns the event whose delivery an exit interrupted and that the next entry delivers.
    fn undelivered_event(&self) -> Option<EventInFlight>;

    /// Replaces that event; none drops it.
    fn set_undelivered_event(&mut self, event: Option<EventInFlight>);

    /// Reads a register behind an MSR.
    fn msr(&self, msr: HardwareMsr) -> u64;

    /// Writes a register behind an MSR.
    ///
    /// **Errors:** [`InvalidState`] for reserved bits or an impossible change; the guest gets a general protection
    /// fault.
    fn set_msr(&mut self, msr: HardwareMsr, value: u64) -> Result<(), InvalidState>;

    /// Shifts the guest's time stamp counter by `ticks`.
    fn shift_tsc(&mut self, ticks: i64);

    /// Lets the guest reach without an exit the ports that [`Machine::open_ports`] opened.
    fn use_open_ports(&mut self) {}

    /// Saves the state that is still in the physical CPU (FPU, segment bases), so that the vCPU can run on another one.
    /// Called on the CPU that ran it last, when it stops running there.
    fn park(&mut self);

    /// Frees what [`Machine::new_vcpu`] took. Consumes the vCPU, so that nothing can use it any more.
    fn tear_down(self, _frames: &mut dyn FrameSource)
    where
        Self: Sized,
    {
    }
}

/// Why DMA of devices cannot be confined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unconfined {
    /// There is no usable IOMMU.
    NoIommu,
    /// There is no memory for the IOMMU's tables.
    NoMemory,
}

/// The machine. Every method may be called on every CPU, with interrupts off.
pub trait Machine: Devices + Sync + Sized + 'static {
    /// The hardware side of a virtual CPU.
    type Vcpu: GuestCpu<Space = Self::Space>;
    /// The nested page tables (p2m) of a domain.
    type Space: NestedSpace;

    /// Returns the number of CPUs that run; their numbers are those below it.
    fn cpu_count(&self) -> usize;
    /// Returns false for a CPU that is kept free of guests. At least one CPU runs guests.
    fn runs_guests(&self, _cpu: CpuId) -> bool {
        true
    }
    /// Returns the CPU that executes the call.
    fn this_cpu(&self) -> CpuId;
    /// Makes a CPU leave its guest or wake from idling soon (sends an IPI). Never waits.
    fn kick(&self, cpu: CpuId);
    /// Returns and clears the events of this CPU since the last call.
    fn take_events(&self) -> HostEvents;
    /// Ends the machine, since this CPU does not come back to its loop any more, and logs what it does instead.
    fn end_for_stuck_cpu(&self, _cpu: CpuId) {}
    /// Waits with interrupts on until this CPU has an event; returns at once if it has one.
    fn idle(&self);
    /// Enables interrupts for a moment, so that pending host interrupts are taken.
    fn open_interrupt_window(&self);
    /// Does the same, and returns true if this CPU has an event that [`take_events`](Machine::take_events) has not
    /// returned yet.
    fn has_events(&self) -> bool;

    /// Returns the system time.
    fn now(&self) -> Time;
    /// Returns system time and this CPU's time stamp counter, read together.
    fn time_base(&self) -> TimeBase;
    /// Returns date and time at system time 0.
    fn wall_clock_at_boot(&self) -> WallClock;
    /// Sets this CPU's one-shot timer; [`Time::NEVER`] stops it.
    fn set_timer(&self, deadline: Time);

    /// Writes what the caches of all CPUs have modified back to memory, and invalidates them (WBINVD). Waits for the other
    /// CPUs, so it is called where no lock is held.
    fn write_back_caches(&self) {}

    /// Returns a page of RAM; None if it is not RAM, or is the machine's own (image, heap, page tables).
    fn page(&self, mfn: Mfn) -> Option<&PageWords>;
    /// Returns the machine frame number one past the highest frame of RAM.
    fn frame_limit(&self) -> Mfn;

    /// Copies a page; returns false if one of the two is not RAM that the core may use.
    fn copy_page(&self, from: Mfn, to: Mfn) -> bool {
        let (Some(from), Some(to)) = (self.page(from), self.page(to)) else { return false };
        to.copy_words(0, from, 0, crate::PAGE_SIZE)
    }

    /// Creates empty nested page tables; None if the pool is empty.
    fn new_space(&self, frames: &mut dyn FrameSource) -> Option<Self::Space>;
    /// Confines the DMA of devices to what is mapped in `space`, which is empty, by the same addresses and with the
    /// same rights as for its domain.
    ///
    /// **Errors:** [`Unconfined`]; devices reach all memory then.
    fn confine_devices(&self, _space: &Self::Space, _frames: &mut dyn FrameSource) -> Result<(), Unconfined> {
        Err(Unconfined::NoIommu)
    }
    /// Flushes the devices' TLB: afterwards no device reaches what was unmapped before. Returns false if an IOMMU does
    /// not answer.
    fn flush_devices(&self) -> bool {
        true
    }
    /// Returns true if the hypervisor's heap is to grow. Asked often, where no lock is held.
    fn heap_is_low(&self) -> bool {
        false
    }
    /// Gives the heap a block of RAM for good; the core has allocated it and names it never again.
    fn grow_heap(&self, _block: Mfn, _order: crate::PageOrder) {}
    /// Creates a vCPU in the state after INIT; None if memory is short.
    fn new_vcpu(&self, frames: &mut dyn FrameSource) -> Option<Self::Vcpu>;
    /// Fills a page with the stubs of Xen's hypercall page: 32 bytes each, stub `n` makes hypercall `n`.
    fn write_hypercall_page(&self, page: &PageWords);

    /// Executes CPUID on this CPU.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidRegisters;

    /// Writes bytes to the console unchanged, on behalf of a guest that may. They are kept together: at most a line, and
    /// few enough that others can wait for them.
    fn console_write(&self, bytes: &[u8]);
    /// Reads console input that is for dom0, at most `into.len()` bytes, and returns how many.
    fn console_read(&self, into: &mut [u8]) -> usize;
    /// Writes one line to the hypervisor's log. `guest` marks lines that a guest can cause; they are rate-limited.
    fn log(&self, level: LogLevel, guest: bool, line: core::fmt::Arguments<'_>);
    /// Copies from the console ring, beginning at `index` (bytes since boot). Returns how many bytes were copied and
    /// the index after them.
    fn read_console_ring(&self, index: u64, into: &mut [u8]) -> (usize, u64);

    /// Prints what the machine knows of the subject of a debug key.
    fn press_key(&self, key: u8);

    /// Reads a port of a device that dom0 may use.
    fn port_read(&self, port: u16, size: crate::IoSize) -> u32;
    /// Writes a port of a device that dom0 may use.
    fn port_write(&self, port: u16, size: crate::IoSize, value: u32);
    /// Opens the `wanted` ports to vCPUs that [use open ports](GuestCpu::use_open_ports), except the ones that the
    /// machine needs itself: accesses to all others exit. Called once, before such a vCPU runs.
    fn open_ports(&self, _wanted: &dyn Fn(u16) -> bool) {}

    /// Powers off or reboots: does not return on a real machine. (A machine for tests records it and returns.)
    fn power(&self, action: PowerAction);
}
