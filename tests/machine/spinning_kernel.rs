//! A domain 0 that does nothing for ever: two instructions behind a PVH entry note.

use std::fs;
use std::path::PathBuf;

use crate::image::scratch;

/// Where it lies in memory, which is where it is entered.
const LOAD_ADDRESS: u32 = 0x10_0000;
const HEADER: u16 = 64;
const PROGRAM_HEADER: u16 = 56;
/// `pause`, and a jump back to it.
const CODE: [u8; 4] = [0xf3, 0x90, 0xeb, 0xfc];
/// The note's file offset, behind the headers, and the code's, behind the note.
const NOTE_AT: u64 = 64 + 2 * 56;
const CODE_AT: u64 = NOTE_AT + 20;

/// Writes it and says where.
pub fn write(test: &str) -> PathBuf {
    let file = scratch(test).join("spinning-kernel");
    fs::write(&file, bytes()).unwrap();
    file
}

fn bytes() -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // ET_EXEC, EM_X86_64.
    put(&mut file, &[2_u16, 62].map(u16::to_le_bytes));
    put(&mut file, &[1_u32, LOAD_ADDRESS, 0].map(u32::to_le_bytes));
    put(&mut file, &[u64::from(HEADER), 0].map(u64::to_le_bytes));
    put(&mut file, &[0_u32].map(u32::to_le_bytes));
    put(&mut file, &[HEADER, PROGRAM_HEADER, 2, 0, 0, 0].map(u16::to_le_bytes));
    // PT_LOAD, readable and executable; then PT_NOTE, readable.
    for (kind, flags, at, size) in [(1_u32, 5_u32, CODE_AT, CODE.len() as u64), (4, 4, NOTE_AT, 20)] {
        put(&mut file, &[kind, flags].map(u32::to_le_bytes));
        let address = if kind == 1 { u64::from(LOAD_ADDRESS) } else { 0 };
        put(&mut file, &[at, address, address, size, size, 4].map(u64::to_le_bytes));
    }
    // XEN_ELFNOTE_PHYS32_ENTRY.
    put(&mut file, &[4_u32, 4, 18].map(u32::to_le_bytes));
    file.extend(b"Xen\0");
    put(&mut file, &[LOAD_ADDRESS].map(u32::to_le_bytes));
    file.extend(CODE);
    file
}

fn put<const N: usize>(file: &mut Vec<u8>, words: &[[u8; N]]) {
    file.extend(words.iter().flatten());
}
