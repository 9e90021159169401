//! Event channels bound, sent, closed and reset, in both forms.

use xen_abi::event_channel::*;
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::{DomId, Gfn, Port, VcpuId};

use super::stage::{ARGUMENT, Guest, Stage};

/// Guest frames of the control block and of the event array.
const CONTROL: std::ops::Range<u64> = 8..12;
const ARRAY: u64 = 12;

impl Stage<'_> {
    fn port(&mut self) -> Port {
        let known = self.ports.get(self.dice.usize(..self.ports.len().max(1))).copied();
        Port(known.filter(|_| self.dice.u8(..8) > 0).unwrap_or_else(|| self.dice.u32(..80)))
    }

    fn event(
        &mut self,
        guest: &Guest,
        operation: u32,
        value: &(impl zerocopy::IntoBytes + zerocopy::Immutable),
    ) -> Option<i64> {
        self.op(guest, EVENT_CHANNEL_OP, operation, value, 0)
    }

    /// Remembers a port. Ports are forgotten at random, so that lists stay short.
    fn know(&mut self, port: Option<Port>) {
        if self.ports.len() > 64 {
            self.ports.swap_remove(self.dice.usize(..64));
        }
        self.ports.extend(port.map(|port| port.0));
    }

    fn bind(&mut self, guest: &Guest) -> Option<()> {
        let bound = match self.dice.u8(..6) {
            0 | 1 => {
                let value = EvtchnAllocUnbound { dom: DomId::SELF, remote_dom: self.domain(), port: Port(0) };
                self.event(guest, EVTCHNOP_ALLOC_UNBOUND, &value)?;
                self.read::<EvtchnAllocUnbound>(guest, ARGUMENT).map(|done| done.port)
            }
            2 | 3 => {
                let (remote_dom, remote_port) = (self.domain(), self.port());
                let value = EvtchnBindInterdomain { remote_dom, remote_port, ..EvtchnBindInterdomain::default() };
                self.event(guest, EVTCHNOP_BIND_INTERDOMAIN, &value)?;
                self.read::<EvtchnBindInterdomain>(guest, ARGUMENT).map(|done| done.local_port)
            }
            4 => {
                let value = EvtchnBindIpi { vcpu: VcpuId(0), port: Port(0) };
                self.event(guest, EVTCHNOP_BIND_IPI, &value)?;
                self.read::<EvtchnBindIpi>(guest, ARGUMENT).map(|done| done.port)
            }
            _ => {
                let value = EvtchnBindVirq { virq: self.dice.u32(..24), vcpu: VcpuId(0), port: Port(0) };
                self.event(guest, EVTCHNOP_BIND_VIRQ, &value)?;
                self.read::<EvtchnBindVirq>(guest, ARGUMENT).map(|done| done.port)
            }
        };
        self.know(bound);
        Some(())
    }

    fn use_fifo(&mut self, guest: &Guest) -> Option<()> {
        let control_gfn = Gfn(self.dice.u64(CONTROL));
        let value = EvtchnInitControl { control_gfn, vcpu: VcpuId(0), ..EvtchnInitControl::default() };
        self.event(guest, EVTCHNOP_INIT_CONTROL, &value)?;
        self.event(guest, EVTCHNOP_EXPAND_ARRAY, &EvtchnExpandArray { array_gfn: Gfn(ARRAY) }).map(drop)
    }

    /// Writes to event words as a hostile guest does.
    fn scribble(&mut self, guest: &Guest) {
        let at = (self.dice.u64(CONTROL.start..=ARRAY) << 12) | (self.dice.u64(..128) * 4);
        let word = self.dice.u32(..) & self.dice.u32(..);
        self.write(guest, at, &word.to_le_bytes());
    }

    /// Makes one step with event channels; none where the vCPU makes calls no more.
    pub fn use_events(&mut self, guest: &Guest) -> Option<()> {
        match self.dice.u8(..32) {
            0..=9 => self.bind(guest)?,
            10..=18 => {
                let port = self.port();
                self.event(guest, EVTCHNOP_SEND, &EvtchnSend { port })?;
            }
            19 | 20 => {
                let port = self.port();
                self.event(guest, EVTCHNOP_UNMASK, &EvtchnUnmask { port })?;
            }
            21..=24 => {
                let port = self.port();
                self.event(guest, EVTCHNOP_CLOSE, &EvtchnClose { port })?;
            }
            25 => self.use_fifo(guest)?,
            26 => {
                let value = EvtchnSetPriority { port: self.port(), priority: self.dice.u32(..17) };
                self.event(guest, EVTCHNOP_SET_PRIORITY, &value)?;
            }
            27 => {
                let value = EvtchnStatus { dom: self.domain(), port: self.port(), ..EvtchnStatus::default() };
                self.event(guest, EVTCHNOP_STATUS, &value)?;
            }
            28 => {
                let value = EvtchnBindVcpu { port: self.port(), vcpu: VcpuId(self.dice.u32(..3)) };
                self.event(guest, EVTCHNOP_BIND_VCPU, &value)?;
            }
            29 if self.dice.u8(..8) == 0 => {
                self.event(guest, EVTCHNOP_RESET, &EvtchnReset { dom: DomId::SELF })?;
            }
            _ => self.scribble(guest),
        }
        Some(())
    }
}
