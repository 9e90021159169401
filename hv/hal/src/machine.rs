//! The machine and its parts.

use crate::{
    CpuId, CpuState, CpuidRegisters, Devices, Exception, Exit, FrameSource, HostEvents, IoAccess, NestedSpace,
    PageWords, PagingRegisters, Registers, Time, TimeBase, WallClock,
};
use xen_abi::Mfn;

/// How important a line of the log is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogLevel {
    Error,
    Warning,
    Info,
    Debug,
}

/// How the machine ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerAction {
    Halt,
    /// Starts again, after so long.
    Reboot {
        delay_ms: u32,
    },
    PowerOff,
}

/// Who gets what is typed on the console.
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

/// The machine refused a CPU state: a reserved bit, or a combination that the hardware does not enter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidState;

/// What to offer to the guest on this entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunControl {
    /// The highest external interrupt that waits, delivered as soon as the guest's flags and its task priority allow
    /// it.
    pub interrupt: Option<u8>,
    /// The guest's task priority (CR8), 0 to 15.
    pub task_priority: u8,
    /// An NMI waits.
    pub nmi: bool,
}

/// Answers to exits that change nothing but RAX, given without leaving the guest for good: what was offered to it and
/// what it may have cached stays as it is.
pub trait ShortAnswers {
    /// IN or OUT: RAX afterwards. None if it is more than this, and nothing was done.
    fn port(&mut self, access: IoAccess, rax: u64) -> Option<u64>;

    /// After an answer: true if the guest may go on with what it was offered. It looks at all that whoever enters a guest
    /// must look at, translations apart.
    fn may_go_on(&mut self) -> bool;
}

/// Answers nothing.
impl ShortAnswers for () {
    fn port(&mut self, _access: IoAccess, _rax: u64) -> Option<u64> {
        None
    }

    fn may_go_on(&mut self) -> bool {
        false
    }
}

/// The hardware side of a virtual CPU.
pub trait GuestCpu: Send {
    /// The translation that it runs in.
    type Space: NestedSpace;

    /// Enters the guest on this CPU, with host interrupts off, and gives the reason why it came back. Host interrupts
    /// that arrive meanwhile end the run as [`Exit::Interrupted`] and show in [`Machine::take_events`]; so does an exit
    /// that `short` answers and after which it does not let the guest go on.
    fn run(&mut self, space: &Self::Space, control: RunControl, short: &mut impl ShortAnswers) -> Exit;

    /// After [`GuestCpu::run`]: true when the guest took the interrupt that was offered.
    fn interrupt_taken(&self) -> bool;

    /// After [`GuestCpu::run`]: true when the NMI that was offered was taken.
    fn nmi_taken(&self) -> bool;

    /// After [`GuestCpu::run`]: the guest's task priority (CR8), 0 to 15.
    fn task_priority(&self) -> u8;

    /// General registers.
    fn registers(&self) -> &Registers;
    /// General registers.
    fn registers_mut(&mut self) -> &mut Registers;

    /// Steps over the instruction that caused the last exit.
    fn skip_instruction(&mut self);

    /// What a walk of the guest's page tables depends on.
    fn paging(&self) -> PagingRegisters;

    /// Bytes of the instruction at the last exit as far as the hardware gave them; the length says how many.
    fn instruction_bytes(&self) -> ([u8; 15], usize);

    /// Injects an exception at the next entry. A second one before that entry replaces the first.
    fn inject(&mut self, exception: Exception);

    /// The whole state.
    fn state(&self) -> CpuState;

    /// Replaces the whole state; what was to be injected is dropped.
    ///
    /// **Errors:** [`InvalidState`], and nothing was changed.
    fn set_state(&mut self, state: &CpuState) -> Result<(), InvalidState>;

    /// The floating-point state as FXSAVE writes it; only of a vCPU that is parked.
    fn fpu_image(&self) -> [u8; 512];

    /// Replaces the floating-point state by one that FXSAVE wrote, or by the one after a reset; only of a vCPU that is
    /// parked. Bits that no CPU can hold are dropped.
    fn set_fpu_image(&mut self, image: Option<&[u8; 512]>);

    /// The addresses of the four breakpoints; only of a vCPU that is parked.
    fn debug_addresses(&self) -> [u64; 4];

    /// Replaces the addresses of the four breakpoints; only of a vCPU that is parked.
    fn set_debug_addresses(&mut self, addresses: [u64; 4]);

    /// An event that was on its way into the guest when that was left, and goes on at the next entry: vector in bits 0
    /// to 7, kind in 8 to 10, whether there is an error code in 11, valid in 31, the error code in 32 to 63; 0 for
    /// none. **Source:** AMD manual volume 2, 15.20.
    fn undelivered_event(&self) -> u64;

    /// Replaces that event. It is of a kind that exists: an interrupt, an NMI, an exception or a software interrupt.
    fn set_undelivered_event(&mut self, event: u64);

    /// A register behind an MSR.
    fn msr(&self, msr: HardwareMsr) -> u64;

    /// Writes a register behind an MSR.
    ///
    /// **Errors:** [`InvalidState`] for reserved bits or an impossible change; the guest gets a general protection
    /// fault.
    fn set_msr(&mut self, msr: HardwareMsr, value: u64) -> Result<(), InvalidState>;

