//! What a vCPU asks for by hypercalls, and how it is started.

mod caches;
mod cpuid;
mod hypercall;
mod nested_fault;
mod ports;
mod start;
