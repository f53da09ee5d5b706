//! Offers: taken, put off, replaced or refused.

use super::{Next, Phase, Session, todo};
use crate::messages::{OfferError, OfferRef, Push};
use crate::session::{Cause, Judge, Received, Refusal};
use crate::topics::Topic;

impl Session<'_> {
    /// A message has come on a topic of this device (see [`Topic::of_device`]).
    pub fn received(
        &mut self,
        _now: u64,
        topic: Topic,
        payload: &[u8],
        judge: &mut impl Judge,
    ) -> Received {
        let reply = topic == Topic::FirmwareGetReply;
        if !reply && topic != Topic::Upgrade {
            return Received::NotOurs;
        }
        match Push::parse(payload) {
            Ok(Push::Offer(offer)) => self.offered(&offer, judge),
            Ok(Push::Nothing) => {
                if let Phase::AwaitUrl(_) = self.phase {
                    // The cloud has withdrawn the job.
                    self.end();
                }
                Received::Nothing
            }
            // The refusal of a question is no failure of an update.
            Err(OfferError::Refused(code)) if reply => {
                Received::Refused(Cause::Offer(OfferError::Refused(code)))
            }
            Err(e) => self.refuse(Cause::Offer(e)),
        }
    }

    /// A message was lost that may have been an offer, because an update is in hand:
    /// the cloud is asked again after it.
    pub fn missed(&mut self) {
        if self.phase != Phase::Idle || self.trial {
            self.ask_later = true;
        }
    }

    /// Refuses an offer; it is reported only if no other update would be taken for the one that failed.
    fn refuse(&mut self, cause: Cause) -> Received {
        if self.phase == Phase::Idle && !self.trial {
            self.report_failure(cause);
        }
        Received::Refused(cause)
    }

    fn same(&self, offer: &OfferRef<'_>) -> bool {
        self.offer
            .as_ref()
            .is_some_and(|o| o.same_package(offer) && o.diff == offer.diff)
    }

    fn offered(&mut self, offer: &OfferRef<'_>, judge: &mut impl Judge) -> Received {
        let ours = match (offer.module, self.config.module) {
            (None, None) => true,
            (Some(theirs), Some(ours)) => theirs == ours,
            _ => false,
        };
        if !ours {
            return self.refuse(Cause::Refused(Refusal::Module));
        }
        if offer.version == self.config.version {
            self.todo |= todo::INFORM;
            return Received::Running;
        }
        if self.trial {
            self.ask_later = true;
            return Received::Deferred;
        }
        let busy = match self.phase {
            Phase::Idle => false,
            _ if self.same(offer) => return self.again(offer, judge),
            Phase::AwaitUrl(_) | Phase::BackOff(..) | Phase::Downloading => true,
            Phase::Verifying | Phase::Installing | Phase::Rebooting(_) => {
                self.ask_later = true;
                return Received::Deferred;
            }
        };
        let stored = match judge.judge(offer) {
            Ok(stored) => stored,
            Err(Refusal::Later) => return Received::Deferred,
            // The cloud offers again what was just reverted, before it knows: that
            // report is the answer, and a second one would hide the reason.
            Err(Refusal::FailedBefore(_)) if self.boot_failure.is_some() => return Received::Same,
            Err(refusal) => return self.refuse(Cause::Refused(refusal)),
        };
        let short = match offer.to_offer() {
            Ok(short) => short,
            Err(e) => return self.refuse(Cause::Offer(e)),
        };
        if let Err(e) = judge.keep(&offer.url) {
            return self.refuse(Cause::Offer(e));
        }
        self.drop_update();
        self.done = stored.min(offer.size);
        self.offer = Some(short);
        self.failure = None;
        self.fruitful();
        self.mismatches = 0;
        self.restarts = 0;
        self.from_zero = self.done == 0;
        // A record of another package must not be taken for this one's.
        self.fresh = self.done == 0;
        self.next_percent = 1;
        self.start();
        self.count_percent();
        if busy {
            Received::Replaced
        } else {
            Received::Accepted
        }
    }

    /// The offer in hand has come again, perhaps with a fresh URL.
    fn again(&mut self, offer: &OfferRef<'_>, judge: &mut impl Judge) -> Received {
        let waiting = matches!(
            self.phase,
            Phase::AwaitUrl(_) | Phase::BackOff(_, Next::AskUrl)
        );
        if waiting || matches!(self.phase, Phase::BackOff(..)) {
            if let Err(e) = judge.keep(&offer.url) {
                return Received::Refused(Cause::Offer(e));
            }
            if waiting {
                self.todo &= !todo::GET;
                self.start();
            }
        }
        Received::Same
    }
}
