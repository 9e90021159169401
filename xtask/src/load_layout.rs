//! Whether every boot loader can load the image: what it asks of the segments, and a copy with nothing else in it.

use anyhow::{Context, Result, bail};
use object::Endianness::Little;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// A segment that is loaded; all numbers are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub file_offset: u64,
    pub file_size: u64,
    pub load_address: u64,
    pub memory_size: u64,
}

/// Returns the segments that are loaded, as they stand in the file.
///
/// **Errors:** the file is no ELF64 file, or loads nothing.
pub fn segments(image: &[u8]) -> Result<Vec<Segment>> {
    let header = FileHeader64::<object::Endianness>::parse(image).context("the image is no ELF64 file")?;
    let headers = header.program_headers(Little, image).context("the image's program headers are broken")?;
    let loaded = headers.iter().filter(|header| header.p_type(Little) == PT_LOAD && header.p_memsz(Little) > 0);
    let segments: Vec<Segment> = loaded
        .map(|header| Segment {
            file_offset: header.p_offset(Little),
            file_size: header.p_filesz(Little),
            load_address: header.p_paddr(Little),
            memory_size: header.p_memsz(Little),
        })
        .collect();
    if segments.is_empty() {
        bail!("the image loads nothing");
    }
    Ok(segments)
}

/// Checks what a flat load by multiboot1 needs, and that no boot loader finds room between two segments.
///
/// **Errors:** each names the segments and the numbers that break the rule.
pub fn check(segments: &[Segment]) -> Result<()> {
    for (first, second) in segments.iter().zip(segments.iter().skip(1)) {
        let (one, two) = (first.load_address, second.load_address);
        let shift = |segment: &Segment| segment.file_offset.wrapping_sub(segment.load_address);
        if shift(first) != shift(second) {
            bail!(
                "file offset minus load address differs between the segments at {one:#x} and {two:#x}: multiboot1's \
                 flat load would put the second in a wrong place"
            );
        }
        if first.file_size != first.memory_size {
            bail!("the segment at {one:#x} has memory without file contents, and it is not the last one");
        }
        let end = one.saturating_add(first.memory_size);
        if end != two {
            bail!(
                "the segment at {one:#x} ends at {end:#x} and the next begins at {two:#x}: boot loaders put modules \
                 into such gaps; pad the segment in the linker script"
            );
        }
    }
    Ok(())
}

/// Returns the image with nothing in it but what is loaded: no debug information, symbols or section headers.
///
/// **Errors:** the file is no ELF64 file.
pub fn bare_copy(image: &[u8]) -> Result<Vec<u8>> {
    let end = segments(image)?.iter().map(|segment| segment.file_offset.saturating_add(segment.file_size)).max();
    let mut copy = image.get(..usize::try_from(end.unwrap_or(0))?).context("a segment lies outside the file")?.to_vec();
    // e_shoff; then e_shnum and e_shstrndx (e_shentsize, before them, may stay).
    for place in [0x28..0x30, 0x3c..0x40] {
        copy.get_mut(place).context("the image has no whole header")?.fill(0);
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(file_offset: u64, file_size: u64, load_address: u64, memory_size: u64) -> Segment {
        Segment { file_offset, file_size, load_address, memory_size }
    }

    fn complaint(segments: &[Segment]) -> String {
        check(segments).unwrap_err().to_string()
    }

    #[test]
    fn contiguous_segments_with_memory_only_at_the_end_pass() {
        check(&[segment(0x1000, 0x1000, 0x20_0000, 0x1000), segment(0x2000, 0x10, 0x20_1000, 0x5000)]).unwrap();
    }

    #[test]
    fn a_gap_between_two_segments_is_refused() {
        let said = complaint(&[segment(0x1000, 0x800, 0x20_0000, 0x800), segment(0x2000, 0x10, 0x20_1000, 0x10)]);
        assert!(said.contains("ends at 0x200800"), "{said}");
    }

    #[test]
    fn a_segment_that_a_flat_load_would_misplace_is_refused() {
        let said = complaint(&[segment(0x1000, 0x1000, 0x20_0000, 0x1000), segment(0x3000, 0x10, 0x20_1000, 0x10)]);
        assert!(said.contains("flat load"), "{said}");
    }

    #[test]
    fn memory_without_file_contents_before_the_last_segment_is_refused() {
        let said = complaint(&[segment(0x1000, 0x800, 0x20_0000, 0x1000), segment(0x2000, 0x10, 0x20_1000, 0x10)]);
        assert!(said.contains("not the last"), "{said}");
    }

    #[test]
    fn a_file_that_is_no_elf_file_is_refused() {
        assert!(segments(b"no ELF file at all, and yet longer than a header is, by a few bytes at least").is_err());
    }
}
