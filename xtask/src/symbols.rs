//! The names of the hypervisor's functions, laid into the image for its backtraces.
//!
//! The image reserves a section `.symbols` that is loaded with it. What is put there: the magic number, the number of
//! functions (both 32 bits, little-endian), for each function by address how far it starts after the one before it, the first
//! after [`BASE`], as LEB128; and the names in the same order, each ended by a NUL. Names stand without generic arguments:
//! these made half of the table, and say little in a backtrace. The instruction decoder's many small functions stand under its
//! crate's name alone.

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use rustc_demangle::demangle;

/// "XSYM".
const MAGIC: u32 = 0x4d59_5358;

/// Addresses are told from here on.
const BASE: u64 = 0xffff_ffff_8000_0000;

/// The crate whose functions have one name.
const DECODER: &str = "iced_x86";

/// Where the table goes.
pub const SECTION: &str = ".symbols";

/// A table that was laid into an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Laid {
    pub functions: usize,
    pub used_bytes: usize,
    pub reserved_bytes: usize,
}

/// Lays the table into the image in place. `None` where the image has no such section.
///
/// **Errors:** the file is no ELF64 file, or the section is too small; the message says what size is needed.
pub fn lay_into(image: &mut [u8]) -> Result<Option<Laid>> {
    let file = object::File::parse(&*image).context("the image is no ELF file")?;
    let Some(section) = file.section_by_name(SECTION) else { return Ok(None) };
    let Some((offset, size)) = section.file_range() else {
        bail!("the section {SECTION} holds no bytes in the file; it must be PROGBITS");
    };
    let functions = functions(&file);
    let table = encode(&functions)?;
    let (start, reserved) = (usize::try_from(offset)?, usize::try_from(size)?);
    if table.len() > reserved {
        bail!(
            "the section {SECTION} has {reserved} bytes, and the names of the functions need {}: enlarge it",
            table.len()
        );
    }
    let place = image.get_mut(start..start + reserved).context("the section lies outside the file")?;
    let (used, rest) = place.split_at_mut(table.len());
    used.copy_from_slice(&table);
    rest.fill(0);
    Ok(Some(Laid { functions: functions.len(), used_bytes: table.len(), reserved_bytes: reserved }))
}

/// Returns the functions of the higher half, by address; of several names for one address the first.
fn functions(file: &object::File<'_>) -> Vec<(u32, String)> {
    let wanted = |symbol: &object::Symbol<'_, '_>| symbol.is_definition() && symbol.kind() == SymbolKind::Text;
    let named = |symbol: object::Symbol<'_, '_>| {
        let offset = u32::try_from(symbol.address().checked_sub(BASE)?).ok()?;
        let name = format!("{:#}", demangle(symbol.name().ok()?));
        Some((offset, without_arguments(&name))).filter(|(_, name)| !name.is_empty())
    };
    let mut functions: Vec<_> = file.symbols().filter(wanted).filter_map(named).collect();
    functions.sort();
    functions.dedup_by_key(|(offset, _)| *offset);
    for (_, name) in &mut functions {
        if name.trim_start_matches('<').starts_with(DECODER) {
            *name = DECODER.into();
        }
    }
    functions.dedup_by(|next, before| next.1 == DECODER && before.1 == DECODER);
    functions
}

/// Returns a name without the generic arguments of its functions and types; the `<Type as Trait>` of a method stays.
fn without_arguments(name: &str) -> String {
    let mut short = String::with_capacity(name.len());
    let mut inside = 0_usize;
    let mut before = ' ';
    for letter in name.chars() {
        match letter {
            '<' if inside > 0 => inside += 1,
            '<' if before.is_alphanumeric() || before == '_' => inside = 1,
            '<' if short.ends_with("::") => {
                short.truncate(short.len() - 2);
                inside = 1;
            }
            // The arrow of a function's type closes nothing.
            '>' if inside > 0 && before != '-' => inside -= 1,
            _ if inside == 0 => short.push(letter),
            _ => {}
        }
        before = letter;
    }
    short
}

