//! A mesh of many nodes in memory: each has the table and the announcer of a shard, and the rules of hops that sessions have;
//! links have delays, fail and come again; names come and go. What the nodes have settled on must be the shortest paths.
//!
//! 100 seeds in `cargo test`; more by `MOQSWITCH_MESH_SEEDS=10000 cargo test -p moqswitch-relay --release routing::tests::mesh`.
//! With `--nocapture` the figures are printed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use moqswitch_proto::limits::HOPS_MAX;
use moqswitch_proto::wire::{Advertisement, BroadcastPath, HopId, RouteCost, StreamId};

use super::super::{
    AnnounceAction, AnnounceTable, Announcer, Holder, PeerKey, Provenance, RequestKey, ShardId, Source, select,
};

#[test]
fn meshes_settle_on_shortest_paths() {
    let seeds: u64 = std::env::var("MOQSWITCH_MESH_SEEDS").map_or(100, |text| text.parse().unwrap());
    let mut figures: BTreeMap<&str, Figures> = BTreeMap::new();
    for seed in 0..seeds {
        let (name, figure) = run(seed);
        let all = figures.entry(name).or_default();
        all.runs += 1;
        all.announce.add(&figure.announce);
        all.withdraw.add(&figure.withdraw);
        all.failure.add(&figure.failure);
    }
    for (name, all) in figures {
        println!(
            "{name}: {} runs; a new name {}; a lost name {}; a lost link {}",
            all.runs, all.announce, all.withdraw, all.failure
        );
    }
}

#[test]
fn a_thousand_nodes_forget_a_name() {
    let mut random = Random(7);
    let mut mesh = Mesh::new(1000, tree_of_regions(1000, &mut random), &mut random);
    mesh.settle();
    for number in 0..20 {
        mesh.publish(random.below(1000), number);
    }
    mesh.settle();
    mesh.check("a thousand nodes");
    let cost = mesh.measure(|mesh| mesh.withdraw(3));
    mesh.check("a thousand nodes, one name less");
    println!("1000 nodes in regions: a lost name {cost}");
    // Each node is told of it once by each neighbour that had told it.
    assert!(cost.messages <= 2 * mesh.links.len() as u64, "{cost}");
}

/// What a change costs.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    messages: u64,
    /// Until the last message has come.
    time: Duration,
    links: u64,
}

impl Cost {
    /// The mean of messages for each link is what is of interest, and the longest time.
    fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.links += other.links;
        self.time = self.time.max(other.time);
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = self.messages as f64 / self.links.max(1) as f64;
        write!(
            formatter,
            "{each:.2} messages a link, {} ms at most",
            self.time.as_millis()
        )
    }
}

#[derive(Default)]
struct Figures {
    runs: u64,
    announce: Cost,
    withdraw: Cost,
    failure: Cost,
}

/// One mesh and its life.
fn run(seed: u64) -> (&'static str, Figures) {
    let mut random = Random(seed);
    let (name, nodes, links) = match seed % 4 {
        0 => {
            let nodes = 3 + random.below(12);
            ("ring", nodes, ring(nodes))
        }
        1 => {
            let nodes = 10 + random.below(20);
            ("tree of regions", nodes, tree_of_regions(nodes, &mut random))
        }
        2 => {
            let nodes = 8 + random.below(10);
            ("6-regular", nodes, regular(nodes, &mut random))
        }
        // The largest is for every hundredth seed, and not for the first: it has half a thousand links, and a lost name is
        // looked for by many ways, which takes minutes.
        3 if seed >= 100 && seed % 100 == 99 => ("mesh of 32", 32, full(32)),
        _ => ("mesh of 8", 8, full(8)),
    };
    let mut mesh = Mesh::new(nodes, links, &mut random);
    mesh.settle();
    for number in 0..5 {
        mesh.publish(random.below(nodes), number);
    }
    mesh.settle();
    mesh.check(&format!("seed {seed}, {name}: at first"));
    let figures = Figures {
        announce: mesh.measure(|mesh| mesh.publish(0, 100)),
        withdraw: mesh.measure(|mesh| mesh.withdraw(100)),
        failure: {
            let link = random.below(mesh.links.len());
            let cost = mesh.measure(|mesh| mesh.set_link(link, false));
            mesh.check(&format!("seed {seed}, {name}: without link {link}"));
            mesh.set_link(link, true);
            cost
        },
        runs: 1,
    };
    mesh.check_forgotten(100, seed);
    churn(&mut mesh, &mut random);
    mesh.settle();
    mesh.check(&format!("seed {seed}, {name}: after churn"));
    let names: Vec<usize> = mesh.names.keys().copied().collect();
    for number in names {
        mesh.withdraw(number);
    }
    mesh.settle();
    for node in &mesh.nodes {
        assert!(
            node.table.is_empty(),
            "seed {seed}, {name}: a name is left at {:?}",
            node.hop
        );
    }
    (name, figures)
}

