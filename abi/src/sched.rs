//! What a domain tells the scheduler: wait, yield, shut down.
//!
//! Hypercall [`SCHED_OP`](crate::hypercall::SCHED_OP): `(operation, pointer to arguments)`. **Source:** `sched.h`.

use crate::describe::{constants, wire};
use crate::{DomId, GuestHandle, Port};

constants! {
    table CONSTANTS;
    /// Yields the physical CPU.
    pub const SCHEDOP_YIELD: u32 = 0;
    /// Unmasks events and waits for one.
    pub const SCHEDOP_BLOCK: u32 = 1;
    /// Shuts the domain down; [`SchedShutdown`]. After a suspend it returns 1 if the domain simply goes on.
    pub const SCHEDOP_SHUTDOWN: u32 = 2;
    /// Waits for one of some ports; [`SchedPoll`].
    pub const SCHEDOP_POLL: u32 = 3;
    /// Shuts another domain down; [`SchedRemoteShutdown`].
    pub const SCHEDOP_REMOTE_SHUTDOWN: u32 = 4;
    /// Sets the reason that a later shutdown reports; [`SchedShutdown`].
    pub const SCHEDOP_SHUTDOWN_CODE: u32 = 5;
    /// Sets, feeds or stops a watchdog; [`SchedWatchdog`]. Returns its number.
    pub const SCHEDOP_WATCHDOG: u32 = 6;
    /// Pins the calling vCPU to a physical CPU; [`SchedPinOverride`].
    pub const SCHEDOP_PIN_OVERRIDE: u32 = 7;

    /// The domain ended by itself.
    pub const SHUTDOWN_POWEROFF: u32 = 0;
    /// The domain wants to be started again.
    pub const SHUTDOWN_REBOOT: u32 = 1;
    /// The domain is ready to be saved.
    pub const SHUTDOWN_SUSPEND: u32 = 2;
    /// The domain crashed.
    pub const SHUTDOWN_CRASH: u32 = 3;
    /// A watchdog ran out.
    pub const SHUTDOWN_WATCHDOG: u32 = 4;
    /// The domain wants its state in the hypervisor to be as at its start.
    pub const SHUTDOWN_SOFT_RESET: u32 = 5;
    /// The largest reason.
    pub const SHUTDOWN_MAX: u32 = 5;
}

/// The reason that is reported while a domain has not shut down.
pub const SHUTDOWN_CODE_INVALID: u32 = u32::MAX;

wire! {
    /// Arguments of [`SCHEDOP_SHUTDOWN`].
    pub struct SchedShutdown: "struct sched_shutdown" {
        /// In: a `SHUTDOWN_*`.
        pub reason: u32,
    }

    /// Arguments of [`SCHEDOP_POLL`].
    pub struct SchedPoll: "struct sched_poll" {
        /// In: the ports.
        pub ports: GuestHandle<Port>,
        /// In: how many, at most 128.
        pub nr_ports: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// In: system time in nanoseconds when to give up; 0 for never.
        pub timeout: u64,
    }

    /// Arguments of [`SCHEDOP_REMOTE_SHUTDOWN`].
    pub struct SchedRemoteShutdown: "struct sched_remote_shutdown" {
        /// In: which.
        pub domain_id: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// In: a `SHUTDOWN_*`.
        pub reason: u32,
    }

    /// Arguments of [`SCHEDOP_WATCHDOG`].
    pub struct SchedWatchdog: "struct sched_watchdog" {
        /// In: which; 0 for a new one.
        pub id: u32,
        /// In: seconds from now; 0 stops it.
        pub timeout: u32,
    }

    /// Arguments of [`SCHEDOP_PIN_OVERRIDE`].
    pub struct SchedPinOverride: "struct sched_pin_override" {
        /// In: the physical CPU; negative undoes it.
        pub pcpu: i32,
    }
}
