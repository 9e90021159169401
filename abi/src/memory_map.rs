//! Maps of the whole memory of a domain or of the machine.
//!
//! **Source:** `memory.h`, `hvm/e820.h`.

use crate::describe::{constants, wire};
use crate::physdev::PhysdevPciDevice;
use crate::{DomId, Gfn, GuestHandle};

constants! {
    table CONSTANTS;
    /// [`ReservedDeviceMemoryMap::flags`]: every range, not only those of one device.
    pub const XENMEM_RDM_ALL: u32 = 1;
}

/// Size in bytes of an entry of a memory map: a [`MemmapEntry`].
pub const E820_ENTRY_SIZE: usize = size_of::<MemmapEntry>();

/// Kind of a range: ordinary memory.
pub const E820_RAM: u32 = 1;
/// Kind of a range: not to be used.
pub const E820_RESERVED: u32 = 2;
/// Kind of a range: ACPI tables.
pub const E820_ACPI: u32 = 3;
/// Kind of a range: the firmware's, kept over sleep.
pub const E820_NVS: u32 = 4;
/// Kind of a range: faulty, or taken away.
pub const E820_UNUSABLE: u32 = 5;

/// One range of a memory map, of 20 bytes as the firmware's `int 15h, e820h` returns it.
///
/// The words are halved because the entries of an array of them are not aligned to 8.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Default,
    zerocopy::FromBytes,
    zerocopy::IntoBytes,
    zerocopy::Immutable,
    zerocopy::KnownLayout,
)]
#[repr(C)]
pub struct MemmapEntry {
    address: [u32; 2],
    length: [u32; 2],
    kind: u32,
}

impl MemmapEntry {
    /// Creates a range: address and length in bytes, and an `E820_*`.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the low half, and then the high one")]
    pub const fn new(address: u64, length: u64, kind: u32) -> Self {
        Self { address: [address as u32, (address >> 32) as u32], length: [length as u32, (length >> 32) as u32], kind }
    }

    /// Returns the first guest physical address.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.address[0] as u64 | (self.address[1] as u64) << 32
    }

    /// Returns the length in bytes.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.length[0] as u64 | (self.length[1] as u64) << 32
    }

    /// Returns its type, an `E820_*`.
    #[must_use]
    pub const fn kind(self) -> u32 {
        self.kind
    }
}

wire! {
    /// Arguments of [`XENMEM_MEMORY_MAP`](crate::memory::XENMEM_MEMORY_MAP).
    pub struct MemoryMap: "struct xen_memory_map" {
        /// In: how many entries there is room for. Out: how many were written.
        pub nr_entries: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: the entries.
        pub buffer: GuestHandle<MemmapEntry>,
    }

    /// Arguments of [`XENMEM_SET_MEMORY_MAP`](crate::memory::XENMEM_SET_MEMORY_MAP).
    pub struct ForeignMemoryMap: "struct xen_foreign_memory_map" {
        /// In: whose.
        pub domid: DomId,
        /// Padding.
        pub pad: [u8; 6],
        /// In: the map.
        pub map: MemoryMap,
    }

    /// Memory that a device needs where it is.
    pub struct ReservedDeviceMemory: "struct xen_reserved_device_memory" {
        /// The first frame.
        pub start_pfn: Gfn,
        /// The number of frames.
        pub nr_pages: u64 as long,
    }

    /// Arguments of [`XENMEM_RESERVED_DEVICE_MEMORY_MAP`](crate::memory::XENMEM_RESERVED_DEVICE_MEMORY_MAP).
    pub struct ReservedDeviceMemoryMap: "struct xen_reserved_device_memory_map" {
        /// In: 0 or [`XENMEM_RDM_ALL`].
        pub flags: u32,
        /// In: how many entries there is room for. Out: how many there are.
        pub nr_entries: u32,
        /// Out: the entries.
        pub buffer: GuestHandle<ReservedDeviceMemory>,
        /// In: the device.
        pub pci: PhysdevPciDevice = "dev.pci",
        /// Padding.
        pub pad: [u8; 4],
    }

    /// A range of memory on a virtual NUMA node.
    pub struct Vmemrange: "struct xen_vmemrange" {
        /// The first guest physical address.
        pub start: u64,
        /// The end.
        pub end: u64,
        /// Zero.
        pub flags: u32,
        /// The virtual node.
        pub nid: u32,
    }

    /// Arguments of [`XENMEM_GET_VNUMAINFO`](crate::memory::XENMEM_GET_VNUMAINFO).
    pub struct VnumaTopologyInfo: "struct xen_vnuma_topology_info" {
        /// In: whose.
        pub domid: DomId,
        /// Padding.
        pub pad0: u16,
        /// In: the number of nodes that there is room for. Out: how many there are.
        pub nr_vnodes: u32,
        /// In: the number of vCPUs that there is room for. Out: how many there are.
        pub nr_vcpus: u32,
        /// In: the number of ranges that there is room for. Out: how many there are.
        pub nr_vmemranges: u32,
        /// Out: the distances, `nr_vnodes` of them for each node.
        pub vdistance: GuestHandle<u32> as slot,
        /// Out: the node of each vCPU, `nr_vcpus` numbers.
        pub vcpu_to_vnode: GuestHandle<u32> as slot,
        /// Out: the ranges, `nr_vmemranges` of them.
        pub vmemrange: GuestHandle<Vmemrange> as slot,
    }
}

#[cfg(test)]
mod tests {
    use super::MemmapEntry;

    #[test]
    fn an_entry_has_twenty_bytes_and_keeps_its_numbers() {
        let entry = MemmapEntry::new(0x1_0000_1000, 0x2_0000_3000, 5);
        assert_eq!(size_of::<MemmapEntry>(), 20);
        assert_eq!((entry.address(), entry.length(), entry.kind()), (0x1_0000_1000, 0x2_0000_3000, 5));
    }
}
