//! Flash partitions for firmware updates: const partition tables, bounded views, stream writer, and a NOR simulator with power cuts.
#![no_std]
#![forbid(unsafe_code)]