/// Everything at once, and before the last change has settled.
fn churn(mesh: &mut Mesh, random: &mut Random) {
    let nodes = mesh.nodes.len();
    for step in 0..20 {
        match random.below(6) {
            0 => mesh.publish(random.below(nodes), 1000 + step),
            1 => {
                let names: Vec<usize> = mesh.names.keys().copied().collect();
                if let Some(number) = names.get(random.below(names.len().max(1))) {
                    mesh.withdraw(*number);
                }
            }
            2 | 3 => {
                let link = random.below(mesh.links.len());
                let is_up = mesh.links[link].is_up;
                mesh.set_link(link, !is_up);
            }
            // A partition: all links of one node.
            4 => {
                let node = random.below(nodes);
                let is_up = random.below(2) == 0;
                for link in 0..mesh.links.len() {
                    if mesh.links[link].ends.contains(&node) {
                        mesh.set_link(link, is_up);
                    }
                }
            }
            _ => {}
        }
        let pause = Duration::from_millis(random.below(400) as u64);
        mesh.run_until(mesh.now + pause);
    }
}

struct Mesh {
    nodes: Vec<Node>,
    links: Vec<Wire>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    next_event: u64,
    now: Instant,
    random: Random,
    messages: u64,
    /// Where each name is published.
    names: BTreeMap<usize, usize>,
}

struct Node {
    hop: HopId,
    table: Arc<AnnounceTable>,
    announcer: Announcer,
    wakes_at: Option<Instant>,
}

struct Wire {
    ends: [usize; 2],
    cost: u64,
    delay: Duration,
    is_up: bool,
    /// Counts the sessions that it has had: what is under way in an earlier one is lost.
    session: u32,
    /// By direction, when the last message comes: they keep their order.
    busy: [Instant; 2],
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Wake(usize),
    Message {
        link: usize,
        session: u32,
        /// Which end it goes to.
        to: usize,
        path: BroadcastPath,
        /// Hops and cost; `None`: it is gone.
        offered: Option<(Vec<HopId>, RouteCost)>,
    },
}

impl Mesh {
    fn new(nodes: usize, links: Vec<(usize, usize)>, random: &mut Random) -> Self {
        let now = Instant::now();
        let nodes = (0..nodes)
            .map(|number| Node::new(HopId(1 + number as u64), now))
            .collect();
        let links: Vec<Wire> = links
            .into_iter()
            .map(|(one, two)| Wire {
                ends: [one, two],
                cost: 1 + random.below(4) as u64,
                delay: Duration::from_micros(500 + random.below(40_000) as u64),
                is_up: false,
                session: 0,
                busy: [now; 2],
            })
            .collect();
        let mut mesh = Self {
            nodes,
            links,
            events: BinaryHeap::new(),
            next_event: 0,
            now,
            random: Random(random.number()),
            messages: 0,
            names: BTreeMap::new(),
        };
        for link in 0..mesh.links.len() {
            mesh.set_link(link, true);
        }
        mesh
    }

