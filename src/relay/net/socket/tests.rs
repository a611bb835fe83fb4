use super::*;

#[test]
fn second_group_on_the_same_address_is_refused() {
    for shards in [1, 2, 4] {
        let group = bind_group(any_port(), shards, 1, &SocketOptions::default()).unwrap();
        assert_eq!(group.sockets.len(), shards);
        for second in [1, shards] {
            let error = bind_group(group.local, second, 1, &SocketOptions::default()).unwrap_err();
            assert!(matches!(error, BindError::InUse { addr } if addr == group.local));
            let text = error.to_string();
            assert!(text.contains(&group.local.to_string()) && text.contains("already in use"));
        }
    }
}

#[test]
fn group_is_refused_without_the_guard_too() {
    let mut group = bind_group(any_port(), 2, 1, &SocketOptions::default()).unwrap();
    group.guard = InstanceGuard { name: None };
    let error = bind_group(group.local, 2, 1, &SocketOptions::default()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
}

#[test]
fn group_is_refused_by_the_guard_alone() {
    let group = bind_group(any_port(), 2, 1, &SocketOptions::default()).unwrap();
    let SocketGroup {
        sockets, local, guard, ..
    } = group;
    drop(sockets);
    let error = bind_group(local, 2, 1, &SocketOptions::default()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
    drop(guard);
    bind_group(local, 2, 1, &SocketOptions::default()).unwrap();
}

#[test]
fn group_never_joins_a_foreign_group_that_would_let_it() {
    let foreign = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    foreign.set_reuse_port(true).unwrap();
    foreign.bind(&any_port().into()).unwrap();
    let addr = foreign.local_addr().unwrap().as_socket().unwrap();
    let error = bind_group(addr, 2, 1, &SocketOptions::default()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
}

#[test]
fn address_is_free_again_after_the_group_is_dropped() {
    let group = bind_group(any_port(), 2, 1, &SocketOptions::default()).unwrap();
    let local = group.local;
    drop(group);
    assert_eq!(bind_group(local, 3, 1, &SocketOptions::default()).unwrap().local, local);
}

#[test]
fn impossible_shard_counts_are_refused() {
    for shards in [0, SHARDS_MAX + 1] {
        let error = bind_group(any_port(), shards, 1, &SocketOptions::default()).unwrap_err();
        assert!(matches!(error, BindError::Shards { .. }));
    }
}

#[test]
fn unspecified_ipv6_takes_ipv4_too() {
    let group = bind_group("[::]:0".parse().unwrap(), 2, 1, &SocketOptions::default()).unwrap();
    let taken: SocketAddr = ([0, 0, 0, 0], group.local.port()).into();
    let error = bind_group(taken, 2, 1, &SocketOptions::default()).unwrap_err();
    assert!(matches!(error, BindError::InUse { .. }));
}

#[test]
fn granted_buffers_are_reported() {
    let options = SocketOptions {
        receive_buffer_bytes: 100_000,
        send_buffer_bytes: 50_000,
        ..SocketOptions::default()
    };
    let group = bind_group(any_port(), 2, 1, &options).unwrap();
    assert_eq!(group.granted.receive_buffer_bytes, 100_000);
    assert_eq!(group.granted.send_buffer_bytes, 50_000);
}

fn any_port() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}