    /// Moves the guest's time stamp counter by so many ticks.
    fn shift_tsc(&mut self, ticks: i64);

    /// From now on the guest reaches the ports that [`Machine::open_ports`] opened without an exit.
    fn use_open_ports(&mut self) {}

    /// Writes back what of this vCPU still lies in the physical CPU (FPU, segment bases), so that it can run on
    /// another one. Called on the CPU that ran it last, when it stops running there.
    fn park(&mut self);

    /// Gives back what [`Machine::new_vcpu`] took. The vCPU never runs again.
    fn tear_down(&mut self, _frames: &mut dyn FrameSource) {}
}

/// Why devices cannot be confined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unconfined {
    /// There is no IOMMU that can be used.
    NoIommu,
    /// There is no memory for its tables.
    NoMemory,
}

/// One machine. All methods may be called on every CPU, with interrupts off.
pub trait Machine: Devices + Sync + Sized + 'static {
    /// The hardware side of a virtual CPU.
    type Vcpu: GuestCpu<Space = Self::Space>;
    /// The translation of a domain.
    type Space: NestedSpace;

    /// How many CPUs run: those below this number.
    fn cpu_count(&self) -> usize;
    /// False for a CPU that is kept free of guests. At least one runs them.
    fn runs_guests(&self, _cpu: CpuId) -> bool {
        true
    }
    /// The CPU that asks.
    fn this_cpu(&self) -> CpuId;
    /// Makes a CPU leave its guest or wake from idling soon. Never waits.
    fn kick(&self, cpu: CpuId);
    /// What happened to this CPU since the last call.
    fn take_events(&self) -> HostEvents;
    /// Waits with interrupts on until something happened to this CPU; returns at once if something already has.
    fn idle(&self);
    /// Lets pending host interrupts in for a moment.
    fn open_interrupt_window(&self);
    /// The same; true if something happened to this CPU that [`take_events`](Machine::take_events) has not given yet.
    fn has_events(&self) -> bool;

    /// System time now.
    fn now(&self) -> Time;
    /// System time and this CPU's time stamp counter, read together.
    fn time_base(&self) -> TimeBase;
    /// Date and time at system time 0.
    fn wall_clock_at_boot(&self) -> WallClock;
    /// Sets this CPU's one timer; [`Time::NEVER`] stops it.
    fn set_timer(&self, deadline: Time);

    /// A page of RAM that is not the machine's own (image, heap, page tables): none for anything else.
    fn page(&self, mfn: Mfn) -> Option<&PageWords>;
    /// One past the highest frame of RAM.
    fn frame_limit(&self) -> Mfn;

    /// Copies a page; false if one of them is not RAM that the core may use.
    fn copy_page(&self, from: Mfn, to: Mfn) -> bool {
        let (Some(from), Some(to)) = (self.page(from), self.page(to)) else { return false };
        to.copy_words(0, from, 0, crate::PAGE_SIZE)
    }

    /// Makes an empty translation.
    fn new_space(&self, frames: &mut dyn FrameSource) -> Option<Self::Space>;
    /// From now on devices reach what is mapped in this translation, which is empty, and nothing else: by the same
    /// numbers and with the same rights as its domain.
    ///
    /// **Errors:** [`Unconfined`]; devices reach all memory then.
    fn confine_devices(&self, _space: &Self::Space, _frames: &mut dyn FrameSource) -> Result<(), Unconfined> {
        Err(Unconfined::NoIommu)
    }
    /// Makes a vCPU in the state after INIT; none if memory is short.
    fn new_vcpu(&self, frames: &mut dyn FrameSource) -> Option<Self::Vcpu>;
    /// Fills a page with the stubs of Xen's hypercall page: 32 bytes each, entry `n` makes hypercall `n`.
    fn write_hypercall_page(&self, page: &PageWords);

    /// CPUID of this CPU.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidRegisters;

    /// Writes to the console as it is, for a guest that may.
    fn console_write(&self, bytes: &[u8]);
    /// Takes what was typed for dom0, at most `into.len()` bytes; gives how many.
    fn console_read(&self, into: &mut [u8]) -> usize;
    /// Writes one line to the hypervisor's log. `guest` marks what a guest can cause, which is rate-limited.
    fn log(&self, level: LogLevel, guest: bool, line: core::fmt::Arguments<'_>);
    /// Copies from the console ring. `index` is where to begin, counted since boot; gives the bytes copied and the
    /// index after them.
    fn read_console_ring(&self, index: u64, into: &mut [u8]) -> (usize, u64);

    /// Says what the machine itself knows of what a key asks for that is typed on the hypervisor's console.
    fn press_key(&self, key: u8);

    /// Reads a port of a device that dom0 may use.
    fn port_read(&self, port: u16, size: crate::IoSize) -> u32;
    /// Writes a port of a device that dom0 may use.
    fn port_write(&self, port: u16, size: crate::IoSize, value: u32);
    /// Opens the ports that are `wanted` to vCPUs that [use open ports](GuestCpu::use_open_ports), but for those that
    /// the machine needs itself: an access to any other exits all the same. Called once, before such a vCPU runs.
    fn open_ports(&self, _wanted: &dyn Fn(u16) -> bool) {}

    /// Ends: does not return on a real machine. (A machine for tests records it and returns.)
    fn power(&self, action: PowerAction);
}
