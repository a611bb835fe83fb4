//! Gives each session its grant when it begins. The only place that does.

use std::borrow::Cow;
use std::sync::Arc;

use super::grant::Grant;
use super::identity::ClientIdentity;
use super::moment::Moment;
use super::token::{Claims, KeyPrint, Keys, Refusal, Verified};

/// What is public, and the keys of tokens that grant something else.
#[derive(Clone, Debug)]
pub struct Policy {
    public: Arc<Grant>,
    /// `None`: there are no tokens, and a query means nothing.
    keys: Option<Arc<Keys>>,
    /// What a verified certificate of a client grants. `None`: nothing by itself.
    certified: Option<Arc<Grant>>,
    /// An auth server decides on each session, and nothing is decided here.
    has_authority: bool,
    /// Keys of tokens that say which device a session is of, and by themselves grant nothing.
    devices: Option<Arc<Keys>>,
    /// Keys of tokens of processes that follow each other.
    kin: Option<Arc<Keys>>,
}

/// What a client shows beside the query of its path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// The token of its field `Authorization`.
    pub bearer: Option<&'a str>,
    /// Who its certificate says that it is.
    pub identity: Option<&'a ClientIdentity>,
}

/// What a session gets that is let in.
#[derive(Clone, Debug)]
pub struct Admission<'a> {
    /// Path without query: where the session's broadcasts are rooted.
    pub root: &'a str,
    /// What it may do.
    pub grant: Arc<Grant>,
    /// The key of the token that grants it. When the grant lapses, or the key is removed, the session has no more reason
    /// to be. `None`: it came without a token.
    pub key: Option<KeyPrint>,
    /// A certificate grants it. When that expires, so does the session.
    pub is_certified: bool,
    /// The device that the session is of. What it may do is for an embedder to say, by
    /// [`ShardCommand::SetGrant`](crate::shard::ShardCommand::SetGrant).
    pub device: Option<Arc<str>>,
    /// The session is of a process that follows this one, or that this one follows.
    pub is_kin: bool,
}

impl Policy {
    /// Every session gets the same.
    pub fn uniform(grant: Grant) -> Self {
        Self {
            public: Arc::new(grant),
            keys: None,
            certified: None,
            has_authority: false,
            devices: None,
            kin: None,
        }
    }

    /// The same with tokens by which processes that follow each other know each other: they grant what they say, and nobody
    /// else is asked.
    #[must_use]
    pub fn with_kin(self, kin: Option<Arc<Keys>>) -> Self {
        Self { kin, ..self }
    }

    /// The same with tokens for devices: whoever has one that these keys have signed is let in with no grant at all, and
    /// the [feed](crate::shard::FeedEvent::SessionOpened) names the subject of its token. Such a token names its key.
    #[must_use]
    pub fn with_devices(self, devices: Option<Arc<Keys>>) -> Self {
        Self { devices, ..self }.settled()
    }

    /// The same with something else for those without a token.
    pub fn with_public(self, public: Arc<Grant>) -> Self {
        Self { public, ..self }.settled()
    }

    /// The same with tokens that these keys have signed. Who has one gets what it grants instead of what is public.
    pub fn with_keys(self, keys: Option<Arc<Keys>>) -> Self {
        Self { keys, ..self }
    }

    /// The same with what a verified certificate of a client grants, in place of what is public.
    pub fn with_certified(self, grant: Option<Grant>) -> Self {
        let certified = grant.map(Arc::new);
        Self { certified, ..self }.settled()
    }

    /// Where there are devices, calls are for those who are in them: nothing that is granted without a token covers them.
    fn settled(mut self) -> Self {
        if self.devices.is_some() {
            for grant in [Some(&mut self.public), self.certified.as_mut()].into_iter().flatten() {
                Arc::make_mut(grant).without_calls = true;
            }
        }
        self
    }

    /// An auth server decides. It gets tokens as they are.
    pub fn with_authority(self, has_authority: bool) -> Self {
        Self { has_authority, ..self }
    }

    /// Whether an auth server decides.
    pub fn has_authority(&self) -> bool {
        self.has_authority
    }

    /// Whether there are devices, and with them calls.
    pub(crate) fn has_devices(&self) -> bool {
        self.devices.is_some()
    }

    /// Whether an auth server decides on a session of this path and query: on all but those of devices.
    pub fn asks_authority(&self, target: &str) -> bool {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let is_known_here = |keys| !matches!(named(keys, query), Ok(None));
        self.has_authority && !is_known_here(&self.devices) && !is_known_here(&self.kin)
    }

