//! What all channels share: the way to the call plane and to the shards, who is there, who is waited for.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use moqswitch_asterisk::uuid::Key;
use moqswitch_asterisk::{Format, Uuid};
use moqswitch_legs::FrameLegsPort;
use moqswitch_signalling::calls::{Cause, Number};
use moqswitch_signalling::{ChannelEvent, ChannelId, ChannelOrder};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::limits::{ASTERISK_ORDERS_PER_CHANNEL_MAX, ASTERISK_PER_ADDRESS_MAX};

use super::counters::{Counters, Refused, Spoken};
use super::wire::{Reader, Writer};
use crate::directory::{Announced, Way};
use crate::telephony::voicemail::Mail;

/// See the module's documentation.
pub(super) struct Hub {
    pub(super) settings: HubSettings,
    pub(super) counters: Arc<Counters>,
    events: mpsc::Sender<(ChannelId, ChannelEvent)>,
    news: Arc<Notify>,
    channels: RefCell<HashMap<ChannelId, mpsc::Sender<ChannelOrder>>>,
    awaited: RefCell<HashMap<Uuid, oneshot::Sender<Connection>>>,
    shards: Vec<FrameLegsPort>,
    used: RefCell<Vec<usize>>,
    connected: Cell<u64>,
    /// Connections, and those of each address.
    connections: Cell<usize>,
    per_address: RefCell<HashMap<IpAddr, usize>>,
}

/// What an operator has said.
pub(super) struct HubSettings {
    pub(super) key: Option<Key>,
    /// Who may connect. Empty: whoever reaches the address.
    pub(super) allow: Vec<IpAddr>,
    pub(super) announced: HashMap<Uuid, Announced>,
    pub(super) ways: HashMap<Number, Way>,
    pub(super) channels_max: usize,
    /// Of AudioSocket, until a channel has said something.
    pub(super) format: Format,
    /// Boxes of voice mail. `None`: there are none.
    pub(super) mail: Option<Arc<Mail>>,
}

/// A connection whose channel is known.
pub(super) struct Connection {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    pub(super) format: Format,
    /// What has come of it before it was known what it is.
    pub(super) early: Vec<bytes::Bytes>,
    pub(super) place: Rc<Place>,
}

/// A place among connections, given back when it is dropped.
pub(super) struct Place {
    hub: Rc<Hub>,
    address: IpAddr,
}

/// A shard's leg counts while this is there.
pub(super) struct Used {
    hub: Rc<Hub>,
    shard: usize,
}

impl Hub {
    pub(super) fn new(
        settings: HubSettings,
        counters: Arc<Counters>,
        events: mpsc::Sender<(ChannelId, ChannelEvent)>,
        news: Arc<Notify>,
        shards: Vec<FrameLegsPort>,
    ) -> Self {
        let used = RefCell::new(vec![0; shards.len()]);
        Self {
            settings,
            counters,
            events,
            news,
            channels: RefCell::default(),
            awaited: RefCell::default(),
            shards,
            used,
            connected: Cell::new(0),
            connections: Cell::new(0),
            per_address: RefCell::default(),
        }
    }

    /// Tells the call plane. While it has no room, the channel is not read.
    pub(super) async fn tell(&self, channel: ChannelId, event: ChannelEvent) {
        // Without a call plane there is nobody to be told.
        if self.events.send((channel, event)).await.is_ok() {
            self.news.notify_one();
        }
    }

    /// A place for a connection from there.
    pub(super) fn place(self: &Rc<Self>, address: IpAddr) -> Result<Place, Refused> {
        let address = address.to_canonical();
        let allow = &self.settings.allow;
        if !allow.is_empty() && !allow.contains(&address) {
            return Err(Refused::Address);
        }
        let mut per_address = self.per_address.borrow_mut();
        let of_address = per_address.get(&address).copied().unwrap_or(0);
        let connections = self.connections.get();
        if connections >= self.settings.channels_max || of_address >= ASTERISK_PER_ADDRESS_MAX {
            return Err(Refused::Full);
        }
        per_address.insert(address, of_address + 1);
        self.connections.set(connections + 1);
        drop(per_address);
        Ok(Place {
            hub: Rc::clone(self),
            address,
        })
    }

