//! Domains made of heap pages, for tests of event channels.

pub mod fifo_guest;
pub mod model;

use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use xen_abi::shared_info::{SHARED_INFO_EVTCHN_MASK, SHARED_INFO_EVTCHN_PENDING, VCPU_INFO_SIZE};
use xen_abi::{DomId, Errno, Gfn, Mfn, Port, VcpuId};
use xenolith_core::components::event_channel::{EventChannels, EventDomain};
use xenolith_hal::PageWords;

/// Frames of each domain; guest frame `n` of domain `d` is machine frame `d * FRAMES + n`.
pub const FRAMES: u64 = 160;

pub struct World {
    domains: Vec<TestDomain>,
}

pub struct TestDomain {
    events: EventChannels,
    shared: PageWords,
    frames: Vec<(PageWords, AtomicI64)>,
    vcpus: u32,
    upcalls: Mutex<Vec<u32>>,
    wakes: Mutex<Vec<u32>>,
    hypervisor_events: Mutex<Vec<(u32, u32)>>,
    page_looks: AtomicU64,
}

#[derive(Clone)]
pub struct Domain {
    world: Arc<World>,
    index: usize,
}

/// A world with one domain for each `(vcpus, max_port)`.
pub fn world(domains: &[(u32, u32)]) -> Vec<Domain> {
    let make = |(index, &(vcpus, max_port)): (usize, &(u32, u32))| TestDomain {
        events: EventChannels::new(DomId(index as u16), vcpus, max_port).unwrap(),
        shared: PageWords::new(),
        frames: (0..FRAMES).map(|_| (PageWords::new(), AtomicI64::new(0))).collect(),
        vcpus,
        upcalls: Mutex::default(),
        wakes: Mutex::default(),
        hypervisor_events: Mutex::default(),
        page_looks: AtomicU64::new(0),
    };
    let world = Arc::new(World { domains: domains.iter().enumerate().map(make).collect() });
    (0..domains.len()).map(|index| Domain { world: world.clone(), index }).collect()
}

impl Deref for Domain {
    type Target = TestDomain;

    fn deref(&self) -> &TestDomain {
        &self.world.domains[self.index]
    }
}

impl Domain {
    pub fn id(&self) -> DomId {
        DomId(self.index as u16)
    }

    pub fn shared(&self) -> &PageWords {
        &self.shared
    }

    pub fn frame(&self, gfn: u64) -> &PageWords {
        &self.frames[gfn as usize].0
    }

    /// How many references event channels hold to the domain's frames.
    pub fn pins(&self) -> i64 {
        self.frames.iter().map(|(_, pins)| pins.load(Ordering::Relaxed)).sum()
    }

    /// The vCPUs that were interrupted since the last call.
    pub fn take_upcalls(&self) -> Vec<u32> {
        std::mem::take(&mut self.upcalls.lock().unwrap())
    }

    /// The vCPUs that were woken from polling since the last call.
    pub fn take_wakes(&self) -> Vec<u32> {
        std::mem::take(&mut self.wakes.lock().unwrap())
    }

    pub fn take_hypervisor_events(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut self.hypervisor_events.lock().unwrap())
    }

    /// How often event channels looked at a page of the FIFO form since the last call.
    pub fn take_page_looks(&self) -> u64 {
        self.page_looks.swap(0, Ordering::Relaxed)
    }

    fn bit(&self, offset: usize, port: Port) -> bool {
        self.shared.load_u8(offset + port.0 as usize / 8).unwrap() >> (port.0 % 8) & 1 != 0
    }

    pub fn pending_bit(&self, port: Port) -> bool {
        self.bit(SHARED_INFO_EVTCHN_PENDING, port)
    }

    pub fn mask_bit(&self, port: Port) -> bool {
        self.bit(SHARED_INFO_EVTCHN_MASK, port)
    }

    pub fn set_shared_bit(&self, offset: usize, port: Port, value: bool) {
        let at = offset + port.0 as usize / 8;
        let old = self.shared.load_u8(at).unwrap();
        let bit = 1 << (port.0 % 8);
        self.shared.store_u8(at, if value { old | bit } else { old & !bit }).unwrap();
    }

    pub fn set_mask_bit(&self, port: Port, value: bool) {
        self.set_shared_bit(SHARED_INFO_EVTCHN_MASK, port, value);
    }

    pub fn set_pending_bit(&self, port: Port, value: bool) {
        self.set_shared_bit(SHARED_INFO_EVTCHN_PENDING, port, value);
    }

    pub fn upcall_flag(&self, vcpu: u32) -> bool {
        self.shared.load_u8(vcpu as usize * VCPU_INFO_SIZE).unwrap() != 0
    }

    pub fn selector(&self, vcpu: u32) -> u64 {
        self.shared.load_u64(vcpu as usize * VCPU_INFO_SIZE + 8).unwrap()
    }

    /// What a guest does at an upcall: takes the flag and the selector.
    pub fn take_upcall(&self, vcpu: u32) {
        let at = vcpu as usize * VCPU_INFO_SIZE;
        self.shared.store_u8(at, 0).unwrap();
        self.shared.store_u64(at + 8, 0).unwrap();
    }
}

impl EventDomain for Domain {
    type Page = PageWords;

    fn events(&self) -> &EventChannels {
        &self.events
    }

    fn peer(&self, id: DomId) -> Option<Self> {
        let index = usize::from(id.0);
        (index < self.world.domains.len()).then(|| Self { world: self.world.clone(), index })
    }

    fn shared_info(&self) -> Option<&PageWords> {
        Some(&self.shared)
    }

    fn vcpu_info(&self, vcpu: VcpuId) -> Option<(&PageWords, usize)> {
        (vcpu.0 < self.vcpus).then(|| (&self.shared, vcpu.0 as usize * VCPU_INFO_SIZE))
    }

    fn event_page(&self, frame: Mfn) -> Option<&PageWords> {
        self.page_looks.fetch_add(1, Ordering::Relaxed);
        let gfn = frame.0.checked_sub(self.index as u64 * FRAMES)?;
        let (page, pins) = self.frames.get(gfn as usize)?;
        assert!(pins.load(Ordering::Relaxed) > 0, "frame {frame} was used without a reference");
        Some(page)
    }

    fn pin_event_page(&self, gfn: Gfn) -> Result<Mfn, Errno> {
        let (_, pins) = self.frames.get(usize::try_from(gfn.0).unwrap_or(usize::MAX)).ok_or(Errno::EINVAL)?;
        pins.fetch_add(1, Ordering::Relaxed);
        Ok(Mfn(self.index as u64 * FRAMES + gfn.0))
    }

    fn unpin_event_page(&self, frame: Mfn) {
        let (_, pins) = &self.frames[(frame.0 - self.index as u64 * FRAMES) as usize];
        assert!(pins.fetch_sub(1, Ordering::Relaxed) > 0, "frame {frame} was given back twice");
    }

    fn upcall(&self, vcpu: VcpuId) {
        self.upcalls.lock().unwrap().push(vcpu.0);
    }

    fn wake(&self, vcpu: VcpuId) {
        self.wakes.lock().unwrap().push(vcpu.0);
    }

    fn hypervisor_event(&self, vcpu: VcpuId, port: Port) {
        self.hypervisor_events.lock().unwrap().push((vcpu.0, port.0));
    }

    fn pirq_limit(&self) -> u32 {
        16
    }
}
