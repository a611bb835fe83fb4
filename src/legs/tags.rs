//! What a tag of the host says: which leg, what of it, and which time it was asked for.

/// What a tag of the host says beside the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Audio,
    Dtmf,
    Catalog,
    HeardAudio,
    HeardDtmf,
    Watch,
}

/// Given to the host, and back by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) leg: u64,
    pub(crate) role: Role,
    /// What is told of a subscription that is over is not of the next one, which has another turn. Of 32 in a row no two
    /// have the same.
    pub(crate) turn: u8,
}

impl Tag {
    pub(crate) fn encode(self) -> u64 {
        self.leg << 8 | u64::from(self.turn % TURNS) << 3 | self.role as u64
    }

    pub(crate) fn of(tag: u64) -> Option<Self> {
        const ROLES: [Role; 6] = [
            Role::Audio,
            Role::Dtmf,
            Role::Catalog,
            Role::HeardAudio,
            Role::HeardDtmf,
            Role::Watch,
        ];
        Some(Self {
            leg: tag >> 8,
            role: *ROLES.get(usize::try_from(tag & 7).ok()?)?,
            turn: u8::try_from(tag >> 3 & u64::from(TURNS - 1)).ok()?,
        })
    }
}

pub(crate) const TURNS: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_what_they_were() {
        for leg in [0, 7, 1 << 40] {
            for role in [Role::Audio, Role::HeardDtmf, Role::Watch] {
                for turn in [0, 1, 31] {
                    let tag = Tag { leg, role, turn };
                    assert_eq!(Tag::of(tag.encode()), Some(tag));
                }
            }
        }
        assert_eq!(Tag::of(6), None);
    }
}
