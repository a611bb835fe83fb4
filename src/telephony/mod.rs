//! Telephone calls: the call plane's thread, its pages at the HTTP address, and what it asks of the relay.
//!
//! Calls decide who may publish and subscribe what; here it becomes grants of sessions at their shards. When this stops,
//! sessions keep what they have, and media goes on.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::extract::{ConnectInfo, Request};
use axum::{Router, middleware};
use moqswitch_player::Player;
use moqswitch_recording::RecorderView;
use moqswitch_relay::RelayHandle;
use moqswitch_relay::auth::token::{Algorithm, Key, Keys};
use moqswitch_relay::limits::FEED_EVENTS_DEFAULT;
use moqswitch_relay::shard::{FeedReader, FeedWriter, feed};
use moqswitch_services::Pool;
use moqswitch_signalling::{
    MediaswitchSettings, RecordSettings, Settings, Signalling, SignallingHandle, StateSettings,
};
use ring::rand::SystemRandom;
use tokio::sync::{mpsc, watch};

use crate::browsers::Browsers;
use crate::config::{CallsConfig, Config};
use crate::control::StreamTls;
use crate::directory;
use crate::limits::LEGS_COUNTED_MAX;
use crate::nodes::{self, StoreThread};
use crate::state::Place;
use crate::uploads::Uploads;

mod announcing;
mod asterisk;
mod browsing;
mod channels;
mod counting;
mod delivery;
mod device_legs;
mod devices;
mod media;
mod mixing;
mod pages;
mod pool;
mod recording;
mod reload;
mod rtp;
mod services;
mod sip;
mod voicemail;

use announcing::Announcing;
use channels::RtpChannels;
use counting::Counting;
use device_legs::DeviceLegs;
use devices::Devices;
use media::RelayMedia;
use pool::RtpPool;
pub(crate) use reload::Reloading;
use services::Services;
use voicemail::Mail;

/// Before there is a relay: what it is given.
pub(crate) struct Telephony {
    key: Arc<Key>,
    keys: Arc<Keys>,
    writer: FeedWriter,
    reader: FeedReader,
    settings: Settings,
    config: CallsConfig,
    shows_hash: bool,
    /// What carries messages between machines.
    store: Option<StoreThread>,
}

/// What runs beside HTTP.
pub(crate) struct Running {
    pub(crate) handle: SignallingHandle,
    config: CallsConfig,
    devices: Devices,
    counting: Counting,
    announcing: Announcing,
    /// The pages of the web phone, if they are served.
    pages: Router,
    /// What transcodes and mixes, if anything does.
    pub(crate) audio: Option<Pool>,
}

