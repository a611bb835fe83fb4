//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): browsers and encoders that speak WebRTC publish a broadcast, and hear
//! one. An offer is posted, and answered; the session has a URL of its own, by which it is ended.
#![expect(clippy::disallowed_types, reason = "only tasks of the control thread take it")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use moqswitch_legs::{LegCodec, LegEvent, LegHears};
use moqswitch_proto::wire::BroadcastPath;
use moqswitch_relay::auth::Grant;
use moqswitch_webrtc::limits::DESCRIPTION_BYTES_MAX;
use moqswitch_webrtc::{Codec, DescriptionError};
use serde_json::Value;
use tokio::time::{self, MissedTickBehavior};

use crate::browsers::{BrowserError, BrowserLeg, BrowserWanted, Browsers, IceServer, Opener};
use crate::limits::BROWSER_SESSIONS_MAX;

use super::permit::Permit;
use super::{ControlState, FetchGroup, routes};

/// The sessions of both. Clones share them.
#[derive(Clone)]
pub struct Endpoints {
    browsers: Browsers,
    /// Tracks of calls and of music can be had in any codec.
    transcodes: bool,
    /// By the last segment of their URLs, which nobody guesses.
    sessions: Arc<Mutex<HashMap<u128, Session>>>,
}

/// One of them.
struct Session {
    leg: BrowserLeg,
    /// By which it is there.
    grant: Arc<Grant>,
}

impl Endpoints {
    /// `transcodes`: calls are transcoded where somebody hears them in another codec.
    pub fn new(browsers: Browsers, transcodes: bool) -> Self {
        Self {
            browsers,
            transcodes,
            sessions: Arc::default(),
        }
    }

    /// Ends sessions whose grant has lapsed, and forgets those that end.
    pub async fn serve(self) {
        let news = self.browsers.news(Opener::Endpoints);
        let mut looks = time::interval(GRANTS_LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some((leg, event)) = self.browsers.poll(Opener::Endpoints) {
                match event {
                    LegEvent::Gone { .. } => self.browsers.close(leg),
                    LegEvent::Refused { .. } | LegEvent::Closed { .. } => {
                        self.lock().retain(|_, session| session.leg != leg);
                    }
                    _ => {}
                }
            }
            tokio::select! {
                () = news.notified() => {}
                _ = looks.tick() => self.end_lapsed(),
            }
        }
    }

    /// A session that is closed twice is closed once.
    fn end_lapsed(&self) {
        let (now, wall) = (Instant::now(), SystemTime::now());
        for session in self.lock().values() {
            if session.grant.has_lapsed(now, wall) {
                self.browsers.close(session.leg);
            }
        }
    }

