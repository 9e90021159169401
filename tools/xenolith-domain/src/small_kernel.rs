//! The smallest kernel that there is: it marks that it runs, and waits for ever.

/// Where it lies, as a guest physical address, and how much memory it has with its mark.
const ADDRESS: u32 = 0x10_0000;
const MEMORY: u32 = 0x1000;
/// The guest physical address of the word that is not 0 once it runs.
pub const MARK: u32 = ADDRESS + 0x800;

const HEADER: u16 = 52;
const PROGRAM_HEADER: u16 = 32;
const NOTE_AT: u32 = HEADER as u32 + 2 * PROGRAM_HEADER as u32;
const NOTE: u32 = 20;
const CODE_AT: u32 = NOTE_AT + NOTE;

/// Returns its ELF file: one segment with all of the file, and the note of the PVH entry.
#[must_use]
pub fn file() -> Vec<u8> {
    let code = code();
    let length = CODE_AT + code.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    // An executable for i386; entry, program headers, no sections.
    put(&[2, 0, 3, 0]);
    [1, ADDRESS + CODE_AT, HEADER.into(), 0, 0].into_iter().for_each(|word: u32| put(&word.to_le_bytes()));
    [HEADER, PROGRAM_HEADER, 2, 0, 0, 0].into_iter().for_each(|half| put(&half.to_le_bytes()));
    // Kind, offset, virtual and physical address, bytes in the file and in memory, rights, alignment.
    let load = [1, 0, ADDRESS, ADDRESS, length, MEMORY, 7, 4];
    let note = [4, NOTE_AT, ADDRESS + NOTE_AT, ADDRESS + NOTE_AT, NOTE, NOTE, 4, 4];
    [load, note].concat().into_iter().for_each(|word: u32| put(&word.to_le_bytes()));
    [4, 4, xen_abi::elfnote::XEN_ELFNOTE_PHYS32_ENTRY].into_iter().for_each(|word: u32| put(&word.to_le_bytes()));
    put(b"Xen\0");
    put(&(ADDRESS + CODE_AT).to_le_bytes());
    put(&code);
    file
}

/// `incl MARK`, and then `sti; hlt` for ever: no interrupt comes, as none is set up.
fn code() -> Vec<u8> {
    let [a, b, c, d] = MARK.to_le_bytes();
    vec![0xff, 0x05, a, b, c, d, 0xfb, 0xf4, 0xeb, 0xfc]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_kernel_that_fits_into_4_mib() {
        let file = file();
        let kernel = domains::Kernel::read(&file, 4 << 20).unwrap();
        let segment = &kernel.segments()[0];
        assert_eq!((segment.address, segment.memory, kernel.segments().len()), (0x10_0000, 0x1000, 1));
        assert!(kernel.bytes(segment)[(kernel.entry() - ADDRESS) as usize..].starts_with(&[0xff, 0x05]));
        assert!(MARK >= ADDRESS + file.len() as u32 && MARK < ADDRESS + MEMORY);
    }
}