    /// What a session has that names no path.
    pub fn default_grant(&self) -> Arc<Grant> {
        match self.has_authority {
            true => Arc::default(),
            false => self.public.clone(),
        }
    }

    /// Decides on a session by the path and query of its SETUP or of its URL, and the token beside it if there is one. Who
    /// may do nothing there is refused. `may_compute`: see [`Keys::check`].
    pub fn admit<'a>(
        &self,
        target: &'a str,
        credentials: Credentials<'_>,
        moment: Moment,
        may_compute: impl FnOnce() -> bool,
    ) -> Result<Admission<'a>, Refusal> {
        let (root, query) = target.split_once('?').unwrap_or((target, ""));
        if let Some(claims) = named(&self.kin, query)? {
            return Ok(Admission {
                root,
                grant: Arc::new(claims.grant(moment)?),
                key: None,
                is_certified: false,
                device: None,
                is_kin: true,
            });
        }
        if let Some(claims) = named(&self.devices, query)? {
            // Past its time it is refused like any token.
            claims.grant(moment)?;
            let device = claims.subject.unwrap_or_default().into();
            let grant = Arc::default();
            return Ok(Admission {
                root,
                grant,
                key: None,
                is_certified: false,
                device: Some(device),
                is_kin: false,
            });
        }
        let token = self.choose_token(credentials.bearer, query)?;
        let identity = credentials.identity;
        let (grant, key) = self.decide(token.as_deref(), identity, moment, may_compute)?;
        let is_certified = self.certified.is_some() && identity.is_some();
        match (grant.may_use_below(root), key.is_some() || is_certified) {
            (true, _) => Ok(Admission {
                root,
                grant,
                key,
                is_certified,
                device: None,
                is_kin: false,
            }),
            (false, true) => Err(Refusal::Elsewhere),
            (false, false) => Err(Refusal::NotPublic),
        }
    }

    /// What a token grants, or what is granted without one. Without keys nobody looks at tokens.
    pub fn grant(
        &self,
        token: Option<&str>,
        identity: Option<&ClientIdentity>,
        moment: Moment,
        may_compute: impl FnOnce() -> bool,
    ) -> Result<Arc<Grant>, Refusal> {
        self.decide(token, identity, moment, may_compute)
            .map(|(grant, _)| grant)
    }

    fn decide(
        &self,
        token: Option<&str>,
        identity: Option<&ClientIdentity>,
        moment: Moment,
        may_compute: impl FnOnce() -> bool,
    ) -> Result<(Arc<Grant>, Option<KeyPrint>), Refusal> {
        if let (Some(certified), Some(identity)) = (&self.certified, identity) {
            // Neither could win: the token may be there to narrow, the certificate to widen.
            if token.is_some() && self.keys.is_some() {
                return Err(Refusal::TokenAndCertificate);
            }
            if identity.expires <= moment.0 {
                return Err(Refusal::CertificateExpired);
            }
            let grant = Grant {
                expires: Some(identity.expires),
                ..(**certified).clone()
            };
            return Ok((Arc::new(grant), None));
        }
        let (Some(keys), Some(token)) = (&self.keys, token) else {
            return Ok((self.default_grant(), None));
        };
        let Verified { claims, key } = keys.check(token, may_compute)?;
        Ok((Arc::new(claims.grant(moment)?), Some(key)))
    }

    /// Whether tokens of this key are taken.
    pub fn has_key(&self, key: KeyPrint) -> bool {
        self.keys.as_ref().is_some_and(|keys| keys.has(key))
    }

    /// The one token of a request: that of its field Authorization, or that of its query. Two must be the same.
    pub fn choose_token<'a>(&self, bearer: Option<&'a str>, query: &'a str) -> Result<Option<Cow<'a, str>>, Refusal> {
        match (bearer, self.token_in(query)?) {
            (Some(bearer), Some(in_query)) if bearer != in_query => Err(Refusal::TwoTokens),
            (Some(bearer), _) => Ok(Some(Cow::Borrowed(bearer))),
            (None, in_query) => Ok(in_query),
        }
    }

    /// The token in a field Authorization. If tokens are looked at, whatever is not `Bearer` and one token is refused: it
    /// is not as good as none.
    pub fn bearer<'a>(&self, authorization: Option<&'a [u8]>) -> Result<Option<&'a str>, Refusal> {
        let Some(authorization) = authorization.filter(|_| self.keys.is_some() || self.has_authority) else {
            return Ok(None);
        };
        let text = str::from_utf8(authorization).map_err(|_| Refusal::Authorization)?;
        let (scheme, token) = text.trim().split_once(' ').ok_or(Refusal::Authorization)?;
        let token = token.trim_start_matches(' ');
        // RFC 6750, section 2.1, has one token there, which has no spaces in it.
        let is_one = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        match scheme.eq_ignore_ascii_case("Bearer") && is_one {
            true => Ok(Some(token)),
            false => Err(Refusal::Authorization),
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

/// The claims of a token that names one of the keys. Any other token is for others to judge; one that only says that it is
/// of these is as good as none of theirs.
fn named(keys: &Option<Arc<Keys>>, query: &str) -> Result<Option<Claims>, Refusal> {
    let token = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("jwt="))
        .next_back();
    match (keys, token) {
        (Some(keys), Some(token)) if keys.is_named_by(token) => keys.verify(token).map(Some),
        _ => Ok(None),
    }
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
        assert_eq!(admit(&policy, "/anon/room?jwt=x", at(0)).unwrap().root, "/anon/room");
        assert!(admit(&policy, "", at(0)).is_ok());
        assert_eq!(admit(&policy, "/anonymous", at(0)).unwrap_err(), Refusal::NotPublic);
    }

    #[test]
    fn a_token_takes_the_place_of_what_is_public() {
        let (key, policy) = with_key();
        let token = sign(
            &key,
            r#"{"root":"call","publish":["7/a/**"],"subscribe":["7/**"],"exp":100}"#,
        );
        let target = format!("/call/7?jwt={token}");
        let admission = admit(&policy, &target, at(40)).unwrap();
        assert_eq!((admission.root, admission.key), ("/call/7", Some(key.print())));
        assert!(policy.has_key(key.print()) && !public().has_key(key.print()));
        let grant = admission.grant;
        assert!(grant.may_publish("call/7/a/x") && !grant.may_publish("call/7/b"));
        assert!(grant.may_subscribe("call/7/b") && !grant.may_subscribe("anon/x"));
        assert!(admit(&policy, "/anon", at(40)).is_ok());
        let elsewhere = |path: &str| admit(&policy, &format!("{path}?jwt={token}"), at(40)).err();
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
            assert_eq!(admit(&policy, &format!("/anon?{query}"), at(40)).unwrap_err(), refusal);
        }
        let late = admit(&policy, &format!("/anon?jwt={token}"), at(100)).unwrap_err();
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
        let grant = policy.grant(Some(&token), None, at(40), || true).unwrap();
        assert_eq!((grant.until, grant.expires), (None, Some(at(100).0)));
        let endless = sign(&key, r#"{"publish":["**"]}"#);
        assert_eq!(
            policy.grant(Some(&endless), None, at(40), || true).unwrap().expires,
            None
        );
    }

    #[test]
    fn only_a_bearer_and_its_token_are_an_authorization() {
        let (_, policy) = with_key();
        let bearer = |text: &'static str| policy.bearer(Some(text.as_bytes()));
        assert_eq!(bearer("Bearer a.b.c"), Ok(Some("a.b.c")));
        assert_eq!(bearer(" bEARER   x "), Ok(Some("x")));
        for text in [
            "",
            " ",
            "Bearer",
            "Bearer ",
            "Bearer a b",
            "Bearer a\tb",
            "Basic YTpi",
            "a.b.c",
            "Bearer: x",
        ] {
            assert_eq!(bearer(text), Err(Refusal::Authorization), "{text:?}");
        }
        assert_eq!(policy.bearer(Some(b"Bearer \xff")), Err(Refusal::Authorization));
        assert_eq!(policy.bearer(None), Ok(None));
        // Who has no keys is not asked to read tokens.
        assert_eq!(public().bearer(Some(b"Basic YTpi")), Ok(None));
        let both = |bearer, query| {
            policy
                .choose_token(bearer, query)
                .map(|token| token.map(Cow::into_owned))
        };
        assert_eq!(both(Some("a"), "jwt=a"), Ok(Some("a".to_owned())));
        assert_eq!(both(Some("a"), "jwt=b"), Err(Refusal::TwoTokens));
    }

    #[test]
    fn a_signature_is_checked_only_when_it_may_be() {
        let (key, policy) = with_key();
        let token = sign(&key, r#"{"publish":["**"]}"#);
        let ask = |token: &str, answer| {
            let mut asked = 0;
            let may_compute = || {
                asked += 1;
                answer
            };
            let refusal = policy.grant(Some(token), None, at(40), may_compute).err();
            (refusal, asked)
        };
        assert_eq!(ask(&token, true), (None, 1));
        assert_eq!(ask(&token, false), (Some(Refusal::TooManyChecks), 1));
        // What is wrong at first sight costs no computation.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for short in [&signature[..4], &format!("{signature}AAAA"), ""] {
            assert_eq!(ask(&format!("{signed}.{short}"), true), (Some(Refusal::Signature), 0));
        }
    }

    #[test]
    fn a_certificate_grants_what_is_configured_for_all_of_them() {
        let (key, policy) = with_key();
        let identity = ClientIdentity {
            name: "edge".to_owned(),
            fingerprint: String::new(),
            expires: at(100).0,
            issuer: String::new(),
        };
        let credentials = Credentials {
            identity: Some(&identity),
            ..Credentials::default()
        };
        let admit = |policy: &Policy, target: &str, now| {
            let admission = policy.admit(target, credentials, now, || true)?;
            Ok((admission.grant.expires, admission.is_certified))
        };
        // By itself it grants nothing.
        assert_eq!(admit(&policy, "/anon", at(40)), Ok((None, false)));
        let cluster = Grant::of(Patterns::new(vec!["call/**".parse().unwrap()]));
        let policy = policy.with_certified(Some(cluster));
        assert_eq!(admit(&policy, "/call/7", at(40)), Ok((Some(at(100).0), true)));
        assert_eq!(admit(&policy, "/anon", at(40)), Err(Refusal::Elsewhere));
        assert_eq!(admit(&policy, "/call", at(100)), Err(Refusal::CertificateExpired));
        let token = sign(&key, r#"{"publish":["call/**"]}"#);
        let both = admit(&policy, &format!("/call?jwt={token}"), at(40));
        assert_eq!(both, Err(Refusal::TokenAndCertificate));
        // Who shows none is as before.
        assert!(policy.admit("/anon", Credentials::default(), at(40), || true).is_ok());
    }

    fn admit<'a>(policy: &Policy, target: &'a str, moment: Moment) -> Result<Admission<'a>, Refusal> {
        policy.admit(target, Credentials::default(), moment, || true)
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

    #[test]
    fn a_device_is_let_in_with_nothing_and_who_only_says_so_is_not() {
        let named = |id: &str| Key::generate(Algorithm::HS256, id, &SystemRandom::new()).unwrap();
        let key = named("calls");
        let keys = Keys::parse(&format!(r#"{{"keys":[{}]}}"#, key.to_json())).unwrap();
        let policy = Policy::uniform(Grant::everything()).with_devices(Some(Arc::new(keys)));
        let sign = |key: &Key| {
            let claims = r#"{"sub":"7","publish":["device/7"],"exp":2000}"#;
            key.sign(claims, &SystemRandom::new()).unwrap()
        };
        let admit = |token: &str, seconds| {
            let at = Moment(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            let target = format!("/?jwt={token}");
            let admission = policy.admit(&target, Credentials::default(), at, || true);
            admission.map(|admission| (admission.grant, admission.device))
        };
        let token = sign(&key);
        let (grant, device) = admit(&token, 1_000).unwrap();
        assert_eq!((&*grant, device.as_deref()), (&Grant::nothing(), Some("7")));
        assert_eq!(admit(&token, 2_000), Err(Refusal::Expired));
        // Of another switch, or of this one before it was started again.
        assert_eq!(admit(&sign(&named("calls")), 1_000), Err(Refusal::Signature));
        // Tokens for others mean nothing here, as without devices. And of calls nobody hears without one.
        let (grant, device) = admit(&sign(&named("else")), 1_000).unwrap();
        assert!(device.is_none() && grant.may_publish("anon/x") && grant.may_subscribe("caller/x"));
        let call = format!("call/{}", "0af".repeat(11).split_at(32).0);
        for (path, is_covered) in [
            (&*call, false),
            (&format!("{call}/2"), false),
            ("call/1/2", true),
            ("call", true),
        ] {
            assert_eq!(grant.may_publish(path), is_covered, "{path}");
            assert_eq!(grant.may_subscribe(path), is_covered, "{path}");
        }
    }
}
