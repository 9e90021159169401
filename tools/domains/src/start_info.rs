//! What the kernel is told when it starts: the start information, with its lists and the command line behind it.

use xen_abi::memory_map::MemmapEntry;
use xen_abi::start_info::{
    HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, START_INFO_VERSION_1, XEN_HVM_START_MAGIC_VALUE,
};
use zerocopy::IntoBytes;

/// What goes into it.
#[derive(Clone, Debug, Default)]
pub struct StartInfo<'a> {
    pub command_line: &'a str,
    /// Guest physical address and bytes of the initial RAM disc.
    pub ramdisk: Option<(u64, u64)>,
    pub map: &'a [MemmapEntry],
    /// Guest physical address of the ACPI root pointer.
    pub acpi_root: u64,
}

impl StartInfo<'_> {
    /// Returns the bytes that [`StartInfo::to_bytes`] makes, wherever they are to lie.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.to_bytes(0).len() as u64
    }

    /// Returns its bytes, to lie at guest physical address `at`, a multiple of 8.
    #[must_use]
    pub fn to_bytes(&self, at: u64) -> Vec<u8> {
        let modules = at.saturating_add(size_of::<HvmStartInfo>() as u64);
        let has_ramdisk = self.ramdisk.is_some();
        let module_bytes = if has_ramdisk { size_of::<HvmModlistEntry>() as u64 } else { 0 };
        let map = modules.saturating_add(module_bytes);
        let map_bytes = (size_of::<HvmMemmapTableEntry>() as u64).saturating_mul(self.map.len() as u64);
        let info = HvmStartInfo {
            magic: XEN_HVM_START_MAGIC_VALUE,
            version: START_INFO_VERSION_1,
            nr_modules: u32::from(has_ramdisk),
            modlist_paddr: if has_ramdisk { modules } else { 0 },
            cmdline_paddr: map.saturating_add(map_bytes),
            rsdp_paddr: self.acpi_root,
            memmap_paddr: map,
            memmap_entries: u32::try_from(self.map.len()).unwrap_or(0),
            ..HvmStartInfo::default()
        };
        let mut bytes = info.as_bytes().to_vec();
        if let Some((paddr, size)) = self.ramdisk {
            bytes.extend(HvmModlistEntry { paddr, size, ..HvmModlistEntry::default() }.as_bytes());
        }
        for entry in self.map {
            let (addr, size, kind) = (entry.address(), entry.length(), entry.kind());
            bytes.extend(HvmMemmapTableEntry { addr, size, kind, ..HvmMemmapTableEntry::default() }.as_bytes());
        }
        bytes.extend(self.command_line.bytes().chain([0]));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xen_abi::memory_map::E820_RAM;
    use zerocopy::FromBytes;

    #[test]
    fn every_address_in_it_leads_to_what_it_is_of() {
        let map = [MemmapEntry::new(0, 1 << 20, E820_RAM)];
        let info = StartInfo { command_line: "a=b c", ramdisk: Some((0x5000, 77)), map: &map, acpi_root: 0xfc00_0000 };
        let bytes = info.to_bytes(0x10_0000);
        assert_eq!(info.size(), bytes.len() as u64);
        let (head, _) = HvmStartInfo::read_from_prefix(&bytes).unwrap();
        let at = |address: u64| &bytes[(address - 0x10_0000) as usize..];
        assert_eq!((head.magic, head.version, head.nr_modules), (0x336e_c578, 1, 1));
        assert_eq!(at(head.cmdline_paddr), b"a=b c\0");
        let (module, _) = HvmModlistEntry::read_from_prefix(at(head.modlist_paddr)).unwrap();
        assert_eq!((module.paddr, module.size, module.cmdline_paddr), (0x5000, 77, 0));
        let (entry, _) = HvmMemmapTableEntry::read_from_prefix(at(head.memmap_paddr)).unwrap();
        assert_eq!((head.memmap_entries, entry.addr, entry.size, entry.kind), (1, 0, 1 << 20, 1));
        assert_eq!(head.rsdp_paddr, 0xfc00_0000);
    }

    #[test]
    fn without_a_module_there_is_no_list_of_them() {
        let bytes = StartInfo::default().to_bytes(0x1000);
        let (head, _) = HvmStartInfo::read_from_prefix(&bytes).unwrap();
        assert_eq!((head.nr_modules, head.modlist_paddr), (0, 0));
    }
}
