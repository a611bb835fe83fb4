//! What legs hear of what gateways say they are to hear: one broadcast each, which may be a mix that is made for it.

use std::collections::HashMap;

use moqswitch_legs::{LegCodec, LegHears};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_services::Mix;
use moqswitch_signalling::calls::Codec;
use moqswitch_signalling::{RtpError, RtpHeard, RtpLeg};

use super::services::Mixers;

/// Of all legs of a gateway.
pub(super) struct Mixing {
    /// `None`: nothing is mixed, and the first of several is heard.
    mixers: Option<Mixers>,
    mixes: HashMap<RtpLeg, BroadcastPath>,
}

impl Mixing {
    pub(super) fn new(mixers: Option<Mixers>) -> Self {
        Self {
            mixers,
            mixes: HashMap::new(),
        }
    }

    /// Whether anything is mixed and transcoded.
    pub(super) fn is_on(&self) -> bool {
        self.mixers.is_some()
    }

    /// Says what is mixed for a leg, and what the leg hears then.
    pub(super) fn hear(&mut self, leg: RtpLeg, heard: &RtpHeard) -> Result<Option<LegHears>, RtpError> {
        let one = |path: &str, transcoded: Option<Codec>| LegHears {
            broadcast: BroadcastPath::new(path),
            transcoded: transcoded.map(of_legs),
        };
        let (hears, mix) = match (heard, &mut self.mixers) {
            (RtpHeard::Nothing, _) => (None, None),
            (RtpHeard::One { path, transcoded }, _) => (Some(one(path, *transcoded)), None),
            (RtpHeard::Several(mix), Some(mixers)) => {
                let path = BroadcastPath::new(&mix.path);
                let wanted = Mix {
                    codec: of_audio(mix.codec),
                    hears: mix.hears.iter().map(|path| BroadcastPath::new(path)).collect(),
                    own: Some(BroadcastPath::new(&mix.own)),
                };
                mixers.mix(&path, wanted).map_err(|_| RtpError::Busy)?;
                (Some(one(&mix.path, None)), Some(path))
            }
            (RtpHeard::Several(mix), None) => (mix.hears.first().map(|first| one(first, None)), None),
        };
        if self.mixes.get(&leg) != mix.as_ref() {
            self.end(leg);
            self.mixes.extend(mix.map(|mix| (leg, mix)));
        }
        Ok(hears)
    }

    /// The leg is over, or hears something else.
    pub(super) fn end(&mut self, leg: RtpLeg) {
        if let (Some(mix), Some(mixers)) = (self.mixes.remove(&leg), &mut self.mixers) {
            mixers.end(mix);
        }
    }
}

fn of_audio(codec: Codec) -> moqswitch_services::Codec {
    match codec {
        Codec::Opus => moqswitch_services::Codec::Opus,
        Codec::Pcmu => moqswitch_services::Codec::Pcmu,
        Codec::Pcma => moqswitch_services::Codec::Pcma,
        Codec::G722 => moqswitch_services::Codec::G722,
    }
}

pub(super) fn of_legs(codec: Codec) -> LegCodec {
    match codec {
        Codec::Opus => LegCodec::Opus,
        Codec::Pcmu => LegCodec::Pcmu,
        Codec::Pcma => LegCodec::Pcma,
        Codec::G722 => LegCodec::G722,
    }
}
