//! The way to what carries messages between machines, and its other end: bounded both ways, and never waited for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::limits::{
    NODE_BEAT_INTERVAL, NODE_MESSAGES_IN_MAX, NODE_MESSAGES_OUT_MAX, NODE_NAME_BYTES_MAX, NODE_REQUEST_WAIT_MAX,
    NODE_SILENCE_MAX,
};

/// What a machine is called among the others: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct NodeName(Arc<str>);

/// One machine of several.
#[derive(Debug)]
pub struct NodeSettings {
    /// What it is called. No two may be called the same.
    pub name: NodeName,
    /// The way to the others.
    pub link: NodeLink,
    /// Times that tests shorten.
    pub times: NodeTimes,
}

/// How long machines are waited for.
#[derive(Clone, Copy, Debug)]
pub struct NodeTimes {
    /// From one sign of life to the next.
    pub beat: Duration,
    /// Who gives none for so long is gone, with its devices and its calls.
    pub silence: Duration,
    /// For the answer to a request.
    pub request: Duration,
}

/// The way to the others, as the calls thread has it.
#[derive(Debug)]
pub struct NodeLink {
    pub(crate) heard: mpsc::Receiver<FromEngine>,
    pub(crate) said: mpsc::Sender<ToEngine>,
}

/// Its other end, for what carries messages.
#[derive(Debug)]
pub struct NodeEngine {
    /// What was heard. Without room a message is lost: who listens finds out by its number.
    pub heard: mpsc::Sender<FromEngine>,
    /// What is to be said.
    pub said: mpsc::Receiver<ToEngine>,
}

/// What is heard.
#[derive(Clone, Debug)]
pub enum FromEngine {
    /// Messages are carried from here on.
    Up,
    /// None is carried any more.
    Down,
    /// A message of another machine.
    Message(Vec<u8>),
}

/// What is said.
#[derive(Clone, Debug)]
pub struct ToEngine {
    /// To whom. None: to all, but for who says it.
    pub to: Option<NodeName>,
    /// What.
    pub message: Vec<u8>,
}

/// A way, and its other end.
pub fn node_link() -> (NodeLink, NodeEngine) {
    let (heard, hears) = mpsc::channel(NODE_MESSAGES_IN_MAX);
    let (says, said) = mpsc::channel(NODE_MESSAGES_OUT_MAX);
    let link = NodeLink {
        heard: hears,
        said: says,
    };
    (link, NodeEngine { heard, said })
}

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if text.is_empty() || text.len() > NODE_NAME_BYTES_MAX || !text.bytes().all(is_fit) {
            return Err(format!(
                "a machine's name has letters, digits, - and _, at most {NODE_NAME_BYTES_MAX}"
            ));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Default for NodeTimes {
    fn default() -> Self {
        Self {
            beat: NODE_BEAT_INTERVAL,
            silence: NODE_SILENCE_MAX,
            request: NODE_REQUEST_WAIT_MAX,
        }
    }
}
