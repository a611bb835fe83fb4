//! Who has to go when there are too many connections.

use crate::limits;

use super::*;
use crate::control::connections::{Arrival, Connections};

#[test]
fn silent_connections_keep_nobody_out() {
    let fixture = Fixture::start(Behaviour::Answers);
    let _silent: Vec<_> = (0..300).map(|_| TcpStream::connect(fixture.address).unwrap()).collect();
    let mut stream = TcpStream::connect(fixture.address).unwrap();
    stream
        .set_read_timeout(Some(limits::HTTP_ARRIVAL_WAIT_MAX / 2))
        .unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[test]
fn oldest_of_its_kind_goes_for_one_too_many() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connections = Connections::new(2, 1);
        let mut open: Vec<_> = (0..3).map(|_| spawn(&mut connections)).collect();
        settle().await;
        assert_eq!(alive(&open), [false, true, true], "the oldest that is silent");
        open[1].1.announce();
        open.push(spawn(&mut connections));
        settle().await;
        assert_eq!(alive(&open), [false, true, true, true], "one is served, two are silent");
        open[3].1.announce();
        connections.changed().await;
        settle().await;
        assert_eq!(alive(&open), [false, false, true, true], "the oldest that is served");
    });
}

#[test]
fn served_connection_outlasts_the_time_to_arrive_and_not_its_age() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connections = Connections::new(2, 2);
        let open = [spawn(&mut connections), spawn(&mut connections)];
        open[1].1.announce();
        tokio::time::sleep(limits::HTTP_ARRIVAL_WAIT_MAX * 2).await;
        assert_eq!(alive(&open), [false, true]);
        tokio::time::sleep(limits::HTTP_CONNECTION_AGE_MAX).await;
        assert_eq!(alive(&open), [false, false]);
    });
}

/// A connection that lasts for ever, and a witness of its life.
fn spawn(connections: &mut Connections) -> (Arc<()>, Arrival) {
    let witness = Arc::new(());
    let mut told = None;
    connections.spawn(|arrival| {
        told = Some(arrival);
        let witness = Arc::clone(&witness);
        async move {
            std::future::pending::<()>().await;
            drop(witness);
        }
    });
    (witness, told.unwrap())
}

fn alive(open: &[(Arc<()>, Arrival)]) -> Vec<bool> {
    open.iter().map(|(witness, _)| Arc::strong_count(witness) > 1).collect()
}

/// Lets tasks that were told to end do so.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}
