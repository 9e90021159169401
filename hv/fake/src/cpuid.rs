//! CPUID of the fake machine: the smallest CPU that runs guests.

use xenolith_hal::CpuidRegisters;

const fn registers(eax: u32, ebx: u32, ecx: u32, edx: u32) -> CpuidRegisters {
    CpuidRegisters { eax, ebx, ecx, edx }
}

/// Returns the leaf of the emulator's `qemu64,+svm,+npt` with one CPU.
pub fn read(leaf: u32, _subleaf: u32) -> CpuidRegisters {
    match leaf {
        0 => registers(0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        1 => registers(0x60fb1, 0x0001_0800, 0x8020_2001, 0x078b_fbfd),
        6 => registers(4, 0, 0, 0),
        0x8000_0000 => registers(0x8000_000a, 0x6874_7541, 0x444d_4163, 0x6974_6e65),
        0x8000_0001 => registers(0x60fb1, 0, 0x5, 0x2193_fbfd),
        0x8000_0002 => registers(0x554d_4551, 0, 0, 0),
        0x8000_0008 => registers(0x3028, 0, 0, 0),
        0x8000_000a => registers(1, 16, 0, 1),
        _ => CpuidRegisters::default(),
    }
}
