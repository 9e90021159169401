//! Event channels: one-bit notifications from one domain to another, or from the hypervisor.
//!
//! Hypercall [`EVENT_CHANNEL_OP`](crate::hypercall::EVENT_CHANNEL_OP): `(operation, pointer to arguments)`.
//! **Source:** `event_channel.h`.

use crate::describe::{constants, flags, union_members, wire};
use crate::{DomId, Gfn, Port, Union, VcpuId};

constants! {
    table CONSTANTS;
    /// Connects to a port that another domain has set up; [`EvtchnBindInterdomain`].
    pub const EVTCHNOP_BIND_INTERDOMAIN: u32 = 0;
    /// Binds a port to a VIRQ (virtual interrupt); [`EvtchnBindVirq`].
    pub const EVTCHNOP_BIND_VIRQ: u32 = 1;
    /// Binds a port to a PIRQ (physical interrupt); [`EvtchnBindPirq`].
    pub const EVTCHNOP_BIND_PIRQ: u32 = 2;
    /// Closes a port; [`EvtchnClose`].
    pub const EVTCHNOP_CLOSE: u32 = 3;
    /// Raises the event at the other end; [`EvtchnSend`].
    pub const EVTCHNOP_SEND: u32 = 4;
    /// Asks what a port is bound to; [`EvtchnStatus`].
    pub const EVTCHNOP_STATUS: u32 = 5;
    /// Makes a port to which another domain may connect; [`EvtchnAllocUnbound`].
    pub const EVTCHNOP_ALLOC_UNBOUND: u32 = 6;
    /// Makes a port by which vCPUs of a domain interrupt each other; [`EvtchnBindIpi`].
    pub const EVTCHNOP_BIND_IPI: u32 = 7;
    /// Says which vCPU a port notifies; [`EvtchnBindVcpu`].
    pub const EVTCHNOP_BIND_VCPU: u32 = 8;
    /// Clears a port's mask and notifies if it is pending; [`EvtchnUnmask`].
    pub const EVTCHNOP_UNMASK: u32 = 9;
    /// Closes every port of a domain; [`EvtchnReset`].
    pub const EVTCHNOP_RESET: u32 = 10;
    /// Gives a vCPU its control block and turns on the FIFO ABI; [`EvtchnInitControl`].
    pub const EVTCHNOP_INIT_CONTROL: u32 = 11;
    /// Adds a page of event words; [`EvtchnExpandArray`].
    pub const EVTCHNOP_EXPAND_ARRAY: u32 = 12;
    /// Sets a port's priority; [`EvtchnSetPriority`].
    pub const EVTCHNOP_SET_PRIORITY: u32 = 13;

    /// [`EvtchnStatus::status`]: the port is not in use.
    pub const EVTCHNSTAT_CLOSED: u32 = 0;
    /// [`EvtchnStatus::status`]: the port waits for a domain to connect.
    pub const EVTCHNSTAT_UNBOUND: u32 = 1;
    /// [`EvtchnStatus::status`]: the port is connected to another domain's.
    pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
    /// [`EvtchnStatus::status`]: the port is bound to a PIRQ (physical interrupt).
    pub const EVTCHNSTAT_PIRQ: u32 = 3;
    /// [`EvtchnStatus::status`]: the port is bound to a VIRQ (virtual interrupt).
    pub const EVTCHNSTAT_VIRQ: u32 = 4;
    /// [`EvtchnStatus::status`]: the port carries interrupts between vCPUs.
    pub const EVTCHNSTAT_IPI: u32 = 5;

    /// How many ports the 2-level ABI has for a 64-bit domain.
    pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;
}

/// Goes on with an [`EVTCHNOP_RESET`] that was preempted. Not in the headers that guests see, but they can call it.
pub const EVTCHNOP_RESET_CONT: u32 = 14;

flags! {
    /// Flags of [`EvtchnBindPirq`].
    pub struct BindPirq("BIND_PIRQ__"): u32 {
        /// The line may be shared with other domains.
        const WILL_SHARE = 1 << 0;
    }
}

