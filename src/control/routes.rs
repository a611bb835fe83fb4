//! The routes: those of everyone, whose GET answers may be read by web pages of any origin, as moq-relay's may; and those
//! of operators, which have an address of their own.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::ControlFlow;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use futures_lite::stream;
use moqswitch_proto::wire::escaped;
use moqswitch_relay::shard::statistics::ShardSnapshot;
use moqswitch_services::Pool;
use percent_encoding::percent_decode_str;
use tokio::sync::oneshot;
use tokio::time;

use crate::limits;
use crate::music::Music;

use super::asking::ask_shards;
use super::audio_metrics::AudioFigures;
use super::call_metrics::CallFigures;
use super::metrics::Form;
use super::music_metrics::MusicFigures;
use super::permit::Permit;
use super::{
    ControlState, FetchError, FetchGroup, FetchReply, FetchRequest, Phase, ShardCommand, mesh, metrics, websocket,
};

/// For whoever reaches the public address, over TCP or HTTP/3.
pub(super) fn public(state: ControlState) -> Router {
    let calls = state.calls.clone();
    let relay = relay(state);
    // Their WebSockets are no sessions, and they answer more than GET.
    match calls {
        Some(calls) => calls.fallback_service(relay),
        None => relay,
    }
}

/// The relay's own.
pub(super) fn relay(state: ControlState) -> Router {
    common()
        .route("/fetch/{*path}", get(fetch))
        .fallback(elsewhere)
        .layer(middleware::from_fn(guard))
        // Outermost: a WebSocket may have the path of a route.
        .layer(middleware::from_fn_with_state(state.clone(), websocket::intercept))
        .layer(middleware::map_response(close_after))
        .with_state(state)
}

/// For who runs the relay. Nobody else reaches their address, so that no grant is asked for; pages of other origins may
/// not read it.
pub(super) fn operators(state: ControlState) -> Router {
    common()
        .route("/metrics", get(metrics))
        .route("/announced", get(announced_all))
        .route("/announced/", get(announced_all))
        .route("/announced/{*prefix}", get(announced))
        .route("/cluster", get(mesh::cluster))
        .route("/route/{*path}", get(mesh::route))
        .layer(middleware::from_fn(refuse_long_paths))
        .layer(middleware::map_response(close_after))
        .with_state(state)
}

/// For control programs: one request for each connection, so that no idle one holds a place.
pub(super) fn mediaswitch(router: Router) -> Router {
    router
        .layer(middleware::from_fn(refuse_long_paths))
        .layer(middleware::map_response(close_after))
}

fn common() -> Router<ControlState> {
    Router::new()
        .route("/healthz", get(live))
        .route("/readyz", get(ready))
        .route("/certificate.sha256", get(certificate))
}

