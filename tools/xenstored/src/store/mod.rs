//! The nodes: a tree whose copies cost nothing, and what can change in it.

mod change;
mod node;
mod tree;

pub use change::Change;
pub use node::Node;
pub use tree::{Tree, walk};
