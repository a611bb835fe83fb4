//! What somebody says of a session (RFC 8866): its media sections in order, and of audio over RTP what a call needs.

use super::audio::Audio;
use super::tolerance::repaired;
use crate::limits::{ATTRIBUTES_PER_SECTION_MAX, DESCRIPTION_BYTES_MAX, FORMATS_PER_SECTION_MAX, MEDIA_SECTIONS_MAX};

/// An offer, or an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// One for each line `m=`, in their order, which answers keep.
    pub sections: Vec<Section>,
}

/// A line `m=` and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video`, `image`, …
    pub kind: String,
    /// 0: it is not wanted, or refused.
    pub port: u16,
    /// `RTP/AVP`, `udptl`, …, as it is written.
    pub protocol: String,
    /// As they are written; at least one.
    pub formats: Vec<String>,
    /// For audio over RTP, plain or by SDES.
    pub audio: Option<Audio>,
}

/// Why a text is no description that is taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// More bytes than [`DESCRIPTION_BYTES_MAX`].
    #[error("it is longer than {DESCRIPTION_BYTES_MAX} bytes")]
    TooLong,
    /// More sections than [`MEDIA_SECTIONS_MAX`].
    #[error("it has more than {MEDIA_SECTIONS_MAX} media sections")]
    TooManySections,
    /// More formats than [`FORMATS_PER_SECTION_MAX`].
    #[error("a section has more than {FORMATS_PER_SECTION_MAX} formats")]
    TooManyFormats,
    /// More attributes than [`ATTRIBUTES_PER_SECTION_MAX`].
    #[error("a section has more than {ATTRIBUTES_PER_SECTION_MAX} attributes")]
    TooManyAttributes,
    /// It does not begin with `v=0`.
    #[error("it is of no known version")]
    Version,
    /// Which line, and what is wrong about it. Nothing of the text itself is in it.
    #[error("{0}")]
    Syntax(String),
}

impl Description {
    /// Reads a text: the body of a message of type `application/sdp`.
    pub fn parse(text: &[u8]) -> Result<Self, SdpError> {
        if text.len() > DESCRIPTION_BYTES_MAX {
            return Err(SdpError::TooLong);
        }
        let text = repaired(text);
        if text.trim_start().lines().next() != Some("v=0") {
            return Err(SdpError::Version);
        }
        let session =
            sdp_types::Session::parse(text.as_bytes()).map_err(|error| SdpError::Syntax(error.to_string()))?;
        if session.medias.len() > MEDIA_SECTIONS_MAX {
            return Err(SdpError::TooManySections);
        }
        let attributes = session.medias.iter().map(|media| media.attributes.len());
        if attributes
            .chain([session.attributes.len()])
            .any(|count| count > ATTRIBUTES_PER_SECTION_MAX)
        {
            return Err(SdpError::TooManyAttributes);
        }
        let sections = session.medias.iter().map(|media| Section::of(media, &session));
        Ok(Self {
            sections: sections.collect::<Result<_, _>>()?,
        })
    }

    /// The sections of audio over RTP, and where they stand.
    pub(super) fn audios(&self) -> impl Iterator<Item = (usize, &Audio)> {
        let sections = self.sections.iter().enumerate();
        sections.filter_map(|(at, section)| Some((at, section.audio.as_ref()?)))
    }
}

impl Section {
    fn of(media: &sdp_types::Media, session: &sdp_types::Session) -> Result<Self, SdpError> {
        let formats: Vec<String> = media.fmt.split_whitespace().map(str::to_owned).collect();
        if formats.len() > FORMATS_PER_SECTION_MAX {
            return Err(SdpError::TooManyFormats);
        }
        Ok(Self {
            kind: media.media.clone(),
            port: media.port,
            protocol: media.proto.clone(),
            audio: Audio::of(media, session, &formats),
            formats,
        })
    }
}
