//! Thin hardware layer for the MK3060 module (MOC108 / BK7231).
#![no_std]
