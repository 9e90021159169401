//! What a hypercall handler says about how its call went.

use xen_abi::Errno;

/// Why a domain is stopped for its own fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashReason {
    /// A triple fault.
    TripleFault,
    /// The processor refused to run it in the state it was in.
    InvalidState,
    /// The processor lost its state.
    StateLost,
    /// It did something that the hypervisor has no answer to; the number is the exit's.
    UnknownExit(u64),
    /// An access to memory or to a device that cannot be completed.
    BadAccess,
    /// The hypervisor could not go on for it: its own memory pool is empty.
    NoMemory,
}

/// How a call went. Handlers never touch registers: this is all they say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The value for RAX.
    Done(u64),
    /// Not finished: the guest makes the call again with these arguments, taking its interrupts in between.
    Again([u64; 6]),
    /// Finished with this value, and the vCPU waits for an event.
    Block(u64),
    /// Finished with this value, and another vCPU may go first.
    Yield(u64),
    /// The domain has shut itself down; its vCPUs run no more.
    Stopped,
    /// The domain is to be crashed.
    Crash(CrashReason),
}

impl Outcome {
    /// Done, with value 0.
    pub const OK: Self = Self::Done(0);
}

/// What a handler returns: an errno is the value for RAX as well.
pub type Answer = Result<Outcome, Errno>;

/// What the loop does after a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Runs the same vCPU on.
    Resume,
    /// Lets another one have the CPU if one waits.
    Yield,
    /// Waits for an event.
    Block,
    /// Runs it no more, until somebody says so.
    Stop,
    /// Crashes the domain.
    Crash(CrashReason),
}