    fn publish(&mut self, node: usize, number: usize) {
        self.names.insert(number, node);
        let advertisement = Advertisement {
            hops: vec![publisher(number)],
            ..Advertisement::default()
        };
        self.nodes[node].insert(&name(number), CLIENT, advertisement, Provenance::of_cost(1));
        self.tell(node);
    }

    fn withdraw(&mut self, number: usize) {
        let Some(node) = self.names.remove(&number) else { return };
        self.nodes[node].remove(&name(number), CLIENT);
        self.tell(node);
    }

    /// Both ends see it at once.
    fn set_link(&mut self, link: usize, is_up: bool) {
        let wire = &mut self.links[link];
        if wire.is_up == is_up {
            return;
        }
        wire.is_up = is_up;
        wire.session += 1;
        wire.busy = [self.now; 2];
        let ends = wire.ends;
        let session = wire.session;
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let exclude = self.nodes[other].hop;
            let node = &mut self.nodes[end];
            if is_up {
                let peer = session_of(link, session);
                node.announcer.set_link(peer);
                let asked = node
                    .announcer
                    .handle_request(peer, REQUEST, BroadcastPath::root(), exclude, false, None);
                asked.unwrap();
            } else {
                node.lose(session_of(link, session - 1));
            }
        }
        for end in ends {
            self.tell(end);
        }
    }

    /// Sends what a node has to say, and sees when it has more.
    fn tell(&mut self, node: usize) {
        let said = self.nodes[node].poll(self.now);
        for (peer, path, offered) in said {
            let link = peer.index as usize;
            let wire = &mut self.links[link];
            if !wire.is_up || wire.session != peer.generation {
                continue;
            }
            self.messages += 1;
            let direction = usize::from(wire.ends[1] == node);
            // A lost packet is sent again: the stream keeps its order, and comes later.
            let lost = self.random.below(50) == 0;
            let delay = wire.delay + if lost { wire.delay * 3 } else { Duration::ZERO };
            wire.busy[direction] = wire.busy[direction].max(self.now + delay);
            let (at, to) = (wire.busy[direction], wire.ends[1 - direction]);
            let message = Event::Message {
                link,
                session: peer.generation,
                to,
                path,
                offered,
            };
            self.queue(at, message);
        }
        if let Some(at) = self.nodes[node].announcer.next_deadline()
            && self.nodes[node].wakes_at.is_none_or(|planned| at < planned)
        {
            self.nodes[node].wakes_at = Some(at);
            self.queue(at, Event::Wake(node));
        }
    }

    fn queue(&mut self, at: Instant, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((at, self.next_event, event)));
    }

    /// Until nothing is under way. Returns when the last message came.
    fn settle(&mut self) -> Instant {
        let mut last = self.now;
        let mut handled = 0u64;
        while let Some(at) = self.events.peek().map(|Reverse((at, ..))| *at) {
            let before = self.messages;
            self.run_until(at);
            if self.messages != before {
                last = at;
            }
            handled += 1;
            assert!(handled < 10_000_000, "it does not settle");
        }
        last
    }

    fn run_until(&mut self, end: Instant) {
        while self.events.peek().is_some_and(|Reverse((at, ..))| *at <= end) {
            let Some(Reverse((at, _, event))) = self.events.pop() else {
                return;
            };
            self.now = at;
            match event {
                Event::Wake(node) => {
                    self.nodes[node].wakes_at = None;
                    self.tell(node);
                }
                Event::Message {
                    link,
                    session,
                    to,
                    path,
                    offered,
                } => {
                    let wire = &self.links[link];
                    if !wire.is_up || wire.session != session {
                        continue;
                    }
                    let from = self.nodes[wire.ends[usize::from(wire.ends[0] == to)]].hop;
                    let cost = wire.cost;
                    self.nodes[to].receive(session_of(link, session), from, &path, offered, cost);
                    self.tell(to);
                }
            }
        }
        self.now = self.now.max(end);
    }

    /// What a change costs until the mesh has settled again.
    fn measure(&mut self, change: impl FnOnce(&mut Self)) -> Cost {
        self.settle();
        let (messages, begun) = (self.messages, self.now);
        change(self);
        let last = self.settle();
        Cost {
            messages: self.messages - messages,
            time: last.saturating_duration_since(begun),
            links: self.links.len() as u64,
        }
    }

    /// Every node knows every name that it can reach, at the lowest price, by a way that leads there, and no other.
    fn check(&self, when: &str) {
        let mut distances = BTreeMap::new();
        for publisher in self.names.values().copied().collect::<BTreeSet<usize>>() {
            distances.insert(publisher, self.distances(publisher));
        }
        for (number, publisher) in &self.names {
            let path = name(*number);
            for (place, node) in self.nodes.iter().enumerate() {
                let entries = node.table.entries(&path);
                let chosen = select(&entries, HopId::UNKNOWN, false);
                let known = chosen.map(|entry| entry.advertisement.cost.warm);
                // The client's own link costs one.
                let best = distances[publisher][place].map(|distance| distance + 1);
                assert_eq!(known, best, "{when}: name {number} of node {publisher} at node {place}");
                let Some(chosen) = chosen else { continue };
                let hops = &chosen.advertisement.hops;
                let ids: BTreeSet<HopId> = hops.iter().copied().collect();
                assert!(
                    ids.len() == hops.len() && !ids.contains(&node.hop),
                    "{when}: a loop {hops:?}"
                );
                if place != *publisher {
                    assert_eq!(hops[1], self.nodes[*publisher].hop, "{when}: {hops:?}");
                    // The neighbour that it goes by is one step nearer: nothing goes round.
                    let wire = &self.links[chosen.source.peer.index as usize];
                    let next = wire.ends[usize::from(wire.ends[0] == place)];
                    let nearer = distances[publisher][next];
                    assert_eq!(nearer.map(|distance| distance + wire.cost + 1), best, "{when}");
                }
            }
        }
    }

    fn check_forgotten(&self, number: usize, seed: u64) {
        for node in &self.nodes {
            assert!(
                node.table.entries(&name(number)).is_empty(),
                "seed {seed}: a name is left"
            );
        }
    }

    /// Dijkstra, over links that are up.
    fn distances(&self, from: usize) -> Vec<Option<u64>> {
        let mut ways: Vec<Vec<(usize, u64)>> = vec![Vec::new(); self.nodes.len()];
        for wire in self.links.iter().filter(|wire| wire.is_up) {
            let [one, two] = wire.ends;
            ways[one].push((two, wire.cost));
            ways[two].push((one, wire.cost));
        }
        let mut distances = vec![None; self.nodes.len()];
        let mut open = BinaryHeap::from([Reverse((0, from))]);
        while let Some(Reverse((distance, node))) = open.pop() {
            if distances[node].is_some() {
                continue;
            }
            distances[node] = Some(distance);
            open.extend(ways[node].iter().map(|(next, cost)| Reverse((distance + cost, *next))));
        }
        distances
    }
}

