//! Event channels: one-bit notifications between domains, or from the hypervisor to a domain.
//!
//! Hypercall [`EVENT_CHANNEL_OP`](crate::hypercall::EVENT_CHANNEL_OP): `(operation, pointer to arguments)`. **Source:**
//! `event_channel.h`.

use crate::describe::{constants, flags, union_members, wire};
use crate::{DomId, Gfn, Port, Union, VcpuId};

constants! {
    table CONSTANTS;
    /// Binds a new port to an unbound port of another domain; [`EvtchnBindInterdomain`].
    pub const EVTCHNOP_BIND_INTERDOMAIN: u32 = 0;
    /// Binds a new port to a VIRQ (virtual interrupt); [`EvtchnBindVirq`].
    pub const EVTCHNOP_BIND_VIRQ: u32 = 1;
    /// Binds a new port to a PIRQ (physical interrupt); [`EvtchnBindPirq`].
    pub const EVTCHNOP_BIND_PIRQ: u32 = 2;
    /// Closes a port; [`EvtchnClose`].
    pub const EVTCHNOP_CLOSE: u32 = 3;
    /// Sends an event to the remote end of a port; [`EvtchnSend`].
    pub const EVTCHNOP_SEND: u32 = 4;
    /// Returns the state of a port; [`EvtchnStatus`].
    pub const EVTCHNOP_STATUS: u32 = 5;
    /// Allocates an unbound port, to which another domain may bind; [`EvtchnAllocUnbound`].
    pub const EVTCHNOP_ALLOC_UNBOUND: u32 = 6;
    /// Binds a new port for IPIs between vCPUs of the caller; [`EvtchnBindIpi`].
    pub const EVTCHNOP_BIND_IPI: u32 = 7;
    /// Sets the vCPU that a port notifies; [`EvtchnBindVcpu`].
    pub const EVTCHNOP_BIND_VCPU: u32 = 8;
    /// Unmasks a port, and notifies its vCPU if an event is pending; [`EvtchnUnmask`].
    pub const EVTCHNOP_UNMASK: u32 = 9;
    /// Closes all ports of a domain; [`EvtchnReset`].
    pub const EVTCHNOP_RESET: u32 = 10;
    /// Sets a vCPU's control block; the first one switches the domain to the FIFO ABI. [`EvtchnInitControl`].
    pub const EVTCHNOP_INIT_CONTROL: u32 = 11;
    /// Adds a page to the event array; [`EvtchnExpandArray`].
    pub const EVTCHNOP_EXPAND_ARRAY: u32 = 12;
    /// Sets the priority of a port; [`EvtchnSetPriority`].
    pub const EVTCHNOP_SET_PRIORITY: u32 = 13;

    /// [`EvtchnStatus::status`]: the port is closed.
    pub const EVTCHNSTAT_CLOSED: u32 = 0;
    /// [`EvtchnStatus::status`]: the port is unbound, it waits for a domain to bind to it.
    pub const EVTCHNSTAT_UNBOUND: u32 = 1;
    /// [`EvtchnStatus::status`]: the port is bound to a port of another domain.
    pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
    /// [`EvtchnStatus::status`]: the port is bound to a PIRQ (physical interrupt).
    pub const EVTCHNSTAT_PIRQ: u32 = 3;
    /// [`EvtchnStatus::status`]: the port is bound to a VIRQ (virtual interrupt).
    pub const EVTCHNSTAT_VIRQ: u32 = 4;
    /// [`EvtchnStatus::status`]: the port is bound to IPIs.
    pub const EVTCHNSTAT_IPI: u32 = 5;

    /// Number of ports in the 2-level ABI of a 64-bit domain.
    pub const EVTCHN_2L_NR_CHANNELS: u32 = 4096;
}

/// Continues an [`EVTCHNOP_RESET`] that was preempted. It is not in the headers for guests, but a guest can call it.
pub const EVTCHNOP_RESET_CONT: u32 = 14;

flags! {
    /// Flags of [`EvtchnBindPirq`].
    pub struct BindPirq("BIND_PIRQ__"): u32 {
        /// The PIRQ may be shared with other domains.
        const WILL_SHARE = 1 << 0;
    }
}

