//! The guest's side of the FIFO form, as the interface describes it.

use super::Domain;
use xen_abi::{Gfn, Port, VcpuId};
use xenolith_core::components::event_channel::{expand_array, init_control};
use xenolith_hal::PageWords;

pub const PENDING: u32 = 1 << 31;
pub const MASKED: u32 = 1 << 30;
pub const LINKED: u32 = 1 << 29;
pub const BUSY: u32 = 1 << 28;
const LINK: u32 = (1 << 17) - 1;
/// Guest frame of the first page of the event array; the control blocks lie in the frames below.
pub const ARRAY_GFN: u64 = 16;

/// What a guest remembers between two looks at its queues.
#[derive(Clone, Default)]
pub struct Queues {
    ready: u32,
    heads: [u32; 16],
}

/// Offset of a vCPU's control block in its page.
fn control_offset(vcpu: u32) -> u32 {
    vcpu.wrapping_mul(8)
}

impl Domain {
    /// Clears a page and hands it over as a vCPU's control block.
    pub fn give_control_block(&self, vcpu: u32) -> Result<u8, xen_abi::Errno> {
        init_control(self, VcpuId(vcpu), Gfn(u64::from(vcpu)), control_offset(vcpu))
    }

    /// Hands over a page as number `slot` of the event array.
    pub fn give_array_page(&self, slot: u64) -> Result<(), xen_abi::Errno> {
        expand_array(self, Gfn(ARRAY_GFN + slot))
    }

    fn word_place(&self, port: Port) -> (&PageWords, usize) {
        (self.frame(ARRAY_GFN + u64::from(port.0 / 1024)), port.0 as usize % 1024 * 4)
    }

    pub fn word(&self, port: Port) -> u32 {
        let (page, at) = self.word_place(port);
        page.load_u32(at).unwrap()
    }

    pub fn set_word(&self, port: Port, value: u32) {
        let (page, at) = self.word_place(port);
        page.store_u32(at, value).unwrap();
    }

    pub fn ready_bits(&self, vcpu: u32) -> u32 {
        self.frame(u64::from(vcpu)).load_u32(control_offset(vcpu) as usize).unwrap()
    }

    /// Takes one event out of the vCPU's queues: the port, and whether it was to be handled (it is no longer pending
    /// then). None if the queues are empty.
    pub fn take_event(&self, vcpu: u32, queues: &mut Queues) -> Option<(u32, bool)> {
        let control = self.frame(u64::from(vcpu));
        let offset = control_offset(vcpu) as usize;
        loop {
            queues.ready |= control.fetch_and_u32(offset, 0).unwrap();
            if queues.ready == 0 {
                return None;
            }
            let priority = queues.ready.trailing_zeros() as usize;
            let mut port = queues.heads[priority];
            if port == 0 {
                port = control.load_u32(offset + 8 + 4 * priority).unwrap();
            }
            let word = self.word(Port(port));
            self.set_word(Port(port), word & !(LINKED | LINK));
            queues.heads[priority] = word & LINK;
            if word & LINK == 0 {
                queues.ready &= !(1 << priority);
            }
            if word & LINKED == 0 {
                continue;
            }
            let handled = word & PENDING != 0 && word & MASKED == 0;
            if handled {
                let word = self.word(Port(port));
                self.set_word(Port(port), word & !PENDING);
            }
            return Some((port, handled));
        }
    }

    /// Handles everything in the vCPU's queues: the ports in the order in which they came.
    pub fn handle_all(&self, vcpu: u32, queues: &mut Queues) -> Vec<u32> {
        self.take_upcall(vcpu);
        let events = std::iter::from_fn(|| self.take_event(vcpu, queues));
        events.filter_map(|(port, handled)| handled.then_some(port)).collect()
    }
}
