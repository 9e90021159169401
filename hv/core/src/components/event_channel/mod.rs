//! Event channels: one-bit notifications from one domain to another, from a vCPU to another, or from the hypervisor.
//!
//! # Two ABIs
//!
//! A domain starts with the 2-level ABI (`two_level`: bitmaps in its shared_info page) and may switch to the FIFO ABI
//! (`fifo`: queues by priority in pages of its own). Bindings are the same in both.
//!
//! # Locks
//!
//! Binding and closing take the domain's lock (rank `EventPorts`; two domains' as a pair). Sending does not: it holds
//! the one port it goes through, see `port_state`. In the FIFO ABI it then takes the lock of a queue or two (rank
//! `EventQueue`).
//!
//! # What a hostile guest can change meanwhile
//!
//! Every bit of the shared_info page, `vcpu_info`, control blocks and event array. What is read there decides only
//! whether an event is delivered to that same guest, never which memory is accessed or how often a loop runs.
//!
//! The operations are functions of an [`EventDomain`], which stands for the domain and the little that is needed of the
//! rest of the hypervisor.
//!
//! **Source:** `event_channel.h`; the order of the error checks is that of Xen 4.17.

mod allocation;
mod binding;
mod closing;
mod delivery;
mod domain;
mod event_array;
mod fifo;
mod fifo_setup;
mod global_virq;
mod guest_words;
pub mod poll;
mod port_set;
mod port_state;
mod port_table;
mod report;
mod status;
mod two_level;
mod vcpu_state;
mod virq;

pub use binding::{
    alloc_unbound, alloc_unbound_for_hypervisor, bind_interdomain, bind_ipi, bind_pirq, bind_vcpu, bind_virq,
    is_pirq_bound, raise_pirq,
};
pub use closing::{Progress, ResetStart, close, close_for_hypervisor, may_reset, reset, teardown};
pub use delivery::{is_pending, mark_everything, send, send_from_hypervisor, unmask};
pub use domain::EventDomain;
pub use fifo_setup::{expand_array, init_control, set_priority};
pub use global_virq::GlobalVirqs;
pub use guest_words::GuestWords;
pub use port_table::{BUCKET_BYTES, PORTS_PER_BUCKET};
pub use report::{PortReport, QueuesReport, bound_ports, queue_report};
pub use status::{PortStatus, status};
pub use virq::{is_global, raise_global, raise_vcpu};

use crate::components::shared_form::SharedForm;
use alloc::vec::Vec;
use allocation::{Bindings, add_ports};
use event_array::EventArray;
use port_state::{Binding, Kind, VCPU_LIMIT};
use port_table::PortTable;
use vcpu_state::VcpuState;
use xen_abi::event_channel::EVTCHN_2L_NR_CHANNELS;
use xen_abi::event_fifo::EVTCHN_FIFO_NR_CHANNELS;
use xen_abi::{DomId, Errno, Port, VcpuId};
use xenolith_sync::atomic::AtomicU32;
use xenolith_sync::{SpinLock, rank};

/// A domain's event channels.
pub struct EventChannels {
    id: DomId,
    /// The highest port that may be allocated.
    max_port: u32,
    bindings: SpinLock<Bindings, rank::EventPorts>,
    ports: PortTable,
    array: EventArray,
    vcpus: Vec<VcpuState>,
    /// The number of vCPUs that poll, so that sending need not check each.
    pollers: AtomicU32,
    form: SharedForm,
}

impl EventChannels {
    /// Creates the event channels of a new domain: no port is bound, and port 0 never will be. `max_port` is the
    /// highest port that may be allocated; `vcpus` is the most vCPUs of the domain.
    ///
    /// **Errors:** `ENOMEM`; `EINVAL` for more vCPUs than a port can name.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(id: DomId, vcpus: u32, max_port: u32) -> Result<Self, Errno> {
        if vcpus > VCPU_LIMIT {
            return Err(Errno::EINVAL);
        }
        let mut states = Vec::new();
        states.try_reserve_exact(vcpus as usize).map_err(|_| Errno::ENOMEM)?;
        states.extend(core::iter::repeat_with(VcpuState::new).take(vcpus as usize));
        let ports = PortTable::new();
        let mut bindings = Bindings::default();
        add_ports(&ports, &mut bindings, |_| true)?;
        if let Some(cell) = ports.get(Port(0)) {
            cell.change().set(Binding::guest(Kind::Reserved, VcpuId(0)));
        }
        Ok(Self {
            id,
            max_port,
            bindings: SpinLock::new(bindings),
            ports,
            array: EventArray::new(),
            vcpus: states,
            pollers: AtomicU32::new(0),
            form: SharedForm::default(),
        })
    }

    /// Returns the domain that they belong to.
    #[must_use]
    pub const fn id(&self) -> DomId {
        self.id
    }

    /// Returns the number one past the highest port of the ABI in use.
    #[must_use]
    pub fn port_limit(&self) -> u32 {
        if self.array.is_active() { EVTCHN_FIFO_NR_CHANNELS } else { EVTCHN_2L_NR_CHANNELS }
    }

    /// Returns true if the domain uses the FIFO ABI.
    #[must_use]
    pub fn is_fifo(&self) -> bool {
        self.array.is_active()
    }

    /// Returns the form of the shared page, and with it of the bits of the 2-level ABI.
    #[must_use]
    pub const fn form(&self) -> &SharedForm {
        &self.form
    }

    const fn ports(&self) -> &PortTable {
        &self.ports
    }

    const fn array(&self) -> &EventArray {
        &self.array
    }

    const fn pollers(&self) -> &AtomicU32 {
        &self.pollers
    }

    fn vcpu(&self, id: VcpuId) -> Option<&VcpuState> {
        self.vcpus.get(id.0 as usize)
    }

    fn vcpus(&self) -> impl Iterator<Item = (VcpuId, &VcpuState)> {
        self.vcpus.iter().zip(0..).map(|(state, number)| (VcpuId(number), state))
    }
}
