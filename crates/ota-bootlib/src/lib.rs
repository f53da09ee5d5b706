//! Power-cut-safe boot state and update strategies: journal, swap, trial, confirm, revert.
#![no_std]
#![forbid(unsafe_code)]