fn encode(functions: &[(u32, String)]) -> Result<Vec<u8>> {
    let mut distances = Vec::new();
    let mut names = Vec::new();
    let mut before = 0;
    for (offset, name) in functions {
        let mut distance = offset - before;
        before = *offset;
        while distance >= 0x80 {
            distances.push(u8::try_from(distance & 0x7f)? | 0x80);
            distance >>= 7;
        }
        distances.push(u8::try_from(distance)?);
        names.extend(name.bytes());
        names.push(0);
    }
    let count = u32::try_from(functions.len())?;
    Ok([&MAGIC.to_le_bytes()[..], &count.to_le_bytes(), &distances, &names].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write::{Object as Output, StandardSection, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolScope};

    /// Makes an ELF file with one function of the higher half, one below it, and a section of `reserved` bytes.
    fn image(reserved: usize) -> Vec<u8> {
        let mut output = Output::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let text = output.section_id(StandardSection::Text);
        output.append_section_data(text, &[0xc3; 16], 16);
        let symbols = output.add_section(vec![], SECTION.into(), SectionKind::ReadOnlyData);
        output.append_section_data(symbols, &vec![0xff; reserved], 8);
        for (name, value) in [
            ("_ZN4core5panic17h0123456789abcdefE", BASE + 0x1000),
            ("_ZN8iced_x867decoder5first17h0123456789abcdefE", BASE + 0x1010),
            ("_ZN8iced_x867decoder6second17h0123456789abcdefE", BASE + 0x1020),
            ("early", 0x20_0000),
        ] {
            output.add_symbol(Symbol {
                name: name.into(),
                value,
                size: 1,
                kind: SymbolKind::Text,
                scope: SymbolScope::Linkage,
                weak: false,
                section: SymbolSection::Section(text),
                flags: SymbolFlags::None,
            });
        }
        output.write().unwrap()
    }

    fn section_bytes(image: &[u8]) -> Vec<u8> {
        object::File::parse(image).unwrap().section_by_name(SECTION).unwrap().data().unwrap().to_vec()
    }

    #[test]
    fn the_table_holds_demangled_names_of_the_higher_half_and_zeros_after_them() {
        let mut image = image(64);
        let laid = lay_into(&mut image).unwrap().unwrap();
        let mut expected = Vec::from(*b"XSYM\x02\0\0\0\x80\x20\x10core::panic\0iced_x86\0");
        assert_eq!(laid, Laid { functions: 2, used_bytes: expected.len(), reserved_bytes: 64 });
        expected.resize(64, 0);
        assert_eq!(section_bytes(&image), expected);
    }

    #[test]
    fn a_section_that_is_too_small_is_an_error_that_says_what_is_needed() {
        let error = lay_into(&mut image(20)).unwrap_err().to_string();
        assert!(error.contains("has 20 bytes") && error.contains("need 32"), "{error}");
    }

    #[test]
    fn functions_are_sorted_by_address_and_their_names_stand_in_that_order() {
        let table = encode(&[(1, "a".into()), (2, "bc".into()), (0x102, "d".into())]).unwrap();
        assert_eq!(table, *b"XSYM\x03\0\0\0\x01\x01\x80\x02a\0bc\0d\0");
    }

    #[test]
    fn names_stand_without_generic_arguments() {
        for (name, short) in [
            ("core::run::run::<x86::machine::X86Machine>", "core::run::run"),
            ("<core::Frames<Buddy<u64>>>::take::<x86::Machine, fn() -> u64>", "<core::Frames>::take"),
            ("<x86::Machine as hal::Machine>::port_read", "<x86::Machine as hal::Machine>::port_read"),
            ("core::state::get::<M>::{closure#1}", "core::state::get::{closure#1}"),
            ("world_switch", "world_switch"),
        ] {
            assert_eq!(without_arguments(name), short);
        }
    }
}