    /// Legs of WebRTC, those of calls too, of each shard.
    pub fn legs(&self) -> Vec<usize> {
        self.browsers.legs()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn open(
        &self,
        wanted: &BrowserWanted,
        offer: &str,
        grant: Arc<Grant>,
    ) -> Result<(u128, BrowserLeg, String), StatusCode> {
        if self.len() >= BROWSER_SESSIONS_MAX {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let id = self.browsers.random().ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let (leg, answer) = self.browsers.answer(wanted, offer).map_err(|error| {
            tracing::debug!(%error, "an offer of WebRTC");
            match error {
                BrowserError::Busy | BrowserError::Full => StatusCode::SERVICE_UNAVAILABLE,
                // RFC 9725, section 4.2: who publishes says so in its offer.
                BrowserError::OtherWay => StatusCode::BAD_REQUEST,
                BrowserError::Description(DescriptionError::NoCodec) => StatusCode::NOT_ACCEPTABLE,
                BrowserError::Description(DescriptionError::TooLong) => StatusCode::PAYLOAD_TOO_LARGE,
                BrowserError::Description(DescriptionError::Unusable(_)) => StatusCode::BAD_REQUEST,
            }
        })?;
        self.lock().insert(id, Session { leg, grant });
        Ok((id, leg, answer))
    }

    /// Whether a broadcast is to be had in each: what it speaks may change then.
    fn has_all_codecs(&self, broadcast: &str) -> bool {
        match broadcast.split_once('/') {
            Some(("call", _)) => self.transcodes,
            Some(("moh" | "prompt", _)) => true,
            _ => false,
        }
    }

    fn session(&self, id: &str) -> Option<BrowserLeg> {
        let id = u128::from_str_radix(id, 16).ok()?;
        self.lock().get(&id).map(|session| session.leg)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pages of any origin may use them, as they may `/fetch`: what counts is the token.
pub(super) fn router(state: ControlState) -> Router {
    Router::new()
        .route("/whip/{*path}", post(publish).options(options).patch(nothing_to_change))
        .route("/whep/{*path}", post(hear).options(options).patch(nothing_to_change))
        .route("/webrtc/{session}", delete(end).patch(change).options(options))
        .layer(DefaultBodyLimit::max(DESCRIPTION_BYTES_MAX))
        .layer(middleware::from_fn(share))
        .layer(middleware::from_fn(routes::refuse_long_paths))
        .layer(middleware::map_response(routes::close_after))
        .with_state(state)
}

async fn share(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Location, Link, Accept-Post"),
    );
    response
}

/// For preflights, and for who asks what may be posted, and by which servers it is reached.
async fn options(State(state): State<ControlState>, method: Method) -> Response {
    debug_assert_eq!(method, Method::OPTIONS);
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("POST, DELETE, PATCH"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization, Content-Type, If-Match"),
    );
    headers.insert(
        HeaderName::from_static("accept-post"),
        HeaderValue::from_static("application/sdp"),
    );
    if state.endpoints.is_none() {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// Trickled candidates are of no use to who only answers checks.
async fn nothing_to_change() -> StatusCode {
    StatusCode::METHOD_NOT_ALLOWED
}

/// WHIP: what the peer says is the broadcast.
async fn publish(
    State(state): State<ControlState>,
    Permit(grant): Permit,
    Path(path): Path<String>,
    headers: HeaderMap,
    offer: String,
) -> Result<Response, StatusCode> {
    let (endpoints, broadcast) = asked(&state, &path, &headers)?;
    if !grant.may_publish(&broadcast) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let wanted = BrowserWanted {
        opener: Opener::Endpoints,
        broadcast,
        codecs: CODECS.to_vec(),
        receives: true,
        sends: false,
    };
    let (id, _, answer) = endpoints.open(&wanted, &offer, grant)?;
    Ok(created(endpoints, id, answer))
}

/// WHEP: the peer hears the broadcast, by the codec that it has.
async fn hear(
    State(state): State<ControlState>,
    Permit(grant): Permit,
    Path(path): Path<String>,
    headers: HeaderMap,
    offer: String,
) -> Result<Response, StatusCode> {
    let (endpoints, broadcast) = asked(&state, &path, &headers)?;
    if !grant.may_subscribe(&broadcast) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let codec = spoken(&state, &broadcast).await?;
    let mut wanted = BrowserWanted {
        opener: Opener::Endpoints,
        broadcast: broadcast.clone(),
        codecs: vec![codec],
        receives: false,
        sends: true,
    };
    let mut opened = endpoints.open(&wanted, &offer, Arc::clone(&grant));
    let mut heard_as = codec;
    // Of what is to be had in any codec, one that it has.
    let is_any = endpoints.has_all_codecs(&broadcast);
    for other in CODECS.iter().filter(|other| is_any && **other != codec) {
        if !matches!(opened, Err(StatusCode::NOT_ACCEPTABLE)) {
            break;
        }
        heard_as = *other;
        wanted.codecs = vec![heard_as];
        opened = endpoints.open(&wanted, &offer, Arc::clone(&grant));
    }
    let (id, leg, answer) = opened?;
    let hears = LegHears {
        broadcast: BroadcastPath::new(&broadcast),
        // Whatever is spoken there later.
        transcoded: is_any.then(|| of_legs(heard_as)),
    };
    if !endpoints.browsers.hear(leg, Some(hears)) {
        endpoints.browsers.close(leg);
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    Ok(created(endpoints, id, answer))
}

/// Who knows the URL of a session may end it.
async fn end(State(state): State<ControlState>, Path(session): Path<String>) -> StatusCode {
    let endpoints = state.endpoints.as_ref();
    match endpoints.and_then(|endpoints| Some((endpoints, endpoints.session(&session)?))) {
        Some((endpoints, leg)) => {
            endpoints.browsers.close(leg);
            StatusCode::OK
        }
        None => StatusCode::NOT_FOUND,
    }
}

/// Trickled candidates are taken and passed over: who only answers checks has no use for them. ICE does not begin anew.
async fn change(
    State(state): State<ControlState>,
    Path(session): Path<String>,
    headers: HeaderMap,
    fragment: String,
) -> StatusCode {
    let endpoints = state.endpoints.as_ref();
    if endpoints.and_then(|endpoints| endpoints.session(&session)).is_none() {
        return StatusCode::NOT_FOUND;
    }
    if !is_of(&headers, "application/trickle-ice-sdpfrag") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    match headers.get(header::IF_MATCH).is_some_and(|tag| tag == "*") || fragment.is_empty() {
        true => StatusCode::UNPROCESSABLE_ENTITY,
        false => StatusCode::NO_CONTENT,
    }
}

/// The endpoints, if there are any, and the broadcast that is meant, if an offer comes with it.
fn asked<'a>(state: &'a ControlState, path: &str, headers: &HeaderMap) -> Result<(&'a Endpoints, String), StatusCode> {
    let endpoints = state.endpoints.as_ref().ok_or(StatusCode::NOT_FOUND)?;
    if !is_of(headers, "application/sdp") {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let broadcast = routes::normalize(path.split('/'));
    match broadcast.is_empty() {
        true => Err(StatusCode::BAD_REQUEST),
        false => Ok((endpoints, broadcast)),
    }
}

fn is_of(headers: &HeaderMap, kind: &str) -> bool {
    let content = headers
        .get(header::CONTENT_TYPE)
        .and_then(|content| content.to_str().ok());
    content.is_some_and(|content| {
        let essence = content.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case(kind)
    })
}

/// The codec of a broadcast, as its catalog says. One without a catalog speaks Opus, as browsers do.
async fn spoken(state: &ControlState, broadcast: &str) -> Result<Codec, StatusCode> {
    let asked = routes::ask_shard(state, broadcast.to_owned(), CATALOG.to_owned(), FetchGroup::Latest);
    let group = match time::timeout(CATALOG_WAIT_MAX, asked).await {
        Ok(Ok(group)) => group,
        Ok(Err(StatusCode::NOT_FOUND)) if !is_announced(state, broadcast) => return Err(StatusCode::NOT_FOUND),
        Ok(Err(_)) | Err(_) => return Ok(Codec::Opus),
    };
    let catalog: Vec<u8> = group.payload.iter().flat_map(|piece| piece.iter().copied()).collect();
    let catalog: Value = serde_json::from_slice(&catalog).unwrap_or_default();
    let rendition = catalog.pointer("/audio/renditions").and_then(|all| all.get("audio"));
    let text = |pointer: &str| rendition.and_then(|rendition| rendition.pointer(pointer)?.as_str());
    if text("/container/kind").is_some_and(|kind| kind != "raw") {
        return Err(StatusCode::UNPROCESSABLE_ENTITY);
    }
    match text("/codec") {
        Some("pcmu") => Ok(Codec::Pcmu),
        Some("pcma") => Ok(Codec::Pcma),
        Some("g722") => Ok(Codec::G722),
        Some("opus") | None => Ok(Codec::Opus),
        Some(_) => Err(StatusCode::UNPROCESSABLE_ENTITY),
    }
}

fn of_legs(codec: Codec) -> LegCodec {
    match codec {
        Codec::Opus => LegCodec::Opus,
        Codec::Pcmu => LegCodec::Pcmu,
        Codec::Pcma => LegCodec::Pcma,
        Codec::G722 => LegCodec::G722,
    }
}

fn is_announced(state: &ControlState, broadcast: &str) -> bool {
    let mut is_there = false;
    (state.announcements)(broadcast, &mut |path| {
        is_there |= path == broadcast;
        match is_there {
            true => std::ops::ControlFlow::Break(()),
            false => std::ops::ControlFlow::Continue(()),
        }
    });
    is_there
}

fn created(endpoints: &Endpoints, id: u128, answer: String) -> Response {
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/sdp"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let name = format!("{id:032x}");
    if let Ok(location) = HeaderValue::try_from(format!("/webrtc/{name}")) {
        headers.insert(header::LOCATION, location);
    }
    if let Ok(tag) = HeaderValue::try_from(format!("\"{name}\"")) {
        headers.insert(header::ETAG, tag);
    }
    for server in endpoints.browsers.ice_servers(&name[..8]) {
        if let Ok(link) = HeaderValue::try_from(link(&server)) {
            headers.append(header::LINK, link);
        }
    }
    response
}

/// RFC 9725, section 4.6.
fn link(server: &IceServer) -> String {
    let mut link = format!("<{}>; rel=\"ice-server\"", server.urls);
    if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
        link.push_str(&format!(
            "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\""
        ));
    }
    link
}

const CODECS: [Codec; 4] = [Codec::Opus, Codec::Pcmu, Codec::Pcma, Codec::G722];
const CATALOG: &str = "catalog.json";
/// How often it is looked whether grants have lapsed.
const GRANTS_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// A broadcast that has one says it at once.
const CATALOG_WAIT_MAX: Duration = Duration::from_secs(2);