wire! {
    /// Arguments of [`EVTCHNOP_ALLOC_UNBOUND`].
    pub struct EvtchnAllocUnbound: "struct evtchn_alloc_unbound" {
        /// In: the domain that gets the port; others than [`DomId::SELF`] only for the privileged.
        pub dom: DomId,
        /// In: the domain that may connect; [`DomId::SELF`] is allowed.
        pub remote_dom: DomId,
        /// Out: the new port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_INTERDOMAIN`].
    pub struct EvtchnBindInterdomain: "struct evtchn_bind_interdomain" {
        /// In: the domain that set up the other end.
        pub remote_dom: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// In: that domain's port.
        pub remote_port: Port,
        /// Out: the caller's new port, which is pending at once.
        pub local_port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_VIRQ`].
    pub struct EvtchnBindVirq: "struct evtchn_bind_virq" {
        /// In: the VIRQ (virtual interrupt); see [`crate::virq`].
        pub virq: u32,
        /// In: the vCPU; 0 for a global VIRQ (virtual interrupt).
        pub vcpu: VcpuId,
        /// Out: the new port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_PIRQ`].
    pub struct EvtchnBindPirq: "struct evtchn_bind_pirq" {
        /// In: the domain's number of the PIRQ (physical interrupt).
        pub pirq: u32,
        /// In: flags.
        pub flags: BindPirq,
        /// Out: the new port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_IPI`].
    pub struct EvtchnBindIpi: "struct evtchn_bind_ipi" {
        /// In: the vCPU that the port notifies, for good.
        pub vcpu: VcpuId,
        /// Out: the new port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_CLOSE`].
    pub struct EvtchnClose: "struct evtchn_close" {
        /// In: the port. The other end, if any, waits for a new connection.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_SEND`].
    pub struct EvtchnSend: "struct evtchn_send" {
        /// In: the local end.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_STATUS`].
    pub struct EvtchnStatus: "struct evtchn_status" {
        /// In: whose port; others than [`DomId::SELF`] only for the privileged.
        pub dom: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// In: the port.
        pub port: Port,
        /// Out: an `EVTCHNSTAT_*`.
        pub status: u32,
        /// Out: the vCPU that the port notifies.
        pub vcpu: VcpuId,
        /// Out: what it is bound to, by `status`.
        pub u: Union<8>,
    }

    /// The other end of an interdomain port, in [`EvtchnStatus`].
    pub struct EvtchnPeer: "__typeof__(((struct evtchn_status *)0)->u.interdomain)" {
        /// The other end's domain.
        pub dom: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// The other end's port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_VCPU`].
    pub struct EvtchnBindVcpu: "struct evtchn_bind_vcpu" {
        /// In: the port.
        pub port: Port,
        /// In: the vCPU to notify from now on.
        pub vcpu: VcpuId,
    }

    /// Arguments of [`EVTCHNOP_UNMASK`].
    pub struct EvtchnUnmask: "struct evtchn_unmask" {
        /// In: the local port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_RESET`].
    pub struct EvtchnReset: "struct evtchn_reset" {
        /// In: whose ports; with the domain's own number the 2-level ABI is used again.
        pub dom: DomId,
    }

    /// Arguments of [`EVTCHNOP_INIT_CONTROL`].
    pub struct EvtchnInitControl: "struct evtchn_init_control" {
        /// In: the frame that holds the control block.
        pub control_gfn: Gfn as wide,
        /// In: offset of the control block in the frame, in bytes; a multiple of 8.
        pub offset: u32,
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// Out: how many bits a link in an event word has.
        pub link_bits: u8,
        /// Padding.
        pub pad: [u8; 7] = "_pad",
    }

    /// Arguments of [`EVTCHNOP_EXPAND_ARRAY`].
    pub struct EvtchnExpandArray: "struct evtchn_expand_array" {
        /// In: the frame that holds the next 1024 event words.
        pub array_gfn: Gfn as wide,
    }

    /// Arguments of [`EVTCHNOP_SET_PRIORITY`].
    pub struct EvtchnSetPriority: "struct evtchn_set_priority" {
        /// In: the port.
        pub port: Port,
        /// In: 0 is the highest, 15 the lowest.
        pub priority: u32,
    }
}

union_members! {
    EvtchnStatus, u:
    /// For [`EVTCHNSTAT_UNBOUND`]: the domain that may connect.
    unbound, set_unbound: DomId;
    /// For [`EVTCHNSTAT_INTERDOMAIN`]: the other end.
    interdomain, set_interdomain: EvtchnPeer;
    /// For [`EVTCHNSTAT_PIRQ`]: the domain's number of the PIRQ (physical interrupt).
    pirq, set_pirq: u32;
    /// For [`EVTCHNSTAT_VIRQ`]: the VIRQ (virtual interrupt).
    virq, set_virq: u32;
}
