//! AMD's IOMMU: the tables that devices' accesses go through, and the words of its commands and events.

pub mod floods;
pub mod tables;
pub mod words;