impl Node {
    fn new(hop: HopId, now: Instant) -> Self {
        let table = Arc::new(AnnounceTable::new());
        let mut announcer = Announcer::new(table.clone(), ShardId(0), hop);
        announcer.handle_time(now);
        Self {
            hop,
            table,
            announcer,
            wakes_at: None,
        }
    }

    fn insert(&mut self, path: &BroadcastPath, peer: PeerKey, advertisement: Advertisement, link: Provenance) {
        let inserted = self
            .table
            .insert_by(path, source(peer), Holder::OURS, advertisement, link);
        inserted.unwrap();
        self.announcer.handle_change(path);
    }

    fn remove(&mut self, path: &BroadcastPath, peer: PeerKey) {
        self.table.remove(path, source(peer));
        self.announcer.handle_change(path);
    }

    /// A session is over.
    fn lose(&mut self, peer: PeerKey) {
        self.announcer.handle_peer_gone(peer);
        for path in self.table.paths_under(&BroadcastPath::root(), usize::MAX) {
            if self
                .table
                .entries(&path)
                .iter()
                .any(|entry| entry.source == source(peer))
            {
                self.remove(&path, peer);
            }
        }
    }

    /// As a session does: the sender's hop goes behind the others, and what has been here is dropped.
    fn receive(
        &mut self,
        peer: PeerKey,
        sender: HopId,
        path: &BroadcastPath,
        offered: Option<(Vec<HopId>, RouteCost)>,
        cost: u64,
    ) {
        let accepted =
            offered.filter(|(hops, _)| hops.len() < HOPS_MAX && !hops.contains(&sender) && !hops.contains(&self.hop));
        let Some((mut hops, offered)) = accepted else {
            return self.remove(path, peer);
        };
        hops.push(sender);
        let advertisement = Advertisement {
            hops,
            cost: offered,
            ..Advertisement::default()
        };
        let link = Provenance {
            cost,
            is_peer: true,
            ..Provenance::default()
        };
        self.insert(path, peer, advertisement, link);
    }

