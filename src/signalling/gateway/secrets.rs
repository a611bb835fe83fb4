//! Keys of SRTP: who gets some, and another try without.

use std::time::Instant;

use moqswitch_sip::agent::{self, LegKey, TrunkId};
use moqswitch_sip::flow::Transport;
use moqswitch_sip::sdp::{self, Crypto, Description, Direction, Material, Session, Suite};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::settings::SrtpPolicy;
use super::{Call, Gateway, Stage};

/// What is tried without SRTP when a telephone does not want it.
pub(super) struct Again {
    pub(super) sent: agent::Call,
    pub(super) codecs: Vec<sdp::Codec>,
}

/// How it is with one peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrecy {
    policy: SrtpPolicy,
    /// It is offered by ourselves.
    offers: bool,
}

impl Secrecy {
    /// With a telephone.
    pub(super) fn of_telephone(policy: SrtpPolicy, transport: Transport) -> Self {
        let offers = policy == SrtpPolicy::Require || (policy == SrtpPolicy::Offer && transport == Transport::Tls);
        Self { policy, offers }
    }

    /// With a trunk.
    pub(super) fn of_trunk(general: SrtpPolicy, own: Option<SrtpPolicy>, transport: Transport) -> Self {
        match own {
            None => Self::of_telephone(general, transport),
            Some(policy) => Self {
                policy,
                offers: matches!(policy, SrtpPolicy::Offer | SrtpPolicy::Require),
            },
        }
    }

    /// Without it the call is tried again.
    pub(super) fn may_do_without(self) -> bool {
        self.offers && self.policy != SrtpPolicy::Require
    }

    /// Keys for the answer to an offer that wants some, if the peer may have them. Who wants an offer of ours gets a plain one,
    /// unless there is none: it can refuse nothing but the call.
    pub(super) fn arm(self, session: &mut Session, offer: Option<&Description>) {
        let wants = self.policy != SrtpPolicy::Off && offer.is_some_and(is_secure);
        self.arm_if(wants, session);
    }

    /// Keys for who is called.
    pub(super) fn arm_called(self, session: &mut Session) {
        self.arm_if(self.offers, session);
    }

    /// They are random, of this leg alone, and stay: an offer that is made again has the same.
    fn arm_if(self, wants: bool, session: &mut Session) {
        let needs_keys = self.policy == SrtpPolicy::Require;
        if (wants || needs_keys) && !session.has_keys() {
            session.set_keys(fresh(), needs_keys);
        }
    }
}

impl Gateway {
    /// How it is with a trunk, or with a telephone that comes by this.
    pub(super) fn secrecy(&self, trunk: Option<TrunkId>, transport: Transport) -> Secrecy {
        match trunk.and_then(|trunk| self.trunks.secrecy(trunk)) {
            Some((own, transport)) => Secrecy::of_trunk(self.srtp, own, transport),
            None => Secrecy::of_telephone(self.srtp, transport),
        }
    }

    /// A telephone that was called refuses what it was offered: without SRTP it may take it. False: it is not tried.
    pub(super) fn call_again(&mut self, key: LegKey, status: u16) -> bool {
        let may_be_of_srtp = matches!(status, 415 | 488 | 606);
        let waits = self.calls.get(&key).filter(|call| matches!(call.stage, Stage::Called));
        if !may_be_of_srtp || waits.is_none_or(|call| call.again.is_none()) {
            return false;
        }
        let Some(mut call) = self.calls.remove(&key) else {
            return false;
        };
        let Some(Again { mut sent, codecs }) = call.again.take().map(|again| *again) else {
            return false;
        };
        let address = call.session_description.local().address;
        call.session_description = self.new_description(address);
        sent.offer = call.session_description.offer(&codecs, Direction::SendReceive);
        match self.agent.call(Instant::now(), sent) {
            Ok(next) => {
                tracing::info!("a telephone does not want SRTP, and is called without");
                self.move_call(key, next, call);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "a call to a telephone");
                self.insert(key, call);
                false
            }
        }
    }
}

impl Call {
    /// Before an offer of the peer is answered.
    pub(super) fn arm(&mut self, offer: Option<&Description>) {
        self.secrecy.arm(&mut self.session_description, offer);
    }
}

fn is_secure(offer: &Description) -> bool {
    let mut audios = offer.sections.iter().filter_map(|section| section.audio.as_ref());
    audios.any(|audio| audio.is_secure)
}

/// A key for each suite.
fn fresh() -> Vec<Crypto> {
    let random = SystemRandom::new();
    let line = |(suite, tag): (Suite, u32)| {
        let mut key = Zeroizing::new(vec![0; suite.bytes()]);
        // Where there is no randomness there are no keys, and no calls that need some.
        random.fill(&mut key).ok()?;
        Some(Crypto::new(tag, &Material::new(suite, key)?))
    };
    Suite::ALL.into_iter().zip(1..).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fresh_for_each_suite_and_leg() {
        let (one, other) = (fresh(), fresh());
        assert_eq!(one.len(), Suite::ALL.len());
        let all: Vec<Material> = one.iter().chain(&other).filter_map(Crypto::material).collect();
        assert_eq!(all.len(), 2 * Suite::ALL.len());
        for (at, key) in all.iter().enumerate() {
            let begin = &key.key_and_salt()[..16];
            assert!(all[..at].iter().all(|before| &before.key_and_salt()[..16] != begin));
        }
    }

    #[test]
    fn who_is_offered_srtp_is_as_was_set() {
        use SrtpPolicy::{Accept, Off, Offer, Require};
        for (policy, on_tls, on_udp) in [
            (Off, false, false),
            (Accept, false, false),
            (Offer, true, false),
            (Require, true, true),
        ] {
            assert_eq!(Secrecy::of_telephone(policy, Transport::Tls).offers, on_tls);
            assert_eq!(Secrecy::of_telephone(policy, Transport::Udp).offers, on_udp);
            assert_eq!(Secrecy::of_trunk(policy, None, Transport::Udp).offers, on_udp);
            // What a trunk has by itself counts, whatever it is reached over.
            assert_eq!(Secrecy::of_trunk(Off, Some(policy), Transport::Udp).offers, on_tls);
        }
        assert!(!Secrecy::of_telephone(Require, Transport::Tls).may_do_without());
        assert!(Secrecy::of_telephone(Offer, Transport::Tls).may_do_without());
    }
}
