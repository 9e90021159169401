//! The states through which the two ends of a paravirtual device go.
//!
//! **Source:** `io/xenbus.h`.

use crate::describe::constants;

constants! {
    table CONSTANTS;
    /// Not known.
    pub const XENBUS_STATE_UNKNOWN: u32 = 0 => "XenbusStateUnknown";
    /// It is starting.
    pub const XENBUS_STATE_INITIALISING: u32 = 1 => "XenbusStateInitialising";
    /// It waits for the other end.
    pub const XENBUS_STATE_INIT_WAIT: u32 = 2 => "XenbusStateInitWait";
    /// It has said what it has to say.
    pub const XENBUS_STATE_INITIALISED: u32 = 3 => "XenbusStateInitialised";
    /// It works.
    pub const XENBUS_STATE_CONNECTED: u32 = 4 => "XenbusStateConnected";
    /// It is ending.
    pub const XENBUS_STATE_CLOSING: u32 = 5 => "XenbusStateClosing";
    /// It has ended.
    pub const XENBUS_STATE_CLOSED: u32 = 6 => "XenbusStateClosed";
    /// It is being changed.
    pub const XENBUS_STATE_RECONFIGURING: u32 = 7 => "XenbusStateReconfiguring";
    /// It was changed.
    pub const XENBUS_STATE_RECONFIGURED: u32 = 8 => "XenbusStateReconfigured";
}