    /// What its neighbours are to be told.
    #[allow(clippy::type_complexity, reason = "it is taken apart at once")]
    fn poll(&mut self, now: Instant) -> Vec<(PeerKey, BroadcastPath, Option<(Vec<HopId>, RouteCost)>)> {
        let mut said = Vec::new();
        self.announcer.handle_time(now);
        while let Some(RequestKey { peer, request }) = self.announcer.poll_ready() {
            while let Some(action) = self.announcer.next_action(RequestKey { peer, request }) {
                match action {
                    AnnounceAction::Announce {
                        suffix, advertisement, ..
                    } => said.push((peer, suffix, Some((advertisement.hops.clone(), advertisement.cost)))),
                    AnnounceAction::Unannounce { suffix, .. } => said.push((peer, suffix, None)),
                    AnnounceAction::Ok { .. } => {}
                    AnnounceAction::Reset { .. } => panic!("a neighbour reads"),
                }
            }
        }
        said
    }
}

fn ring(nodes: usize) -> Vec<(usize, usize)> {
    (0..nodes).map(|node| (node, (node + 1) % nodes)).collect()
}

/// Regions of eight: their heads are linked to each other in a tree and in a ring, the others to their head and to the next.
fn tree_of_regions(nodes: usize, random: &mut Random) -> Vec<(usize, usize)> {
    let mut links = BTreeSet::new();
    let mut link = |one: usize, two: usize| {
        if one != two {
            links.insert((one.min(two), one.max(two)));
        }
    };
    for node in 1..nodes {
        if node % 8 == 0 {
            link(node, 8 * random.below(node / 8));
        } else {
            link(node, node - node % 8);
            link(node, node - 1);
        }
    }
    links.into_iter().collect()
}

fn regular(nodes: usize, random: &mut Random) -> Vec<(usize, usize)> {
    let mut links = BTreeSet::new();
    for round in 0..3 {
        // Three rings through all nodes in any order: nobody is left out, and each has six links at most.
        let mut order: Vec<usize> = (0..nodes).collect();
        for place in (1..nodes).rev().filter(|_| round > 0) {
            order.swap(place, random.below(place + 1));
        }
        for place in 0..nodes {
            let (one, two) = (order[place], order[(place + 1) % nodes]);
            links.insert((one.min(two), one.max(two)));
        }
    }
    links.into_iter().collect()
}

fn full(nodes: usize) -> Vec<(usize, usize)> {
    (0..nodes)
        .flat_map(|one| (one + 1..nodes).map(move |two| (one, two)))
        .collect()
}

fn name(number: usize) -> BroadcastPath {
    BroadcastPath::new(&format!("call/{number}"))
}

fn publisher(number: usize) -> HopId {
    HopId(1 << 40 | number as u64)
}

fn session_of(link: usize, session: u32) -> PeerKey {
    PeerKey {
        index: u32::try_from(link).unwrap(),
        generation: session,
    }
}

fn source(peer: PeerKey) -> Source {
    Source {
        shard: ShardId(0),
        peer,
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound as u64).unwrap()
    }
}

const CLIENT: PeerKey = PeerKey {
    index: u32::MAX,
    generation: 0,
};
const REQUEST: StreamId = StreamId(0);
