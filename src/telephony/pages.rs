//! The web phone: its files are part of the program, and served below `/phone/`. They are compressed once, at the start.

use std::future::ready;
use std::io::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use ring::digest::{SHA256, digest};

/// A file as it is sent.
struct Page {
    name: &'static str,
    kind: HeaderValue,
    /// Changes with the content.
    tag: HeaderValue,
    plain: Bytes,
    gzip: Bytes,
}

/// The routes of the phone. `media` is where its pages reach the relay.
pub(super) fn router(media: &str) -> anyhow::Result<Router> {
    let pages: Arc<[Page]> = FILES.iter().map(Page::new).collect::<anyhow::Result<_>>()?;
    let policy = HeaderValue::from_str(&content_policy(media))?;
    let serve = move |name: &str, headers: &HeaderMap| {
        let page = pages.iter().find(|page| page.name == name);
        page.map_or_else(
            || StatusCode::NOT_FOUND.into_response(),
            |page| page.answer(headers, policy.clone()),
        )
    };
    let index = serve.clone();
    Ok(Router::new()
        .route("/phone", get(|| async { Redirect::permanent("/phone/") }))
        .route("/phone/", get(move |headers: HeaderMap| ready(index(INDEX, &headers))))
        .route(
            "/phone/{name}",
            get(move |Path(name): Path<String>, headers: HeaderMap| ready(serve(&name, &headers))),
        ))
}

impl Page {
    fn new((name, text): &(&'static str, &'static str)) -> anyhow::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes())?;
        let gzip = encoder.finish()?;
        let hash = digest(&SHA256, text.as_bytes());
        let tag: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            name,
            kind: HeaderValue::from_static(kind_of(name)),
            tag: HeaderValue::from_str(&format!("\"{tag}\""))?,
            plain: Bytes::from_static(text.as_bytes()),
            gzip: gzip.into(),
        })
    }

    fn answer(&self, asked: &HeaderMap, policy: HeaderValue) -> Response {
        let mut response = if says(asked, &header::IF_NONE_MATCH, |tag| tag == self.tag.as_bytes()) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if says(asked, &header::ACCEPT_ENCODING, |coding| coding == b"gzip") {
            ([(header::CONTENT_ENCODING, "gzip")], self.gzip.clone()).into_response()
        } else {
            self.plain.clone().into_response()
        };
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, self.kind.clone()),
            (header::ETAG, self.tag.clone()),
            (header::CONTENT_SECURITY_POLICY, policy),
        ] {
            headers.insert(name, value);
        }
        for (name, value) in FIELDS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Whether one of the elements of a list is the one. What stands behind a semicolon is not looked at, but for `q=0`.
fn says(headers: &HeaderMap, field: &HeaderName, is_it: impl Fn(&[u8]) -> bool) -> bool {
    headers.get_all(field).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|element| {
            let mut parts = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            parts.next().is_some_and(&is_it) && !parts.any(|part| part == b"q=0")
        })
    })
}

/// Scripts and styles of this switch alone; connections to it and to the relay alone.
fn content_policy(media: &str) -> String {
    let host = media.strip_prefix("https://").unwrap_or(media);
    let host = host.split('/').next().unwrap_or(host);
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
         connect-src 'self' https://{host} wss://{host} ws://{host}; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "html")) => "text/html; charset=utf-8",
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "js")) => "text/javascript; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    }
}

const INDEX: &str = "index.html";

/// Looked at again at each start, as the program may be another. Scripts may be used by pages of others, as a library.
const FIELDS: [(HeaderName, &str); 7] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "Accept-Encoding"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (
        HeaderName::from_static("permissions-policy"),
        "microphone=(self), camera=(self), screen-wake-lock=(self), geolocation=()",
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
];

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../phone/dist/", $name)))),*]
    };
}

/// Made by `src/phone/build.mjs`.
const FILES: &[(&str, &str)] = files![
    "index.html" "phone.css" "phone.js" "worklet.js"
    "more.css" "more.js" "later.js" "path.js" "qmux.js" "g711.js" "de.js"
    "moqphone.js" "agent.html" "agent.js" "supervisor.html" "supervisor.js"
];

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    use super::*;

    async fn get(path: &str, fields: &[(&str, &str)]) -> Response {
        let mut request = Request::get(path);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let router = router("https://relay.example:4443/").unwrap();
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn pages_name_nothing_but_this_switch_and_the_relay() {
        let response = get("/phone/", &[]).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            policy.contains("script-src 'self';") && policy.contains(" https://relay.example:4443 "),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        for (name, text) in FILES {
            assert!(
                !text.contains("<script>") && !text.contains(" style="),
                "{name} has something inline"
            );
            assert!(
                !text.contains("src=\"http") && !text.contains("from\"http"),
                "{name} loads from elsewhere"
            );
        }
    }

    #[tokio::test]
    async fn a_file_is_compressed_for_who_takes_it_and_sent_once() {
        let plain = get("/phone/moqphone.js", &[("accept-encoding", "br, gzip;q=0")]).await;
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(plain.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        let plain = to_bytes(plain.into_body(), usize::MAX).await.unwrap();

        let small = get("/phone/moqphone.js", &[("accept-encoding", "br, gzip")]).await;
        assert_eq!(small.headers()[header::CONTENT_ENCODING], "gzip");
        let tag = small.headers()[header::ETAG].to_str().unwrap().to_owned();
        let small = to_bytes(small.into_body(), usize::MAX).await.unwrap();
        let mut unpacked = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&small[..]), &mut unpacked).unwrap();
        assert_eq!(unpacked, plain);

        let again = get("/phone/moqphone.js", &[("if-none-match", &tag)]).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        for (path, status) in [
            ("/phone", StatusCode::PERMANENT_REDIRECT),
            ("/phone/nothing.js", StatusCode::NOT_FOUND),
            ("/phone/..%2fCargo.toml", StatusCode::NOT_FOUND),
        ] {
            assert_eq!(get(path, &[]).await.status(), status, "{path}");
        }
    }
}
