//! Grants: each rule by itself, and random ones against a model.

mod model;
mod rules;
