//! `POST /` and `/channel`: channels of RTP, with how busy their server is.

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::Answer;
use super::body::Fields;
use crate::control::{ChannelCommand, ChannelError, ChannelLoad, ChannelPool};

/// In the order of the contract. Some programs look for the one name, some for the other.
#[derive(Serialize)]
struct Opened<'a> {
    uuid: &'a str,
    channel: &'a str,
    port: u16,
    ip: &'a str,
    channels: Value,
}

pub(super) fn open(pool: &mut dyn ChannelPool, fields: &Fields) -> Answer {
    let control = match fields.control().transpose() {
        Ok(control) => control,
        Err(_) => return Answer::new(400, "Bad control"),
    };
    match pool.open(control.as_deref()) {
        Ok(channel) => {
            let opened = Opened {
                uuid: &channel.uuid,
                channel: &channel.uuid,
                port: channel.port,
                ip: &channel.ip,
                channels: load(pool),
            };
            Answer::text(serde_json::to_string(&opened).unwrap_or_default())
        }
        Err(error) => refused(error),
    }
}

pub(super) fn close(pool: &mut dyn ChannelPool, channel: &str) -> Answer {
    match pool.close(channel) {
        Ok(()) => Answer::json(&json!({ "channels": load(pool) })),
        Err(error) => refused(error),
    }
}

/// `rest` is what stands behind the channel in the path.
pub(super) fn command(pool: &mut dyn ChannelPool, channel: &str, rest: &[String], body: Value) -> Answer {
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let command = match rest.as_slice() {
        [] => ChannelCommand::Target(body),
        ["mix", other] => ChannelCommand::Mix((*other).to_owned()),
        ["unmix"] => ChannelCommand::Unmix,
        ["play"] => ChannelCommand::Play(body),
        _ => return Answer::NOT_FOUND,
    };
    match pool.command(channel, command) {
        Ok(()) => Answer::new(200, "Ok"),
        Err(error) => refused(error),
    }
}

fn load(pool: &dyn ChannelPool) -> Value {
    let ChannelLoad { active, available } = pool.load();
    json!({ "active": active, "available": available })
}

fn refused(error: ChannelError) -> Answer {
    match error {
        ChannelError::Unknown => Answer::NOT_FOUND,
        ChannelError::Exhausted => Answer::new(503, "Currently out of channels"),
        ChannelError::Unsupported => Answer::new(501, "Not supported"),
    }
}
