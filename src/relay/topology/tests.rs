use std::num::NonZeroUsize;
use std::path::PathBuf;

use super::host::{Quota, affinity, cgroup_directories, quota};
use super::*;

#[test]
fn one_shard_per_usable_core() {
    let host = HostCores {
        cpuset: Some(vec![1, 2, 3, 9]),
        ..host(0..4)
    };
    let placement = Placement::plan(&host, None, None).unwrap();
    assert_eq!(placement.cores, [1, 2, 3]);
    assert!(!placement.shared);
}

#[test]
fn quota_lowers_the_default_count_only() {
    let host = HostCores {
        quota: quota("150000 100000"),
        ..host(0..8)
    };
    assert_eq!(Placement::plan(&host, None, None).unwrap().cores, [0, 1]);
    let explicit = Placement::plan(&host, NonZeroUsize::new(3), None).unwrap();
    assert_eq!(explicit.cores, [0, 1, 2]);
    let listed = Placement::plan(&host, None, Some(&[4, 5, 6])).unwrap();
    assert_eq!(listed.cores, [4, 5, 6]);
}

#[test]
fn quota_below_one_core_still_gives_a_shard() {
    let host = HostCores {
        quota: quota("10000 100000"),
        ..host(0..2)
    };
    assert_eq!(Placement::plan(&host, None, None).unwrap().cores, [0]);
}

#[test]
fn shards_beyond_cores_share_round_robin() {
    let placement = Placement::plan(&host(0..2), NonZeroUsize::new(5), None).unwrap();
    assert_eq!(placement.cores, [0, 1, 0, 1, 0]);
    assert!(placement.shared);
}

#[test]
fn listed_core_must_be_usable() {
    let error = Placement::plan(&host(0..2), None, Some(&[1, 7])).unwrap_err();
    assert_eq!(
        error,
        TopologyError::CoreUnusable {
            core: 7,
            usable: vec![0, 1]
        }
    );
    assert!(error.to_string().contains("0-1"), "{error}");
}

#[test]
fn disjoint_affinity_and_cpuset_are_an_error() {
    let host = HostCores {
        cpuset: Some(vec![5]),
        ..host(0..2)
    };
    assert!(matches!(
        Placement::plan(&host, None, None),
        Err(TopologyError::NoCores(_))
    ));
}

#[test]
fn core_lists_round_trip_and_refuse_nonsense() {
    assert_eq!(parse_core_list("0-3,6").unwrap(), [0, 1, 2, 3, 6]);
    assert_eq!(parse_core_list("2, 1,1").unwrap(), [1, 2]);
    assert_eq!(format_core_list(&[0, 1, 2, 3, 6]), "0-3,6");
    assert_eq!(format_core_list(&[4]), "4");
    for text in ["", "a", "3-1", "1-", "0-99999999999", "-1", "0-8192"] {
        assert!(parse_core_list(text).is_err(), "{text}");
    }
}

#[test]
fn kernel_texts_are_read() {
    let status = "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-1,4\nMems_allowed:\t1\n";
    assert_eq!(affinity(status), Some(vec![0, 1, 4]));
    assert_eq!(affinity("Name:\tx\n"), None);
    assert_eq!(quota("max 100000"), None);
    assert_eq!(quota("1 0"), None);
    assert_eq!(
        quota("200000 100000"),
        Some(Quota {
            budget_us: 200_000,
            period_us: 100_000
        })
    );
}

#[test]
fn cgroup_directories_lead_to_the_mount() {
    let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
    let membership = "3:cpuset:/\n0::/system.slice/moqswitch.service\n";
    let expected: Vec<PathBuf> = [
        "/sys/fs/cgroup/unified/system.slice/moqswitch.service",
        "/sys/fs/cgroup/unified/system.slice",
        "/sys/fs/cgroup/unified",
    ]
    .map(PathBuf::from)
    .to_vec();
    assert_eq!(cgroup_directories(membership, mounts), expected);
    assert!(cgroup_directories(membership, "").is_empty());
    assert!(cgroup_directories("", mounts).is_empty());
}

#[test]
fn this_host_has_a_core_for_a_shard() {
    let placement = Placement::plan(&HostCores::read(), NonZeroUsize::new(1), None).unwrap();
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let usable = affinity(&status).unwrap();
    assert!(usable.contains(&placement.cores[0]), "{:?}", placement.cores);
}

fn host(affinity: std::ops::Range<usize>) -> HostCores {
    HostCores {
        affinity: affinity.collect(),
        cpuset: None,
        quota: None,
    }
}
