//! Whom a WebSocket of `chan_websocket` calls: what its URL says, which `uri` of websocket_client.conf and `v(…)` of the
//! dial string make.
//!
//! `/100?from=4711&name=Anna`, or `/?to=100&from=4711`. `channel` is the id of a call that was asked for.

/// A URL that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The number that is called.
    pub to: Option<String>,
    /// Who calls.
    pub from: Option<String>,
    /// The name of who calls, for people.
    pub name: Option<String>,
    /// A call that was asked for, and comes back by this.
    pub channel: Option<String>,
    /// The key, where it is not in the header `Authorization`.
    pub key: Option<String>,
}

/// The target of a request is longer than this, or is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a target of a request that is none")]
pub struct NoRequest;

/// Bytes of the target of a request.
pub const TARGET_BYTES_MAX: usize = 1024;

impl Request {
    /// Reads the target of a request: a path, and perhaps a query.
    ///
    /// # Errors
    /// It is none, or too long.
    pub fn read(target: &str) -> Result<Self, NoRequest> {
        if target.len() > TARGET_BYTES_MAX || !target.starts_with('/') {
            return Err(NoRequest);
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self::default();
        let last = path.rsplit('/').next().filter(|last| !last.is_empty());
        if let Some(last) = last {
            request.to = Some(decode(last, false)?);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match name {
                "to" => &mut request.to,
                "from" => &mut request.from,
                "name" => &mut request.name,
                "channel" => &mut request.channel,
                "key" => &mut request.key,
                _ => continue,
            };
            *field = Some(decode(value, true)?).filter(|value| !value.is_empty());
        }
        Ok(request)
    }
}

/// Takes `%..` for what they stand for; in a query `+` is a space.
fn decode(text: &str, is_query: bool) -> Result<String, NoRequest> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit().ok_or(NoRequest)?, digit().ok_or(NoRequest)?);
                u8::try_from(high << 4 | low).map_err(|_| NoRequest)?
            }
            b'+' if is_query => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| NoRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_in_the_path_or_in_the_query() {
        let read = |target| Request::read(target).unwrap();
        assert_eq!(read("/100").to.as_deref(), Some("100"));
        assert_eq!(read("/media/100").to.as_deref(), Some("100"));
        assert_eq!(read("/"), Request::default());
        let whole = read("/calls?to=%2B49100&from=4711&name=Anna+B%C3%A4r&v=1&&channel=x&key=5e");
        assert_eq!(whole.to.as_deref(), Some("+49100"));
        assert_eq!(whole.from.as_deref(), Some("4711"));
        assert_eq!(whole.name.as_deref(), Some("Anna Bär"));
        assert_eq!(
            (whole.channel.as_deref(), whole.key.as_deref()),
            (Some("x"), Some("5e"))
        );
        assert_eq!(read("/+49100?from=").to.as_deref(), Some("+49100"));
        assert_eq!(read("/100?from=").from, None);
    }

    #[test]
    fn what_is_no_request_is_told() {
        let long = format!("/{}", "1".repeat(TARGET_BYTES_MAX));
        for wrong in ["", "100", "*", "/%4", "/%zz", "/?to=%ff", &long] {
            assert_eq!(Request::read(wrong), Err(NoRequest), "{wrong}");
        }
    }
}
