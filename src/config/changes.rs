//! What differs between two configurations, setting by setting: what a relay that runs takes over, and what needs a restart.

use std::fmt::Debug;

use super::{AuthConfig, CallsConfig, Config, LimitsConfig, MediaConfig, MeshConfig, QuicConfig, WebrtcConfig};

/// A setting whose value is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: &'static str,
    before: String,
    after: String,
}

impl std::fmt::Display for Change {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} \u{2192} {}", self.path, self.before, self.after)
    }
}

impl Config {
    /// The settings that are not what they were.
    pub fn changes(&self, after: &Config) -> Vec<Change> {
        let pairs = self.values().into_iter().zip(after.values());
        pairs
            .filter(|((_, before), (_, after))| before != after)
            .map(|((path, before), (_, after))| Change { path, before, after })
            .collect()
    }

    /// Each setting with its value.
    pub(super) fn values(&self) -> Vec<(&'static str, String)> {
        let Self {
            listen,
            http,
            http_tls,
            admin,
            shards,
            cores,
            batch_window,
            spin,
            calls,
            media,
            drain_deadline,
            upgrade_deadline,
            drain_uri,
            state_directory,
            tls,
            auth,
            limits,
            quic,
            log,
            origin,
            mesh,
            webrtc,
        } = self;
        let mut values = vec![
            ("listen", text(listen)),
            ("http", text(http)),
            ("http_tls", text(http_tls)),
            ("admin.listen", text(admin)),
            ("shards", text(shards)),
            ("cores", text(cores)),
            ("batch_window", text(batch_window)),
            ("spin", text(spin)),
            ("drain_deadline", text(drain_deadline)),
            ("upgrade_deadline", text(upgrade_deadline)),
            ("drain_uri", text(drain_uri)),
            ("state_directory", text(state_directory)),
            ("calls.enabled", text(&calls.is_some())),
            ("phone.enabled", text(&calls.as_ref().map(|calls| calls.phone))),
            ("tls.certificates", text(&tls.certificates)),
            ("tls.client_ca", text(&tls.client_ca)),
            ("tls.client_auth", text(&tls.client_auth)),
            ("log.level", text(&log.level)),
            ("log.format", text(&log.format)),
            ("origin.hop_id", text(&origin.hop_id)),
            ("origin.route_cost", text(&origin.route_cost)),
        ];
        values.extend(auth_values(auth));
        values.extend(quic_values(quic));
        values.extend(media_values(media));
        values.extend(mesh_values(mesh));
        values.extend(webrtc_values(webrtc.as_ref()));
        values.extend(limits.values());
        values.extend(calls_values(calls.as_ref()));
        values.extend(programs_values(calls.as_ref()));
        values.extend(recording_values(calls.as_ref()));
        values.extend(voicemail_values(calls.as_ref()));
        values
    }
}

/// Of who may do what.
fn auth_values(auth: &AuthConfig) -> Vec<(&'static str, String)> {
    vec![
        ("auth.public", auth.public.to_string()),
        ("auth.client_publish", auth.client_publish.to_string()),
        ("auth.client_subscribe", auth.client_subscribe.to_string()),
        ("auth.key", text(&auth.key)),
        (
            "auth.url",
            text(&auth.authority.as_ref().map(|authority| &authority.url)),
        ),
        (
            "auth.url_ca",
            text(&auth.authority.as_ref().map(|authority| &authority.ca)),
        ),
        (
            "auth.node",
            text(&auth.authority.as_ref().map(|authority| &authority.node)),
        ),
        ("auth.names", text(&auth.names)),
    ]
}

