//! Parsing of the kernel's ELF file: its segments and its entry point.

use alloc::vec::Vec;
use core::fmt;
use elf::ElfBytes;
use elf::abi::{EM_386, EM_X86_64, PT_LOAD, PT_NOTE, SHT_NOTE};
use elf::endian::LittleEndian;
use elf::note::Note;
use xenolith_hal::Gpa;

/// The note that names the 32-bit entry point. **Source:** `elfnote.h`, `XEN_ELFNOTE_PHYS32_ENTRY`.
const NOTE_PHYS32_ENTRY: u64 = xen_abi::elfnote::XEN_ELFNOTE_PHYS32_ENTRY as u64;
/// A kernel with more segments than this is taken for broken.
const MOST_SEGMENTS: usize = 64;

/// Why a file cannot be dom0's kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KernelError {
    /// Not an ELF file, or a damaged one.
    NotElf,
    /// For another processor.
    WrongMachine,
    /// It has no note with a PVH entry point.
    NoPvhEntry,
    /// A segment lies outside the file, or the address space.
    BadSegment,
    /// There are no segments to load.
    Empty,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotElf => "the kernel is not an ELF file (a compressed or damaged image?)",
            Self::WrongMachine => "the kernel is not for x86",
            Self::NoPvhEntry => "the kernel has no PVH entry note (Linux: CONFIG_PVH)",
            Self::BadSegment => "the kernel's ELF segments lie outside its file or of memory",
            Self::Empty => "the kernel has nothing to load",
        })
    }
}

/// One segment: its bytes, its address, and how many zeros follow.
pub struct Segment<'a> {
    pub to: Gpa,
    pub bytes: &'a [u8],
    pub zeros: u64,
}

/// A parsed kernel.
pub struct Kernel<'a> {
    pub segments: Vec<Segment<'a>>,
    /// The entry point, in 32-bit mode.
    pub entry: u32,
    /// The first address that it occupies.
    pub start: Gpa,
    /// One past the last.
    pub end: Gpa,
}

impl<'a> Kernel<'a> {
    /// Parses a file.
    ///
    /// **Errors:** [`KernelError`].
    pub fn parse(file: &'a [u8]) -> Result<Self, KernelError> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| KernelError::NotElf)?;
        if !matches!(elf.ehdr.e_machine, EM_386 | EM_X86_64) {
            return Err(KernelError::WrongMachine);
        }
        let headers = elf.segments().ok_or(KernelError::Empty)?;
        let mut segments = Vec::new();
        let mut entry = None;
        for header in headers.iter().take(MOST_SEGMENTS) {
            match header.p_type {
                PT_LOAD if header.p_memsz > 0 => {
                    let bytes = elf.segment_data(&header).map_err(|_| KernelError::BadSegment)?;
                    let zeros = header.p_memsz.checked_sub(bytes.len() as u64).ok_or(KernelError::BadSegment)?;
                    segments.push(Segment { to: Gpa(header.p_paddr), bytes, zeros });
                }
                PT_NOTE => {
                    let notes = elf.segment_data_as_notes(&header).map_err(|_| KernelError::BadSegment)?;
                    for note in notes {
                        entry = pvh_entry(&note).or(entry);
                    }
                }
                _ => {}
            }
        }
        if entry.is_none() {
            entry = entry_in_sections(&elf);
        }
        let start = segments.iter().map(|segment| segment.to).min().ok_or(KernelError::Empty)?;
        let end = last_byte(&segments)?;
        Ok(Self { segments, entry: entry.ok_or(KernelError::NoPvhEntry)?, start, end })
    }
}

/// Returns the entry of a note in a section. Small kernels, as Mini-OS, have theirs in no segment of notes; a section that
/// lies outside the file has none.
fn entry_in_sections(elf: &ElfBytes<'_, LittleEndian>) -> Option<u32> {
    let sections = elf.section_headers()?.iter().filter(|header| header.sh_type == SHT_NOTE).take(MOST_SEGMENTS);
    let notes = sections.filter_map(|header| elf.section_data_as_notes(&header).ok()).flatten();
    notes.filter_map(|note| pvh_entry(&note)).last()
}

fn last_byte(segments: &[Segment<'_>]) -> Result<Gpa, KernelError> {
    let mut end = Gpa(0);
    for segment in segments {
        let size = (segment.bytes.len() as u64).checked_add(segment.zeros).ok_or(KernelError::BadSegment)?;
        end = end.max(segment.to.checked_add(size).ok_or(KernelError::BadSegment)?);
    }
    Ok(end)
}

fn pvh_entry(note: &Note<'_>) -> Option<u32> {
    let Note::Unknown(note) = note else { return None };
    if note.n_type != NOTE_PHYS32_ENTRY || note.name.strip_suffix(&[0]).unwrap_or(note.name) != b"Xen" {
        return None;
    }
    match note.desc {
        [a, b, c, d] | [a, b, c, d, 0, 0, 0, 0] => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a kernel of one segment, and a note that no segment of notes holds.
    fn kernel_with_a_note_in_a_section(kind: u32) -> Vec<u8> {
        let mut file = Vec::from([0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut put = |words: &[u32]| file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        // The file's header, one program header at 52, two section headers at 104.
        put(&[2 | 3 << 16, 1, 0x10_0000, 52, 104, 0, 52 | 32 << 16, 1 | 40 << 16, 2]);
        put(&[PT_LOAD, 0, 0x10_0000, 0x10_0000, 204, 204, 7, 4096]);
        put(&[4, 4, kind, u32::from_le_bytes(*b"Xen\0"), 0x10_0abc]);
        put(&[0; 10]);
        put(&[0, SHT_NOTE, 0, 0, 84, 20, 0, 0, 4, 0]);
        file.resize(204, 0);
        file
    }

    #[test]
    fn a_note_in_a_section_alone_is_found() {
        let file = kernel_with_a_note_in_a_section(18);
        assert_eq!(Kernel::parse(&file).map(|kernel| kernel.entry), Ok(0x10_0abc));
        let file = kernel_with_a_note_in_a_section(1);
        assert_eq!(Kernel::parse(&file).err(), Some(KernelError::NoPvhEntry));
    }

    #[test]
    fn what_is_no_elf_file_is_named() {
        for file in [&b""[..], b"MZ", b"\x7fELF\x02\x01\x01", &[0xff; 4096]] {
            assert!(Kernel::parse(file).is_err());
        }
        assert_eq!(Kernel::parse(b"hello").err(), Some(KernelError::NotElf));
    }
}
