//! Event channels: each rule by itself, both forms against a model, the calls, and threads that race.

mod fifo;
mod hypercall;
mod model;
mod ports;
mod rules;
mod threads;
mod world;