/// Operators who look for their routes are told where they are.
async fn elsewhere(uri: Uri) -> Response {
    let is_of_operators = ["/metrics", "/announced", "/cluster", "/route"].iter().any(|route| {
        uri.path()
            .strip_prefix(route)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match is_of_operators {
        true => (StatusCode::NOT_FOUND, "this is at the address of `admin.listen`\n").into_response(),
        false => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(super) async fn refuse_long_paths(request: Request, next: Next) -> Response {
    match request.uri().path().len() > limits::HTTP_PATH_BYTES_MAX {
        true => StatusCode::URI_TOO_LONG.into_response(),
        false => next.run(request).await,
    }
}

/// Refuses overlong paths; answers CORS preflights for GET and marks GET answers as readable from any origin.
async fn guard(request: Request, next: Next) -> Response {
    if request.uri().path().len() > limits::HTTP_PATH_BYTES_MAX {
        return StatusCode::URI_TOO_LONG.into_response();
    }
    let method = request.method().clone();
    let mut response = if method == Method::OPTIONS {
        preflight(&request)
    } else {
        next.run(request).await
    };
    if matches!(method, Method::GET | Method::HEAD | Method::OPTIONS) {
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    response
}

fn preflight(request: &Request) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET"));
    if let Some(wanted) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}

/// A connection carries one request, or becomes a WebSocket. To forbid keep-alive to hyper would take the
/// `Connection: upgrade` out of the answer to the latter.
pub(super) async fn close_after(mut response: Response) -> Response {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Live as long as the control thread answers.
async fn live() -> &'static str {
    "ok\n"
}

async fn ready(State(state): State<ControlState>) -> (StatusCode, &'static str) {
    match state.lifecycle.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Ready => (StatusCode::OK, "ready\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn metrics(State(state): State<ControlState>, headers: HeaderMap) -> Response {
    let form = Form::of(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    let snapshots = match snapshots(&state).await {
        Ok(snapshots) => snapshots,
        Err(reason) => return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    };
    let refused = metrics::Refused {
        websockets: state.websockets.refused().collect(),
        tokens: state.token_checks.refused(),
        authority: state
            .authority
            .iter()
            .flat_map(|authority| authority.answers())
            .collect(),
        lists: mesh::looks(&state.mesh.board.list()),
    };
    let audio = AudioFigures(state.audio.as_ref().map(Pool::statistics));
    let webrtc = state.endpoints.as_ref().map(|endpoints| metrics::WebrtcFigures {
        legs: endpoints.legs(),
        sessions: endpoints.len(),
    });
    let music = MusicFigures(state.music.as_ref().map(Music::statistics));
    match metrics::encode(snapshots, refused, (figures(&state).await, music), audio, webrtc, form) {
        Ok(text) => ([(header::CONTENT_TYPE, form.content_type())], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Calls that do not answer keep nobody from the figures of the relay.
async fn figures(state: &ControlState) -> CallFigures {
    let Some(signalling) = &state.signalling else {
        return CallFigures::None;
    };
    match time::timeout(limits::CALLS_ANSWER_WAIT_MAX, signalling.figures()).await {
        Ok(Ok(figures)) => CallFigures::Known(Box::new(figures)),
        Ok(Err(_)) | Err(_) => CallFigures::Silent,
    }
}

pub(super) async fn snapshots(state: &ControlState) -> Result<Vec<ShardSnapshot>, String> {
    ask_shards(state, ShardCommand::Snapshot).await
}

/// Without a line end: clients compare the whole body.
async fn certificate(State(state): State<ControlState>) -> String {
    state.certificate_sha256.borrow().to_string()
}

async fn announced_all(State(state): State<ControlState>) -> Response {
    list_announced(&state, "")
}

async fn announced(State(state): State<ControlState>, Path(prefix): Path<String>) -> Response {
    list_announced(&state, &normalize(prefix.split('/')))
}

/// One path per line, relative to the prefix; the broadcast at the prefix itself is an empty line.
fn list_announced(state: &ControlState, prefix: &str) -> Response {
    let mut paths = Vec::new();
    let mut truncated = false;
    (state.announcements)(prefix, &mut |path| {
        if paths.len() == limits::ANNOUNCED_RESULTS_MAX {
            truncated = true;
            return ControlFlow::Break(());
        }
        paths.extend(below(prefix, path).map(|path| escaped(path).to_string()));
        ControlFlow::Continue(())
    });
    paths.sort_unstable();
    let mut response = paths.join("\n").into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if truncated {
        response
            .headers_mut()
            .insert("moqswitch-truncated", HeaderValue::from(limits::ANNOUNCED_RESULTS_MAX));
    }
    response
}

/// `None` when the path is not below the prefix on a segment boundary.
fn below<'a>(prefix: &str, path: &'a str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    if prefix.is_empty() || rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

#[derive(serde::Deserialize)]
struct FetchParameters {
    group: Option<String>,
}

async fn fetch(
    State(state): State<ControlState>,
    Permit(grant): Permit,
    uri: Uri,
    Query(parameters): Query<FetchParameters>,
) -> Result<Response, StatusCode> {
    let (broadcast, track) = named(&uri).ok_or(StatusCode::BAD_REQUEST)?;
    let broadcast = normalize(broadcast.split('/'));
    if broadcast.is_empty() || track.is_empty() {
        return Err(StatusCode::BAD_REQUEST);
    }
    let group = match parameters.group.as_deref() {
        None | Some("latest") => FetchGroup::Latest,
        Some(text) => FetchGroup::Sequence(text.parse().map_err(|_| StatusCode::BAD_REQUEST)?),
    };
    if !grant.may_subscribe(&broadcast) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let reply = ask_shard(&state, broadcast, track, group).await?;
    Ok(serve_group(reply))
}

/// Broadcast and track of `/fetch/<broadcast>/<track>`. They are told apart before they are decoded, so that `%2F` is a part
/// of a track's name.
fn named(uri: &Uri) -> Option<(String, String)> {
    let decoded = |text| Some(percent_decode_str(text).decode_utf8().ok()?.into_owned());
    let (broadcast, track) = uri.path().strip_prefix("/fetch/")?.rsplit_once('/')?;
    Some((decoded(broadcast)?, decoded(track)?))
}

pub(super) async fn ask_shard(
    state: &ControlState,
    broadcast: String,
    track: String,
    group: FetchGroup,
) -> Result<FetchReply, StatusCode> {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let shard = home_shard(&broadcast, state.shards.len());
    let port = state.shards.get(shard).ok_or(unavailable)?;
    let deadline = Instant::now() + limits::FETCH_WAIT_MAX;
    let (reply, answer) = oneshot::channel();
    let request = FetchRequest {
        broadcast,
        track,
        group,
        deadline,
        reply,
    };
    port.send(ShardCommand::Fetch(request)).map_err(|_| unavailable)?;
    match time::timeout_at(deadline.into(), answer).await {
        Ok(Ok(Ok(reply))) => Ok(reply),
        Ok(Ok(Err(FetchError::NotFound))) => Err(StatusCode::NOT_FOUND),
        Ok(Ok(Err(FetchError::Timeout))) | Err(_) => Err(StatusCode::GATEWAY_TIMEOUT),
        Ok(Ok(Err(FetchError::Busy)) | Err(_)) => Err(unavailable),
        Ok(Ok(Err(FetchError::Failed))) => Err(StatusCode::BAD_GATEWAY),
    }
}

/// Fetches of one broadcast go to one shard, so that its cache serves the next.
fn home_shard(broadcast: &str, shards: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    broadcast.hash(&mut hasher);
    let shards = u64::try_from(shards).unwrap_or(1).max(1);
    usize::try_from(hasher.finish() % shards).unwrap_or(0)
}

/// The body is the payloads one after the other; pieces are streamed as they are, not copied together.
fn serve_group(reply: FetchReply) -> Response {
    let pieces = reply.payload.into_iter().map(Ok::<_, std::convert::Infallible>);
    let mut response = Body::from_stream(stream::iter(pieces)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("moqswitch-group", HeaderValue::from(reply.group_sequence));
    response
}

pub(super) fn normalize<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let kept: Vec<_> = segments.filter(|segment| !segment.is_empty()).collect();
    kept.join("/")
}
