//! A relay inside another program: started, asked for its address, drained and joined.
//!
//! A real program waits for a signal or an order of its own where this one goes on at once.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use moqswitch_relay::{Relay, RelayOptions};

fn main() -> anyhow::Result<()> {
    let relay = Relay::start(RelayOptions {
        // Port 0: the kernel chooses one.
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        shards: NonZeroUsize::new(1),
        ..RelayOptions::default()
    })?;
    println!("serving moql://{}/ on cores {:?}", relay.address(), relay.cores());
    println!("certificate SHA-256 {}", relay.identity().sha256_hex);

    // Sessions get a GOAWAY and up to a second.
    relay.drain(Duration::from_secs(1));
    relay.join()
}
