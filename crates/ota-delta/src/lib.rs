//! Differential firmware updates: AliOS nbdiff and a pointer-aware format.
#![no_std]
#![forbid(unsafe_code)]
