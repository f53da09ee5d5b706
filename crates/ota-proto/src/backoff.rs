//! How long to wait before the next connection.
//!
//! The wait doubles with every failure: 1 to 2 s first, then 2 to 4 s, up to 30 to
//! 60 s, at random within each range so that a fleet does not come back all at once.
//! A connection that held for [`STABLE_MS`] sets it back to the beginning.
//!
//! The cloud keeps one connection per device: a second sign-on with the same
//! credentials ends the first. Two devices that share credentials end each other's
//! connections in turns. Seen from one of them, connections are accepted and
//! closed by the server soon after. From the third in a row the waits grow to
//! 1, 2, 4, ... up to 10 minutes, and [`Wait::taken_over`] says why.

/// A connection that held this long was good. Milliseconds.
pub const STABLE_MS: u64 = 90_000;
/// Shortest wait. Milliseconds.
pub const MIN_MS: u32 = 1_000;
/// Longest wait after ordinary failures. Milliseconds.
pub const MAX_MS: u32 = 60_000;
/// Longest wait after connections were taken over. Milliseconds.
pub const MAX_TAKEN_OVER_MS: u32 = 600_000;

/// Short connections in a row that count as a second sign-on with the same credentials.
const TAKEN_OVER_AFTER: u8 = 3;

/// How the last attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There was no connection that the server accepted.
    NotConnected,
    /// The server closed or reset the connection `held_ms` after it had accepted the sign-on.
    ByPeer {
        /// From CONNACK to the end, in milliseconds.
        held_ms: u64,
    },
    /// It ended for another reason: time-out, broken protocol.
    Otherwise {
        /// From CONNACK to the end, in milliseconds.
        held_ms: u64,
    },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// Wait this long. Milliseconds.
    pub ms: u32,
    /// Most likely another device signs on with the same credentials.
    pub taken_over: bool,
}

/// Counts failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u8,
    short: u8,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            failures: 0,
            short: 0,
        }
    }

    /// How long to wait after a connection or an attempt has ended. `random` is any random number.
    pub fn next(&mut self, ended: Ended, random: u32) -> Wait {
        let (held, by_peer) = match ended {
            Ended::NotConnected => (None, false),
            Ended::ByPeer { held_ms } => (Some(held_ms), true),
            Ended::Otherwise { held_ms } => (Some(held_ms), false),
        };
        match held {
            Some(ms) if ms >= STABLE_MS => *self = Self::new(),
            Some(_) if by_peer => self.short = self.short.saturating_add(1),
            Some(_) => self.short = 0,
            // A failed attempt in between says nothing about another device.
            None => {}
        }
        let taken_over = self.short >= TAKEN_OVER_AFTER;
        let (first, max, count) = if taken_over {
            (MAX_MS, MAX_TAKEN_OVER_MS, self.short - TAKEN_OVER_AFTER)
        } else {
            (MIN_MS, MAX_MS, self.failures)
        };
        self.failures = self.failures.saturating_add(1);
        let low = (first << count.min(6)).min(max / 2);
        let high = (2 * low).min(max);
        Wait {
            ms: between(low, high, random),
            taken_over,
        }
    }
}

/// Scales `random` to `low..high` without a division.
fn between(low: u32, high: u32, random: u32) -> u32 {
    low + ((u64::from(high - low) * u64::from(random)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(b: &mut Backoff, random: u32) -> u32 {
        b.next(Ended::NotConnected, random).ms
    }

    #[test]
    fn doubles_from_one_to_sixty_seconds() {
        let mut low = Backoff::new();
        let mut high = Backoff::new();
        for (from, to) in [
            (1, 2),
            (2, 4),
            (4, 8),
            (8, 16),
            (16, 32),
            (30, 60),
            (30, 60),
            (30, 60),
        ] {
            assert_eq!(failed(&mut low, 0), from * 1000);
            assert_eq!(failed(&mut high, u32::MAX), to * 1000 - 1);
        }
        for _ in 0..1000 {
            assert!((30_000..60_000).contains(&failed(&mut low, 0x1234_5678)));
        }
    }

    #[test]
    fn jitter_spreads_over_the_whole_range() {
        let quarter = |q: u32| failed(&mut Backoff::new(), q << 30);
        assert_eq!([0, 1, 2, 3].map(quarter), [1000, 1250, 1500, 1750]);
    }

    #[test]
    fn a_stable_connection_starts_over_and_a_short_one_does_not() {
        let mut b = Backoff::new();
        for _ in 0..4 {
            failed(&mut b, 0);
        }
        let short = b.next(
            Ended::Otherwise {
                held_ms: STABLE_MS - 1,
            },
            0,
        );
        assert_eq!(
            short,
            Wait {
                ms: 16_000,
                taken_over: false
            }
        );
        let stable = b.next(Ended::ByPeer { held_ms: STABLE_MS }, 0);
        assert_eq!(
            stable,
            Wait {
                ms: 1_000,
                taken_over: false
            }
        );
    }

    #[test]
    fn a_second_sign_on_in_turns_is_seen_and_calmed_down() {
        let mut b = Backoff::new();
        let kicked = Ended::ByPeer { held_ms: 2_000 };
        let waits: std::vec::Vec<_> = (0..8)
            .map(|_| {
                let wait = b.next(kicked, 0);
                (wait.ms / 1000, wait.taken_over)
            })
            .collect();
        let expected = [
            (1, false),
            (2, false),
            (60, true),
            (120, true),
            (240, true),
            (300, true),
            (300, true),
            (300, true),
        ];
        assert_eq!(waits, expected);
        // Attempts that fail in between do not hide it; another cause of loss ends the suspicion.
        assert!(b.next(Ended::NotConnected, 0).taken_over);
        assert!(!b.next(Ended::Otherwise { held_ms: 5 }, 0).taken_over);
    }

    #[test]
    fn two_devices_with_the_same_credentials_settle() {
        // Each sign-on ends the other's connection; count sign-ons in two hours of virtual time.
        let mut devices = [Backoff::new(), Backoff::new()];
        let mut next = [0u64, 500];
        let mut since = [None, None];
        let (mut sign_ons, mut seen) = (0, false);
        let mut random = 1u32;
        loop {
            let me = usize::from(next[1] < next[0]);
            let now = next[me];
            if now > 7_200_000 {
                break;
            }
            sign_ons += 1;
            since[me] = Some(now);
            next[me] = u64::MAX;
            let other = 1 - me;
            if let Some(start) = since[other].take() {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let wait = devices[other].next(
                    Ended::ByPeer {
                        held_ms: now - start,
                    },
                    random,
                );
                seen |= wait.taken_over;
                next[other] = now + u64::from(wait.ms);
            }
        }
        assert!(seen);
        assert!(sign_ons < 1000, "{sign_ons} sign-ons");
    }
}