    /// A place for a connection of ours. None: there are as many as there may be.
    pub(super) fn outgoing_place(self: &Rc<Self>, address: IpAddr) -> Option<Place> {
        let connections = self.connections.get();
        if connections >= self.settings.channels_max {
            return None;
        }
        self.connections.set(connections + 1);
        *self.per_address.borrow_mut().entry(address.to_canonical()).or_default() += 1;
        Some(Place {
            hub: Rc::clone(self),
            address: address.to_canonical(),
        })
    }

    pub(super) fn refuse(&self, reason: Refused, address: IpAddr) {
        self.counters.refused(reason);
        tracing::debug!(%reason, %address, "Asterisk: a connection is refused");
    }

    pub(super) fn connected(&self, spoken: Spoken) -> ChannelId {
        self.counters.connected(spoken);
        self.connected.set(self.connected.get() + 1);
        ChannelId(self.connected.get())
    }

    /// A channel is there from here on, and is told by this.
    pub(super) fn enter(&self, channel: ChannelId) -> mpsc::Receiver<ChannelOrder> {
        let (orders, inbox) = mpsc::channel(ASTERISK_ORDERS_PER_CHANNEL_MAX);
        self.channels.borrow_mut().insert(channel, orders);
        self.counters.channels.fetch_add(1, Ordering::Relaxed);
        inbox
    }

    pub(super) fn leave(&self, channel: ChannelId) {
        self.channels.borrow_mut().remove(&channel);
        self.counters.channels.fetch_sub(1, Ordering::Relaxed);
    }

    /// Hands an order to its channel. One that takes none is hung up.
    pub(super) fn hand(&self, channel: ChannelId, order: ChannelOrder) {
        let mut channels = self.channels.borrow_mut();
        let is_over = order == ChannelOrder::HangUp;
        let taken = channels.get(&channel).map(|orders| orders.try_send(order));
        if is_over || matches!(taken, Some(Err(_))) {
            // Without anybody who could tell it something it ends.
            channels.remove(&channel);
        }
    }

    /// A connection that comes with this goes to who waits for it.
    pub(super) fn wait_for(&self, uuid: Uuid) -> oneshot::Receiver<Connection> {
        let (tell, connection) = oneshot::channel();
        self.awaited.borrow_mut().insert(uuid, tell);
        connection
    }

    pub(super) fn stop_waiting(&self, uuid: Uuid) {
        self.awaited.borrow_mut().remove(&uuid);
    }

    pub(super) fn is_awaited(&self, uuid: Uuid) -> bool {
        self.awaited.borrow().contains_key(&uuid)
    }

    pub(super) fn awaited(&self, uuid: Uuid) -> Option<oneshot::Sender<Connection>> {
        self.awaited.borrow_mut().remove(&uuid)
    }

    /// The least busy shard.
    pub(super) fn shard(self: &Rc<Self>) -> Option<(FrameLegsPort, Used)> {
        let mut used = self.used.borrow_mut();
        let shard = (0..used.len()).min_by_key(|shard| used[*shard])?;
        used[shard] += 1;
        let port = self.shards[shard].clone();
        drop(used);
        Some((
            port,
            Used {
                hub: Rc::clone(self),
                shard,
            },
        ))
    }

    /// One that is called ends before it was there.
    pub(super) async fn fail(&self, channel: ChannelId, cause: Cause) {
        self.leave(channel);
        self.tell(channel, ChannelEvent::Ended(cause)).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.connections.set(self.hub.connections.get().saturating_sub(1));
        let mut per_address = self.hub.per_address.borrow_mut();
        if let Some(count) = per_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                per_address.remove(&self.address);
            }
        }
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        if let Some(used) = self.hub.used.borrow_mut().get_mut(self.shard) {
            *used = used.saturating_sub(1);
        }
    }
}
