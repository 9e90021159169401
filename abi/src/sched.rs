//! Scheduling operations of a domain: yield, block, poll, shut down, watchdog.
//!
//! Hypercall [`SCHED_OP`](crate::hypercall::SCHED_OP): `(operation, pointer to arguments)`. **Source:** `sched.h`.

use crate::describe::{constants, wire};
use crate::{DomId, GuestHandle, Port};

constants! {
    table CONSTANTS;
    /// Yields the physical CPU.
    pub const SCHEDOP_YIELD: u32 = 0;
    /// Unmasks upcalls and blocks until an event is pending.
    pub const SCHEDOP_BLOCK: u32 = 1;
    /// Shuts the domain down; [`SchedShutdown`]. After a suspend it returns 1 if the suspend was cancelled and the
    /// domain continues.
    pub const SCHEDOP_SHUTDOWN: u32 = 2;
    /// Blocks until an event is pending on one of some ports, or until a timeout; [`SchedPoll`].
    pub const SCHEDOP_POLL: u32 = 3;
    /// Shuts another domain down; [`SchedRemoteShutdown`].
    pub const SCHEDOP_REMOTE_SHUTDOWN: u32 = 4;
    /// Sets the reason that a later shutdown by crash reports; [`SchedShutdown`].
    pub const SCHEDOP_SHUTDOWN_CODE: u32 = 5;
    /// Starts, restarts or stops a watchdog timer; [`SchedWatchdog`]. Returns the ID of a new one.
    pub const SCHEDOP_WATCHDOG: u32 = 6;
    /// Pins the calling vCPU to a physical CPU; [`SchedPinOverride`].
    pub const SCHEDOP_PIN_OVERRIDE: u32 = 7;

    /// The domain powered off.
    pub const SHUTDOWN_POWEROFF: u32 = 0;
    /// The domain asks for a reboot.
    pub const SHUTDOWN_REBOOT: u32 = 1;
    /// The domain is suspended and can be saved.
    pub const SHUTDOWN_SUSPEND: u32 = 2;
    /// The domain crashed.
    pub const SHUTDOWN_CRASH: u32 = 3;
    /// A watchdog timer expired.
    pub const SHUTDOWN_WATCHDOG: u32 = 4;
    /// The domain asks for a soft reset: its state in the hypervisor is reset, its memory is kept.
    pub const SHUTDOWN_SOFT_RESET: u32 = 5;
    /// Highest shutdown reason.
    pub const SHUTDOWN_MAX: u32 = 5;
}

/// Reason that is reported for a domain that has not shut down.
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
        /// In: number of ports, at most 128.
        pub nr_ports: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// In: timeout, as system time in nanoseconds; 0 for none.
        pub timeout: u64,
    }

    /// Arguments of [`SCHEDOP_REMOTE_SHUTDOWN`].
    pub struct SchedRemoteShutdown: "struct sched_remote_shutdown" {
        /// In: the domain to shut down.
        pub domain_id: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// In: a `SHUTDOWN_*`.
        pub reason: u32,
    }

    /// Arguments of [`SCHEDOP_WATCHDOG`].
    pub struct SchedWatchdog: "struct sched_watchdog" {
        /// In: ID of the watchdog; 0 for a new one.
        pub id: u32,
        /// In: timeout in seconds; 0 stops the watchdog.
        pub timeout: u32,
    }

    /// Arguments of [`SCHEDOP_PIN_OVERRIDE`].
    pub struct SchedPinOverride: "struct sched_pin_override" {
        /// In: number of the physical CPU; a negative number removes the pin.
        pub pcpu: i32,
    }
}
