//! From the boot loader's hands to a running machine.

mod entry;
