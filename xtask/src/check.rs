//! `cargo xtask check`: the rules of the code that a program can hold. A rule that nothing checks gets broken.

mod circles;
mod dead_items;
mod doc_words;
mod documentation;
mod fence;
mod imports;
mod layering;
mod layers;
mod report;
mod source;
pub mod style;
mod tiers;
mod tree;
mod unsafe_places;
mod wire_structures;
mod words;

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use xenolith_tests::places;

pub use fence::Fence;
use tree::Tree;

/// Checks the rules of the code and reports its size.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct CheckArguments {
    /// Leave out rustfmt, clippy and rustdoc, which take longest
    #[arg(long)]
    pub quick: bool,
    /// What runs on the host was compiled by way of clippy already
    #[arg(skip)]
    pub host_is_linted: bool,
}

/// Returns how much of the tree at `root` stands on each side of the fence around `unsafe`.
///
/// **Errors:** the tree cannot be read.
pub fn fence(root: &Path) -> Result<Fence> {
    Ok(Fence::of(&Tree::read(root)?))
}

/// A rule: its name, and what finds the places that break it.
type Rule = (&'static str, fn(&Tree) -> Vec<String>);

const RULES: &[Rule] = &[
    ("which crate may name which", layering::check),
    ("which layer of a crate may name which", layers::check),
    ("unsafe only where it may live", unsafe_places::check),
    ("a reason at each use of unsafe", unsafe_places::check_reasons),
    ("wire structures are compared with C", wire_structures::check),
    ("no unfinished work, no drawers", words::check),
    ("words of docs", doc_words::check),
    ("no circle of many files", circles::check),
    ("no public item that nothing names", dead_items::check),
];

/// Runs `cargo xtask check`.
///
/// **Errors:** a rule is broken; the places were printed.
pub fn command(arguments: CheckArguments) -> Result<()> {
    let tree = Tree::read(&places::root())?;
    print!("{}", report::report(&tree));
    let mut broken = 0;
    for (name, find) in RULES {
        let found = find(&tree);
        println!("{} {name}", if found.is_empty() { "ok    " } else { "BROKEN" });
        found.iter().for_each(|place| println!("         {place}"));
        broken += found.len();
    }
    if !arguments.quick {
        let found = style::check(arguments.host_is_linted)?;
        found.iter().for_each(|what| println!("{what}"));
        broken += found.len();
    }
    if broken > 0 {
        bail!("{broken} places break the rules");
    }
    Ok(())
}
