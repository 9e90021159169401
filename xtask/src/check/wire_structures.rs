//! Every structure of the public interface is declared so that its layout is compared with the C headers.
//!
//! The tests of `abi/` compare all that `wire!` declares; a structure laid out by hand would escape them.

use std::path::Path;

use super::tree::Tree;

/// The file that declares `wire!` itself.
const DECLARES: &str = "abi/src/describe.rs";

/// Structures that no public header declares, so that there is nothing to compare them with.
const WITHOUT_COUNTERPART: &[&str] = &[
    // An entry of the BIOS's memory map; Xen's headers pass it as bytes.
    "MemmapEntry",
];

/// Returns every type with C layout in `abi/` that `wire!` does not declare.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    let judged =
        tree.sources.iter().filter(|source| source.lies_in(&["abi/src"]) && source.path != Path::new(DECLARES));
    judged
        .flat_map(|source| {
            let by_hand = source.lines.iter().enumerate().filter(|(index, line)| {
                let next = source.lines.get(index.saturating_add(1));
                let excused = next.is_some_and(|next| WITHOUT_COUNTERPART.iter().any(|name| next.has_word(name)));
                line.code.contains("repr(C") && !excused
            });
            by_hand.map(|(index, _)| format!("{}: declare it with wire!, which has it compared", source.place(index)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&Tree { members: vec![], sources: vec![Source::new("abi/src/grant.rs", text)] })
    }

    #[test]
    fn a_structure_with_c_layout_by_hand_is_found() {
        assert_eq!(found("#[repr(C)]\npub struct Copy { a: u32 }").len(), 1);
        assert_eq!(found("#[repr(C, packed)]\npub struct Copy { a: u32 }").len(), 1);
        assert!(found("#[repr(C)]\npub struct MemmapEntry {}").is_empty());
        assert!(found("#[repr(transparent)]\npub struct Ref(u32);").is_empty());
    }
}