wire! {
    /// Arguments of [`EVTCHNOP_ALLOC_UNBOUND`].
    pub struct EvtchnAllocUnbound: "struct evtchn_alloc_unbound" {
        /// In: the domain that gets the port. A domain other than [`DomId::SELF`] needs privilege.
        pub dom: DomId,
        /// In: the domain that may bind to it; [`DomId::SELF`] is allowed.
        pub remote_dom: DomId,
        /// Out: the new port, unbound.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_INTERDOMAIN`].
    pub struct EvtchnBindInterdomain: "struct evtchn_bind_interdomain" {
        /// In: the domain of the unbound port.
        pub remote_dom: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// In: the unbound port.
        pub remote_port: Port,
        /// Out: the caller's new port, on which an event is pending at once.
        pub local_port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_VIRQ`].
    pub struct EvtchnBindVirq: "struct evtchn_bind_virq" {
        /// In: the VIRQ (virtual interrupt); see [`crate::virq`].
        pub virq: u32,
        /// In: the vCPU that gets the VIRQ; 0 for a global VIRQ.
        pub vcpu: VcpuId,
        /// Out: the new port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_PIRQ`].
    pub struct EvtchnBindPirq: "struct evtchn_bind_pirq" {
        /// In: the PIRQ (physical interrupt), by the domain's own number.
        pub pirq: u32,
        /// In: see [`BindPirq`].
        pub flags: BindPirq,
        /// Out: the new port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_IPI`].
    pub struct EvtchnBindIpi: "struct evtchn_bind_ipi" {
        /// In: the vCPU that the port notifies; it cannot be changed later.
        pub vcpu: VcpuId,
        /// Out: the new port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_CLOSE`].
    pub struct EvtchnClose: "struct evtchn_close" {
        /// In: the port. The remote end becomes unbound.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_SEND`].
    pub struct EvtchnSend: "struct evtchn_send" {
        /// In: the local port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_STATUS`].
    pub struct EvtchnStatus: "struct evtchn_status" {
        /// In: the domain of the port. A domain other than [`DomId::SELF`] needs privilege.
        pub dom: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// In: the port.
        pub port: Port,
        /// Out: an `EVTCHNSTAT_*`.
        pub status: u32,
        /// Out: the vCPU that the port notifies.
        pub vcpu: VcpuId,
        /// Out: what the port is bound to, depending on `status`.
        pub u: Union<8>,
    }

    /// The remote end of an interdomain port, in [`EvtchnStatus`].
    pub struct EvtchnPeer: "__typeof__(((struct evtchn_status *)0)->u.interdomain)" {
        /// The domain of the remote end.
        pub dom: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// The port of the remote end.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_BIND_VCPU`].
    pub struct EvtchnBindVcpu: "struct evtchn_bind_vcpu" {
        /// In: the port.
        pub port: Port,
        /// In: the vCPU that the port notifies.
        pub vcpu: VcpuId,
    }

    /// Arguments of [`EVTCHNOP_UNMASK`].
    pub struct EvtchnUnmask: "struct evtchn_unmask" {
        /// In: the local port.
        pub port: Port,
    }

    /// Arguments of [`EVTCHNOP_RESET`].
    pub struct EvtchnReset: "struct evtchn_reset" {
        /// In: the domain whose ports are closed. [`DomId::SELF`] also switches back to the 2-level ABI.
        pub dom: DomId,
    }

    /// Arguments of [`EVTCHNOP_INIT_CONTROL`].
    pub struct EvtchnInitControl: "struct evtchn_init_control" {
        /// In: GFN of the frame that holds the control block.
        pub control_gfn: Gfn as wide,
        /// In: offset of the control block in the frame, in bytes; a multiple of 8.
        pub offset: u32,
        /// In: the vCPU of the control block.
        pub vcpu: VcpuId,
        /// Out: number of bits of a link in an event word.
        pub link_bits: u8,
        /// Padding.
        pub pad: [u8; 7] = "_pad",
    }

    /// Arguments of [`EVTCHNOP_EXPAND_ARRAY`].
    pub struct EvtchnExpandArray: "struct evtchn_expand_array" {
        /// In: GFN of the frame that holds the next 1024 event words.
        pub array_gfn: Gfn as wide,
    }

    /// Arguments of [`EVTCHNOP_SET_PRIORITY`].
    pub struct EvtchnSetPriority: "struct evtchn_set_priority" {
        /// In: the port.
        pub port: Port,
        /// In: priority, from 0 (highest) to 15 (lowest).
        pub priority: u32,
    }
}

union_members! {
    EvtchnStatus, u:
    /// For [`EVTCHNSTAT_UNBOUND`]: the domain that may bind to the port.
    unbound, set_unbound: DomId;
    /// For [`EVTCHNSTAT_INTERDOMAIN`]: the remote end.
    interdomain, set_interdomain: EvtchnPeer;
    /// For [`EVTCHNSTAT_PIRQ`]: the PIRQ, by the domain's own number.
    pirq, set_pirq: u32;
    /// For [`EVTCHNSTAT_VIRQ`]: the VIRQ.
    virq, set_virq: u32;
}
