//! What a request wants.

use std::fmt;

/// A method. Its name is compared with case (RFC 3261, section 7.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Info,
    Refer,
    Notify,
    Subscribe,
    Message,
    Publish,
    /// One that is not known: answered, not understood.
    Other(Box<str>),
}

impl Method {
    const ALL: [Self; 14] = [
        Self::Invite,
        Self::Ack,
        Self::Bye,
        Self::Cancel,
        Self::Options,
        Self::Register,
        Self::Prack,
        Self::Update,
        Self::Info,
        Self::Refer,
        Self::Notify,
        Self::Subscribe,
        Self::Message,
        Self::Publish,
    ];

    /// None: it is no token.
    pub fn parse(name: &str) -> Option<Self> {
        let known = Self::ALL.into_iter().find(|method| method.name() == name);
        let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte);
        let is_token = || !name.is_empty() && name.len() <= 64 && name.bytes().all(is_of_token);
        known.or_else(|| is_token().then(|| Self::Other(name.into())))
    }

    /// As it is written.
    pub fn name(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
            Self::Subscribe => "SUBSCRIBE",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
