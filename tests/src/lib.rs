//! Whole-system tests of uota.
