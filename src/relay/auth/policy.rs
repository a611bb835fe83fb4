//! Gives each session its grant when it begins. The only place that does.

use std::borrow::Cow;
use std::sync::Arc;

use super::grant::Grant;
use super::moment::Moment;
use super::token::{Keys, Refusal};

/// What is public, and the keys of tokens that grant something else.
#[derive(Clone, Debug)]
pub struct Policy {
    public: Arc<Grant>,
    /// `None`: there are no tokens, and a query means nothing.
    keys: Option<Arc<Keys>>,
}

/// What a session gets that is let in.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// Path without query: where the session's broadcasts are rooted.
    pub root: &'a str,
    /// What it may do.
    pub grant: Arc<Grant>,
    /// The grant is that of a token. When it lapses the session has no more reason to be.
    pub has_token: bool,
}

impl Policy {
    /// Every session gets the same.
    pub fn uniform(grant: Grant) -> Self {
        Self {
            public: Arc::new(grant),
            keys: None,
        }
    }

    /// The same with tokens that these keys have signed. Who has one gets what it grants instead of what is public.
    pub fn with_keys(self, keys: Option<Arc<Keys>>) -> Self {
        Self { keys, ..self }
    }

    /// What a session has that names no path.
    pub fn default_grant(&self) -> Arc<Grant> {
        self.public.clone()
    }

    /// Decides on a session by the path and query of its SETUP or of its URL. Who may do nothing there is refused.
    pub fn admit<'a>(&self, target: &'a str, moment: Moment) -> Result<Admission<'a>, Refusal> {
        let (root, query) = target.split_once('?').unwrap_or((target, ""));
        let token = self.token_in(query)?;
        let grant = self.grant(token.as_deref(), moment)?;
        let has_token = token.is_some();
        match (grant.may_use_below(root), has_token) {
            (true, _) => Ok(Admission { root, grant, has_token }),
            (false, true) => Err(Refusal::Elsewhere),
            (false, false) => Err(Refusal::NotPublic),
        }
    }

    /// What a token grants, or what is granted without one. Without keys nobody looks at tokens.
    pub fn grant(&self, token: Option<&str>, moment: Moment) -> Result<Arc<Grant>, Refusal> {
        match (&self.keys, token) {
            (Some(keys), Some(token)) => keys.verify(token)?.grant(moment).map(Arc::new),
            _ => Ok(self.default_grant()),
        }
    }

    /// The token in a query: the value of its last `jwt` that has one.
    pub fn token_in<'a>(&self, query: &'a str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let token = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("jwt="))
            .rfind(|token| !token.is_empty());
        match token.filter(|_| self.keys.is_some()) {
            None => Ok(None),
            Some(token) => decode_percent(token).ok_or(Refusal::Query).map(Some),
        }
    }
}

/// `None`: a `%` without two hexadecimal digits, or bytes that are no UTF-8.
fn decode_percent(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use ring::rand::SystemRandom;

    use crate::auth::pattern::Patterns;
    use crate::auth::token::{Algorithm, Key};

    use super::*;

    #[test]
    fn who_could_do_nothing_below_a_path_is_not_let_in() {
        let policy = public();
        assert_eq!(policy.admit("/anon/room?jwt=x", at(0)).unwrap().root, "/anon/room");
        assert!(policy.admit("", at(0)).is_ok());
        assert_eq!(policy.admit("/anonymous", at(0)).unwrap_err(), Refusal::NotPublic);
    }

    #[test]
    fn a_token_takes_the_place_of_what_is_public() {
        let (key, policy) = with_key();
        let token = sign(
            &key,
            r#"{"root":"call","publish":["7/a/**"],"subscribe":["7/**"],"exp":100}"#,
        );
        let target = format!("/call/7?jwt={token}");
        let admission = policy.admit(&target, at(40)).unwrap();
        assert_eq!((admission.root, admission.has_token), ("/call/7", true));
        let grant = admission.grant;
        assert!(grant.may_publish("call/7/a/x") && !grant.may_publish("call/7/b"));
        assert!(grant.may_subscribe("call/7/b") && !grant.may_subscribe("anon/x"));
        assert!(policy.admit("/anon", at(40)).is_ok());
        let elsewhere = |path: &str| policy.admit(&format!("{path}?jwt={token}"), at(40)).err();
        assert_eq!(elsewhere("/anon"), Some(Refusal::Elsewhere));
        assert_eq!(elsewhere("/call/77"), Some(Refusal::Elsewhere));
        assert_eq!(elsewhere("/"), None);
    }

    #[test]
    fn a_bad_token_is_not_as_good_as_none() {
        let (key, policy) = with_key();
        let token = sign(&key, r#"{"publish":["anon/**"],"exp":100}"#);
        for (query, refusal) in [
            ("jwt=x".to_owned(), Refusal::Parts),
            (format!("jwt={token}="), Refusal::Encoding),
            (format!("jwt={token}%"), Refusal::Query),
            (format!("jwt={token}%4"), Refusal::Query),
            (format!("jwt={token}%FF"), Refusal::Query),
            (format!("jwt={token}&jwt=.."), Refusal::Header),
        ] {
            assert_eq!(policy.admit(&format!("/anon?{query}"), at(40)).unwrap_err(), refusal);
        }
        let late = policy.admit(&format!("/anon?jwt={token}"), at(100)).unwrap_err();
        assert_eq!(late, Refusal::Expired);
    }

    #[test]
    fn the_last_token_that_is_not_empty_counts() {
        let (_, policy) = with_key();
        let token = |query| policy.token_in(query).unwrap().map(Cow::into_owned);
        assert_eq!(token("jwt=a&jwt=b&jwt=").as_deref(), Some("b"));
        assert_eq!(token("x=1&jwt=%61%2eb").as_deref(), Some("a.b"));
        for query in ["", "jwt=", "jwt", "xjwt=a", "JWT=a", "x=jwt=a"] {
            assert_eq!(token(query), None, "{query}");
        }
        assert_eq!(public().token_in("jwt=a"), Ok(None));
    }

    #[test]
    fn a_grant_lasts_until_its_token_expires() {
        let (key, policy) = with_key();
        let token = sign(&key, r#"{"publish":["**"],"exp":100}"#);
        let grant = policy.grant(Some(&token), at(40)).unwrap();
        assert_eq!((grant.until, grant.expires), (None, Some(at(100).0)));
        let endless = sign(&key, r#"{"publish":["**"]}"#);
        assert_eq!(policy.grant(Some(&endless), at(40)).unwrap().expires, None);
    }

    fn public() -> Policy {
        Policy::uniform(Grant::of(Patterns::new(vec!["anon/**".parse().unwrap()])))
    }

    fn with_key() -> (Key, Policy) {
        let key = Key::generate(Algorithm::EdDSA, "k", &SystemRandom::new()).unwrap();
        let keys = Keys::parse(&key.to_public().unwrap().to_json()).unwrap();
        (key, public().with_keys(Some(Arc::new(keys))))
    }

    fn sign(key: &Key, claims: &str) -> String {
        key.sign(claims, &SystemRandom::new()).unwrap()
    }

    fn at(seconds: u64) -> Moment {
        Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}
