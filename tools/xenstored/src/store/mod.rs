//! The tree of nodes, whose snapshots cost nothing, and its changes.

mod change;
mod node;
mod tree;

pub use change::Change;
pub use node::Node;
pub use tree::{Tree, walk};
