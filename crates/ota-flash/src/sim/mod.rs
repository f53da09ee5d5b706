//! A NOR flash for tests: bits only clear, sectors erase, power fails.
