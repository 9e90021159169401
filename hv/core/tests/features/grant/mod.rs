//! Grants: each rule by itself, the calls, and random ones against a model.

mod devices;
mod hypercall;
mod model;
mod rules;