/// Of connections.
fn quic_values(quic: &QuicConfig) -> [(&'static str, String); 6] {
    [
        ("quic.idle_timeout", text(&quic.idle_timeout)),
        ("quic.udp_payload", text(&quic.udp_payload_bytes_max)),
        ("quic.connection_window", text(&quic.connection_window_bytes)),
        ("quic.stream_window", text(&quic.stream_window_bytes)),
        ("quic.congestion_control", text(&quic.congestion_control)),
        ("quic.socket_buffer", text(&quic.socket_buffer_bytes)),
    ]
}

/// Of browsers without WebTransport.
fn webrtc_values(webrtc: Option<&WebrtcConfig>) -> [(&'static str, String); 5] {
    [
        ("webrtc.listen", text(&webrtc.map(|webrtc| webrtc.listen))),
        ("webrtc.address", text(&webrtc.map(|webrtc| webrtc.address))),
        ("webrtc.ice_servers", text(&webrtc.map(|webrtc| &webrtc.ice_servers))),
        ("webrtc.turn_secret", text(&webrtc.map(|webrtc| &webrtc.turn_secret))),
        ("webrtc.turn_life", text(&webrtc.map(|webrtc| webrtc.turn_life))),
    ]
}

/// Of music and prompts.
fn media_values(media: &MediaConfig) -> [(&'static str, String); 3] {
    [
        ("media.music", text(&media.music)),
        ("media.prompts", text(&media.prompts)),
        ("media.tones", text(&media.tones)),
    ]
}

/// Of other relays.
fn mesh_values(mesh: &MeshConfig) -> [(&'static str, String); 18] {
    let store = mesh.store.as_ref();
    [
        ("cluster.peers", text(&mesh.peers)),
        ("cluster.peers_from", text(&mesh.source)),
        ("cluster.peers_interval", text(&mesh.interval)),
        ("cluster.peers_ca", text(&mesh.source_ca)),
        ("cluster.node", text(&mesh.node)),
        ("cluster.region", text(&mesh.prices.region)),
        ("cluster.costs", text(&mesh.prices.costs)),
        ("cluster.token_file", text(&mesh.token_file)),
        ("cluster.ca", text(&mesh.ca)),
        (
            "cluster.certificate",
            text(&mesh.identity.as_ref().map(|(certificate, _)| certificate)),
        ),
        ("cluster.key", text(&mesh.identity.as_ref().map(|(_, key)| key))),
        ("cluster.insecure", text(&mesh.is_insecure)),
        ("cluster.accept", text(&mesh.is_accepting)),
        ("cluster.store.servers", text(&store.map(|store| &store.servers))),
        ("cluster.store.node", text(&store.map(|store| &store.node))),
        ("cluster.store.subject", text(&store.map(|store| &store.subject))),
        ("cluster.store.ca", text(&store.map(|store| &store.ca))),
        ("cluster.store.token_file", text(&store.map(|store| &store.token_file))),
    ]
}

/// Of recordings.
fn recording_values(calls: Option<&CallsConfig>) -> [(&'static str, String); 12] {
    let recording = calls.and_then(|calls| calls.recording.as_ref());
    let upload = recording.and_then(|recording| recording.upload.as_ref());
    [
        ("recording.directory", text(&recording.map(|own| &own.directory))),
        ("recording.format", text(&recording.map(|own| own.format))),
        ("recording.calls", text(&recording.map(|own| own.calls_max))),
        ("recording.age", text(&recording.map(|own| own.age_max))),
        ("recording.bytes", text(&recording.map(|own| own.bytes_max))),
        ("recording.free", text(&recording.map(|own| own.free_min))),
        ("recording.tone", text(&recording.map(|own| own.tone))),
        (
            "recording.upload.bucket",
            text(&upload.map(|own| (&own.bucket, &own.prefix))),
        ),
        ("recording.upload.region", text(&upload.map(|own| &own.region))),
        ("recording.upload.endpoint", text(&upload.map(|own| &own.endpoint))),
        (
            "recording.upload.credentials",
            text(&upload.map(|own| &own.credentials)),
        ),
        ("recording.upload.ca", text(&upload.map(|own| &own.ca))),
    ]
}

/// Of voice mail.
fn voicemail_values(calls: Option<&CallsConfig>) -> [(&'static str, String); 6] {
    let voicemail = calls.and_then(|calls| calls.voicemail.as_ref());
    [
        ("voicemail.directory", text(&voicemail.map(|own| &own.directory))),
        ("voicemail.greeting", text(&voicemail.map(|own| &own.greeting))),
        ("voicemail.message", text(&voicemail.map(|own| own.message_max))),
        ("voicemail.messages", text(&voicemail.map(|own| own.messages_max))),
        ("voicemail.bytes", text(&voicemail.map(|own| own.bytes_max))),
        ("voicemail.calls", text(&voicemail.map(|own| own.calls_max))),
    ]
}

/// Of control programs, and of what they open.
fn programs_values(calls: Option<&CallsConfig>) -> [(&'static str, String); 23] {
    let mediaswitch = calls.and_then(|calls| calls.mediaswitch.as_ref());
    let rtp = calls.map(|calls| &calls.rtp);
    let sip = calls.and_then(|calls| calls.sip.as_ref());
    let asterisk = calls.and_then(|calls| calls.asterisk.as_ref());
    [
        ("mediaswitch.listen", text(&mediaswitch.map(|own| own.listen))),
        ("mediaswitch.key", text(&mediaswitch.map(|own| &own.key))),
        ("mediaswitch.domain", text(&mediaswitch.map(|own| &own.domain))),
        ("sip.udp", text(&sip.map(|sip| sip.udp))),
        ("sip.tcp", text(&sip.map(|sip| sip.tcp))),
        ("sip.tls", text(&sip.map(|sip| sip.tls))),
        ("sip.tls_client_ca", text(&sip.map(|sip| &sip.tls_client_ca))),
        ("sip.address", text(&sip.map(|sip| sip.address))),
        ("sip.realm", text(&sip.map(|sip| &sip.realm))),
        ("sip.ping", text(&sip.map(|sip| sip.ping))),
        ("sip.digest", text(&sip.map(|sip| &sip.digest))),
        ("sip.srtp", text(&sip.map(|sip| sip.srtp))),
        ("sip.trunks", text(&sip.map(|sip| &sip.trunks))),
        ("asterisk.audiosocket", text(&asterisk.map(|own| own.audiosocket))),
        ("asterisk.websocket", text(&asterisk.map(|own| own.websocket))),
        ("asterisk.key", text(&asterisk.map(|own| &own.key))),
        ("asterisk.allow", text(&asterisk.map(|own| &own.allow))),
        ("asterisk.number", text(&asterisk.map(|own| &own.number))),
        ("asterisk.ways", text(&asterisk.map(|own| &own.ways))),
        ("asterisk.channels", text(&asterisk.map(|own| own.channels_max))),
        ("asterisk.format", text(&asterisk.map(|own| own.format))),
        ("rtp.address", text(&rtp.map(|rtp| rtp.address))),
        ("rtp.ports", text(&rtp.map(|rtp| &rtp.ports))),
    ]
}

/// Each of them when there are calls, nothing otherwise.
fn calls_values(calls: Option<&CallsConfig>) -> Vec<(&'static str, String)> {
    let of = |name, value: fn(&CallsConfig) -> String| (name, calls.map(value).unwrap_or_default());
    vec![
        of("calls.dialplan", |calls| text(&calls.dialplan)),
        of("calls.users", |calls| text(&calls.users)),
        of("calls.tokens", |calls| text(&calls.tokens)),
        of("calls.callback", |calls| text(&calls.callback)),
        of("calls.keys", |calls| text(&calls.keys)),
        of("calls.api_tokens", |calls| text(&calls.api_tokens)),
        of("calls.origins", |calls| text(&calls.origins)),
        of("calls.webhooks", |calls| text(&calls.webhooks)),
        of("calls.trunk", |calls| text(&calls.trunk)),
        of("calls.time_zone", |calls| text(&calls.time_zone)),
        of("calls.records", |calls| text(&calls.records.directory)),
        of("calls.records_age", |calls| text(&calls.records.age_max)),
        of("calls.records_bytes", |calls| text(&calls.records.bytes_max)),
        of("calls.media_url", |calls| text(&calls.media_url)),
        of("calls.registration", |calls| text(&calls.plane.registration_expires)),
        of("calls.ring", |calls| text(&calls.plane.ring)),
        of("calls.call_waiting", |calls| text(&calls.plane.call_waiting)),
        of("calls.codecs", |calls| text(&calls.plane.codecs)),
        of("calls.music", |calls| text(&calls.plane.music)),
        of("calls.supervision_told", |calls| text(&calls.plane.supervision_is_told)),
        of("calls.audio_threads", |calls| text(&calls.audio_threads)),
        of("calls.limits.calls", |calls| text(&calls.plane.calls_max)),
        of("calls.limits.calls_per_number", |calls| {
            text(&calls.plane.calls_per_number_max)
        }),
        of("calls.limits.calls_per_hour", |calls| {
            text(&calls.plane.calls_per_hour_max)
        }),
        of("calls.limits.devices_per_number", |calls| {
            text(&calls.plane.devices_per_number_max)
        }),
        of("calls.limits.duration", |calls| text(&calls.plane.call_duration_max)),
    ]
}

impl LimitsConfig {
    fn values(&self) -> Vec<(&'static str, String)> {
        let limits = self;
        vec![
            ("limits.connections", text(&limits.connections_max)),
            ("limits.attempts", text(&limits.attempts_per_second)),
            ("limits.connections_per_address", text(&limits.connections_per_address)),
            ("limits.retry_above", text(&limits.retry_above)),
            ("limits.answers", text(&limits.answers_per_second)),
            ("limits.lateness", text(&limits.lateness)),
            ("limits.memory", text(&limits.memory_bytes_max)),
            ("limits.session_bytes", text(&limits.session_bytes_max)),
            ("limits.operations", text(&limits.operations_per_second)),
            ("limits.announce_rate", text(&limits.announcements_per_second)),
            ("limits.announce_bytes", text(&limits.announce_bytes_max)),
            ("limits.token_checks", text(&limits.token_checks)),
            ("limits.websockets", text(&limits.websockets_max)),
            ("limits.subscriptions", text(&limits.subscriptions_max)),
            ("limits.announces", text(&limits.announces_max)),
            ("limits.streams", text(&limits.streams_max)),
            ("limits.datagram_queue", text(&limits.datagram_queue_max)),
            ("limits.cache_bytes", text(&limits.cache_bytes_max)),
            ("limits.cache_age", text(&limits.cache_age_max)),
            ("limits.track_linger", text(&limits.track_linger)),
        ]
    }
}

fn text(value: &dyn Debug) -> String {
    format!("{value:?}")
}
