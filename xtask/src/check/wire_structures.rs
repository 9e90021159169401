//! Every structure of the public interface is declared so that its layout is compared with the C headers.
//!
//! The tests of `abi/` compare all that `wire!` declares; a structure laid out by hand would escape them.

use std::path::Path;

use super::tree::Tree;

/// The file that declares `wire!` itself.
const DECLARES: &str = "abi/src/describe.rs";

/// Every type with C layout in `abi/` that `wire!` does not declare.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    let judged =
        tree.sources.iter().filter(|source| source.lies_in(&["abi/src"]) && source.path != Path::new(DECLARES));
    judged
        .flat_map(|source| {
            let by_hand = source.lines.iter().enumerate().filter(|(_, line)| line.code.contains("repr(C"));
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
        assert!(found("#[repr(transparent)]\npub struct Ref(u32);").is_empty());
    }
}
