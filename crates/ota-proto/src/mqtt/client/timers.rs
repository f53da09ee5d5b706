//! Deadlines: answers, pings, repetitions, and the time of grace.

use super::{Client, State, put};
use crate::mqtt::outbox::Kind;
use crate::mqtt::{Awaiting, Error, wire};

impl Client<'_> {
    /// When [`Client::poll`] must be called at the latest, in the caller's milliseconds.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        match self.state {
            State::Idle | State::Closing => None,
            State::Connecting => self.final_time(self.answer_due),
            State::Connected => {
                let ping = match self.answer_due {
                    None => Some(self.ping_due()),
                    due => self.final_time(due),
                };
                let subscribe = self.final_time(self.out.due(Kind::Subscribe));
                let publish = self.out.due(Kind::Publish);
                [ping, subscribe, publish].into_iter().flatten().min()
            }
        }
    }

    fn final_time(&self, due: Option<u64>) -> Option<u64> {
        match (due, self.grace_until) {
            (Some(due), Some(grace)) if due <= self.now => Some(grace),
            _ => due,
        }
    }

    fn ping_due(&self) -> u64 {
        self.last_heard
            .min(self.last_spoke)
            .saturating_add(u64::from(self.ping_after))
    }

    pub(super) fn timers(&mut self) -> Result<(), Error> {
        let now = self.now;
        if self.state == State::Connecting {
            return self.expire(self.answer_due, Awaiting::ConnAck);
        }
        self.out.repeat_due(now);
        self.expire(self.out.due(Kind::Subscribe), Awaiting::SubAck)?;
        if self.answer_due.is_some() {
            return self.expire(self.answer_due, Awaiting::PingResp);
        }
        // A full buffer means that bytes wait to go out; they serve as well.
        if now >= self.ping_due() {
            let _ = self.out.queue(true, &mut |room| put(room, &wire::PINGREQ));
            self.answer_due = Some(now.saturating_add(u64::from(self.config.answer_ms)));
        }
        Ok(())
    }

    /// Gives up when a deadline has passed and nothing came in during the time of grace.
    fn expire(&mut self, due: Option<u64>, awaiting: Awaiting) -> Result<(), Error> {
        if due.is_none_or(|due| self.now < due) {
            return Ok(());
        }
        match self.grace_until {
            Some(grace) if self.now >= grace => Err(Error::TimedOut(awaiting)),
            Some(_) => Ok(()),
            None => {
                self.grace_until = Some(self.now.saturating_add(u64::from(Self::GRACE_MS)));
                Ok(())
            }
        }
    }
}