impl Telephony {
    /// `None`: calls are not configured.
    /// `key`: by which the process before knew devices.
    pub(crate) fn new(config: &Config, key: Option<&str>) -> anyhow::Result<Option<Self>> {
        // Browsers take the hash of a certificate for two weeks, and need none of one that somebody vouches for.
        let shows_hash = config.tls.certificates.is_empty();
        let (state, http) = (config.state_place(), config.http);
        let store = config.mesh.store.as_ref();
        let Some(config) = &config.calls else { return Ok(None) };
        let key = match key {
            Some(key) => Key::parse(key).context("the key for devices of the process before")?,
            None => Key::generate(Algorithm::HS256, KEY_NAME, &SystemRandom::new()).context("a key for devices")?,
        };
        let keys = Keys::parse(&format!(r#"{{"keys":[{}]}}"#, key.to_json())).context("a key for devices")?;
        let (writer, reader) = feed(FEED_EVENTS_DEFAULT);
        let entrance = directory::entrance(config).context("calls")?;
        let store = store.map(nodes::start).transpose().context("cluster.store")?;
        let (nodes, store) = store.unzip();
        let (keys_of_programs, api_tokens) = directory::programs(config).context("calls.keys")?;
        let settings = Settings {
            calls: config.plane_settings(),
            dialplan: directory::dialplan(config).context("calls.dialplan")?,
            users: entrance.users,
            tokens: entrance.tokens,
            callback: entrance.callback,
            keys: keys_of_programs,
            api_tokens,
            origins: config.origins.clone(),
            webhooks: directory::webhooks(config).context("calls.webhooks")?,
            trunk: config.trunk.clone(),
            utc_offset: config.utc_offset(),
            records: config.records.directory.as_ref().map(|directory| RecordSettings {
                age_max: config.records.age_max,
                total_bytes_max: config.records.bytes_max,
                ..RecordSettings::below(directory)
            }),
            state: journal(&state, http),
            mediaswitch: mediaswitch(config)?,
            nodes,
            ..Settings::default()
        };
        Ok(Some(Self {
            key: Arc::new(key),
            keys: Arc::new(keys),
            writer,
            reader,
            settings,
            config: config.clone(),
            shows_hash,
            store,
        }))
    }

    /// What is to be waited for at the end.
    pub(crate) fn take_store(&mut self) -> Option<StoreThread> {
        self.store.take()
    }

    /// By which the relay knows devices.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.keys.clone()
    }

    /// The key for devices, for a process that follows.
    pub(crate) fn key(&self) -> String {
        self.key.to_json()
    }

    /// Where the relay tells of sessions.
    pub(crate) fn feed(&self) -> FeedWriter {
        self.writer.clone().of_devices()
    }

    /// Starts the calls thread.
    pub(crate) fn start(
        mut self,
        relay: &RelayHandle,
        certificate: watch::Receiver<Arc<str>>,
        encryption: StreamTls,
        browsers: Option<Browsers>,
        player: Option<&Player>,
    ) -> anyhow::Result<Running> {
        let (relay, shards) = (relay.address(), relay.ports().to_vec());
        let url = self.config.media_url.clone().unwrap_or_else(|| media::url_of(relay));
        let pages = match self.config.phone {
            true => pages::router(&url).context("the web phone")?,
            false => Router::new(),
        };
        let certificate = self.shows_hash.then_some(certificate);
        let recording = self.config.recording_settings();
        let recording = recording
            .map(|settings| recording::start(settings, &shards))
            .transpose()?;
        let (recorder, view) = recording.unzip();
        let uploads = self.config.recording.as_ref().and_then(|own| own.upload.as_ref());
        let recorded = |view: RecorderView| {
            let uploads = uploads.map(|config| Uploads::start(config, view.pending()));
            let uploads = uploads.transpose().context("recordings cannot be uploaded")?;
            anyhow::Ok(Arc::new(recording::Recorded { view, uploads }) as _)
        };
        self.settings.recordings = view.map(recorded).transpose()?;
        let announcer = player.map(Player::announcer);
        let (media, told) = RelayMedia::new(url, self.key, certificate, recorder, announcer.clone());
        let rtp = &self.config.rtp;
        let mut pool = None;
        if let (Some(own), Some(address)) = (&mut self.settings.mediaswitch, rtp.address) {
            let shared = RtpPool::new(&[address], &rtp.ports, &shards).context("legs of RTP")?;
            own.channels = Box::new(RtpChannels::new(shared.clone(), player.map(Player::announcer)));
            pool = Some(shared);
        }
        let services = Services::start(self.config.audio_threads(shards.len()), &shards)?;
        let audio = services.as_ref().map(|services| services.pool.clone());
        let mixers = services.map(|services| services.mixers);
        if let Some(browsers) = &browsers {
            self.settings.browsers = Box::new(DeviceLegs::new(browsers.clone(), mixers.clone()));
        }
        let mixers_of_channels = mixers.clone();
        let mail = self.config.voicemail.as_ref().map(Mail::open).transpose()?;
        self.settings.mailboxes = mail.clone().map(|mail| mail as _);
        self.settings.sip = sip::start(&self.config, &shards, encryption, (pool, browsers, mixers))?;
        self.settings.asterisk = asterisk::start(&self.config, &shards, mixers_of_channels, mail)?;
        let handle = Signalling::start(self.settings, Box::new(media)).context("the calls thread")?;
        let (counted, over) = mpsc::channel(LEGS_COUNTED_MAX);
        let devices = Devices::new(told, counted, self.reader, shards.clone());
        let counting = Counting::new(over, shards, handle.clone());
        let announcing = Announcing::new(announcer, handle.clone());
        let config = self.config;
        Ok(Running {
            handle,
            config,
            devices,
            counting,
            announcing,
            pages,
            audio,
        })
    }
}

impl Running {
    /// The routes of calls.
    pub(crate) fn router(&self) -> Router {
        let calls = self.handle.router().layer(middleware::from_fn(name_client));
        calls.merge(self.pages.clone())
    }

    /// Those of control programs.
    pub(crate) fn mediaswitch_router(&self) -> Option<Router> {
        let router = self.handle.mediaswitch_router()?;
        Some(router.layer(middleware::from_fn(name_client)))
    }

    /// What an operator may change.
    pub(crate) fn reloading(&self) -> Reloading {
        Reloading::new(self.handle.clone(), self.config.clone())
    }

    /// Carries grants to sessions and counts from them, for as long as there are calls.
    pub(crate) async fn serve(self) {
        // The one is over when the other is: it holds the sending end.
        tokio::select! {
            _ = async { tokio::join!(self.devices.serve(), self.counting.serve()) } => {}
            () = self.announcing.serve() => {}
        }
    }
}

/// Where the request came from, by the name that the routes of calls look for.
async fn name_client(mut request: Request, next: middleware::Next) -> axum::response::Response {
    if let Some(client) = crate::control::client_of(&request) {
        request.extensions_mut().insert(ConnectInfo(client));
    }
    next.run(request).await
}

/// Where it is noted who is registered, for a restart: a directory for each address, as several switches may share a state
/// directory. What is listened on by chance is not found again.
fn journal(state: &Place, http: SocketAddr) -> Option<StateSettings> {
    let directory = state.path()?.join(format!("calls-{http}"));
    let is_required = matches!(state, Place::Configured(_));
    (is_required || http.port() != 0).then_some(StateSettings { directory, is_required })
}

/// Where this host finds the web phone of a switch that listens there.
pub(crate) fn phone_url(http: SocketAddr) -> String {
    let url = media::url_of(http);
    format!("{}phone/", url.replacen("https", "http", 1))
}

fn mediaswitch(config: &CallsConfig) -> anyhow::Result<Option<MediaswitchSettings>> {
    let Some(own) = &config.mediaswitch else {
        return Ok(None);
    };
    Ok(Some(MediaswitchSettings {
        keys: directory::control_key(config)
            .context("mediaswitch.key")?
            .into_iter()
            .collect(),
        domain: own.domain.clone(),
        ..MediaswitchSettings::default()
    }))
}

/// How tokens for devices name their key. It lives as long as the process.
const KEY_NAME: &str = "moqswitch-calls";
