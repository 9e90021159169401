//! The daemon's state machine, spoken to as clients speak to it.

mod answers;
mod recovery;
mod transactions;
mod watching;
mod world;
