//! The daemon's state machine, used as clients use it.

mod answers;
mod recovery;
mod transactions;
mod watching;
mod world;
