//! Emulated MK3060 board that runs the shipped images.
