//! The outcome of a hypercall.

use xen_abi::Errno;

/// Why a domain was crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashReason {
    /// A triple fault.
    TripleFault,
    /// The processor refused to run it in the state it was in.
    InvalidState,
    /// The processor lost its state.
    StateLost,
    /// An exit that the hypervisor does not handle; the number is the hardware's exit code.
    UnknownExit(u64),
    /// An access to memory or to a device that cannot be completed.
    BadAccess,
    /// Its device model wrote what has no meaning to the page of its requests.
    BadAnswer,
    /// The domain's paging pool is empty.
    NoMemory,
    /// It uses more memory than it has; the rest was to be populated on demand.
    OutOfMemory,
}

/// The outcome of a hypercall. Handlers never touch registers: they return this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Done: the value for RAX.
    Done(u64),
    /// Preempted: the guest makes the call again with these arguments (a hypercall continuation), taking its interrupts
    /// in between.
    Again([u64; 6]),
    /// Done with this value; the vCPU blocks until an event.
    Block(u64),
    /// Done with this value; the vCPU yields its CPU.
    Yield(u64),
    /// The domain has shut itself down; its vCPUs run no more.
    Stopped,
    /// The domain must be crashed.
    Crash(CrashReason),
}

impl Outcome {
    /// Done, with value 0.
    pub const OK: Self = Self::Done(0);
}

/// The result of a handler: an errno is also returned to the guest in RAX.
pub type Answer = Result<Outcome, Errno>;

/// What the loop does after a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Runs the same vCPU on.
    Resume,
    /// Lets another vCPU have the CPU if one waits.
    Yield,
    /// Waits for an event.
    Block,
    /// Does not run it until it is woken.
    Stop,
    /// Crashes the domain.
    Crash(CrashReason),
}
