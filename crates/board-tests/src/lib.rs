//! Tests of the board's images on the emulated board; see `tests/`.
