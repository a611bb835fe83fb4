//! What is bounded, by how much, and what happens then.

/// Bytes of a description of a session. A longer one is refused.
pub const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;

/// Media sections (lines `m=`) of a description. One with more is refused.
pub const MEDIA_SECTIONS_MAX: usize = 16;

/// Formats of a media section: payload types, where it is RTP. A description with more is refused.
pub const FORMATS_PER_SECTION_MAX: usize = 64;

/// Attributes (lines `a=`) of a media section, and of the session before them. A description with more is refused.
pub const ATTRIBUTES_PER_SECTION_MAX: usize = 256;
