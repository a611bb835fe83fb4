use std::fs::Permissions;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use moqswitch_relay::auth::token::{Algorithm, Key};
use moqswitch_relay::certificate::DevelopmentCertificate;
use ring::rand::SystemRandom;

use crate::config::AuthConfig;
use crate::state::Place;

use super::*;

#[test]
fn kernel_is_judged_by_version() {
    let status = |release: &str| {
        let host = Host {
            kernel_release: Some(release.to_owned()),
            ..Host::default()
        };
        host.check_kernel().status
    };
    assert_eq!(status("5.19.17"), Status::Fail);
    assert_eq!(status("6.0.19"), Status::Fail);
    assert_eq!(status("6.1.0-18-amd64"), Status::Warn);
    assert_eq!(status("6.11.0-9-generic"), Status::Warn);
    assert_eq!(status("6.12.1"), Status::Pass);
    assert_eq!(status("10.1"), Status::Pass);
    assert_eq!(status("FreeBSD"), Status::Warn);
}

#[test]
fn io_uring_refusal_is_told_as_the_relay_tells_it() {
    let disabled = host::check_io_uring(&|| Err(RingError::Disabled { value: 2 }));
    assert_eq!(disabled.status, Status::Fail);
    assert!(disabled.reason.contains("kernel.io_uring_disabled is 2"));
    assert!(disabled.advice.unwrap().contains("kernel.io_uring_disabled=0"));
    let group = host::check_io_uring(&|| Err(RingError::Disabled { value: 1 }));
    assert!(group.advice.unwrap().contains("kernel.io_uring_group"));
    let filtered = host::check_io_uring(&|| Err(RingError::NotPermitted));
    assert!(filtered.reason.contains("seccomp"));
    assert!(filtered.advice.unwrap().contains("io_uring_setup"));
    let other = host::check_io_uring(&|| {
        let source = std::io::Error::other("out of luck");
        let operation = "opening";
        Err(RingError::Io { operation, source })
    });
    assert_eq!((&*other.reason, other.advice), ("opening failed: out of luck", None));
    let permitted = host::check_io_uring(&|| Ok(()));
    assert_eq!(permitted.status, Status::Pass);
}

#[test]
fn locked_memory_grows_with_shards_unless_privileged() {
    let mut host = Host {
        limits: Some(LIMITS.to_owned()),
        status: Some("CapEff:\t0000000000000000".to_owned()),
        ..Host::default()
    };
    assert_eq!(host.check_locked_memory(16).status, Status::Pass);
    let short = host.check_locked_memory(17);
    assert_eq!(short.status, Status::Fail);
    assert!(short.reason.contains("8192 KiB"), "{}", short.reason);
    host.status = Some("CapEff:\t000001ffffffffff".to_owned());
    assert_eq!(host.check_locked_memory(17).status, Status::Pass);
    // Executors look at the limit for themselves.
    host.limits = Some(LIMITS.replace("8388608", "65536"));
    let refused = host.check_locked_memory(17);
    assert_eq!(refused.status, Status::Fail);
    assert!(refused.reason.contains("need 512 KiB"), "{}", refused.reason);
    assert_eq!(Host::default().check_locked_memory(1).status, Status::Skip);
}

#[test]
fn open_files_cover_shards_and_http_by_the_hard_limit() {
    let host = Host {
        limits: Some(LIMITS.to_owned()),
        ..Host::default()
    };
    assert_eq!(host.check_open_files(4, 30, 0).status, Status::Pass);
    assert_eq!(host.check_open_files(4, 100, 0).status, Status::Warn);
    assert_eq!(host.check_open_files(64, 0, 0).status, Status::Fail);
}

#[test]
fn small_socket_buffers_are_a_warning_with_the_command() {
    let host = Host {
        receive_buffer_max: Some("212992".to_owned()),
        send_buffer_max: Some("4194304".to_owned()),
        ..Host::default()
    };
    assert_eq!(host.check_socket_buffers(212_992).status, Status::Pass);
    let small = host.check_socket_buffers(4_194_304);
    assert_eq!(small.status, Status::Warn);
    let advice = small.advice.unwrap();
    assert!(advice.contains("sysctl -w net.core.rmem_max=4194304"), "{advice}");
    assert!(!advice.contains("wmem_max"), "{advice}");
    assert_eq!(Host::default().check_socket_buffers(1).status, Status::Skip);
}

#[test]
fn certificate_faults_are_told_apart() {
    let directory = TemporaryDirectory::new("certificates");
    let now = SystemTime::now();
    let good = DevelopmentCertificate::generate(&[], now).unwrap();
    let other = DevelopmentCertificate::generate(&[], now).unwrap();
    let chain = directory.write("chain.pem", &good.certificate_pem);
    let key = directory.write("key.pem", &good.key_pem);
    let other_key = directory.write("other.pem", &other.key_pem);
    let mode = |mode| std::fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
    let check = |key: &PathBuf, now| {
        let files = moqswitch_relay::certificate::CertificateFiles {
            certificate: chain.clone(),
            key: key.clone(),
        };
        let tls = crate::config::TlsConfig {
            certificates: vec![files],
            ..Config::default().tls
        };
        certificates::check(&tls, "127.0.0.1:1".parse().unwrap(), now).remove(0)
    };
    let day = Duration::from_secs(24 * 60 * 60);

    for (open, status, words) in [
        (0o644, Status::Warn, "key.pem may be read by everybody"),
        (0o660, Status::Warn, "key.pem may be written by its group"),
        (0o602, Status::Fail, "key.pem may be written by everybody"),
    ] {
        mode(open);
        let check = check(&key, now);
        assert!(
            check.status == status && check.reason.ends_with(words),
            "{}",
            check.reason
        );
    }
    // A group that serves TLS.
    mode(0o640);
    let fine = check(&key, now);
    assert_eq!(fine.status, Status::Pass);
    assert!(fine.reason.contains("localhost"), "{}", fine.reason);
    assert!(fine.reason.contains("expires in 12 day(s)"), "{}", fine.reason);
    let due = check(&key, now + day * 8);
    assert_eq!(due.status, Status::Warn);
    assert!(due.advice.unwrap().contains("SIGHUP"));
    assert!(check(&key, now + day * 14).reason.ends_with("expired"));
    assert!(check(&key, now - day).reason.ends_with("not valid yet"));
    assert!(check(&other_key, now).reason.contains("another certificate"));
    let clients = |path: &PathBuf| {
        let tls = crate::config::TlsConfig {
            client_ca: Some(path.clone()),
            ..Config::default().tls
        };
        certificates::check(&tls, "127.0.0.1:1".parse().unwrap(), now).remove(1)
    };
    assert_eq!(clients(&chain).status, Status::Pass);
    let no_ca = clients(&key);
    assert!(no_ca.status == Status::Fail && no_ca.reason.contains("no PEM certificate"));
    let missing = check(&directory.0.join("nothing"), now);
    assert_eq!(missing.status, Status::Fail);
    assert!(missing.reason.contains("nothing"), "{}", missing.reason);
}

#[test]
fn development_certificate_beyond_loopback_is_a_warning() {
    let tls = Config::default().tls;
    let check = |address: &str| certificates::check(&tls, address.parse().unwrap(), SystemTime::now()).remove(0);
    assert_eq!(check("127.0.0.1:1").status, Status::Pass);
    assert_eq!(check("0.0.0.0:1").status, Status::Warn);
}

#[test]
fn token_keys_are_read_and_kept_from_others() {
    let directory = TemporaryDirectory::new("keys");
    let key = Key::generate(Algorithm::ES256, "a", &SystemRandom::new()).unwrap();
    let check = |path: Option<&PathBuf>| {
        let auth = AuthConfig {
            key: path.cloned(),
            ..Config::default().auth
        };
        keys::check(&auth)
    };
    assert_eq!(check(None).status, Status::Pass);
    let path = directory.write("a.jwk", &key.to_public().unwrap().to_json());
    assert_eq!(check(Some(&path)).status, Status::Pass);
    let mode = |path: &PathBuf, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let path = directory.write("a.jwk", &key.to_json());
    mode(&path, 0o644);
    assert_eq!(check(Some(&path)).status, Status::Warn);
    assert_eq!(check(Some(&directory.0)).status, Status::Warn);
    mode(&path, 0o600);
    assert_eq!(check(Some(&path)).status, Status::Pass);
    assert_eq!(check(Some(&directory.0)).status, Status::Pass);
    // Who may write a key, or put another in its place, may sign for everything.
    for (file, place, status) in [
        (0o620, 0o700, Status::Warn),
        (0o602, 0o700, Status::Fail),
        (0o600, 0o770, Status::Warn),
        (0o600, 0o777, Status::Fail),
    ] {
        mode(&path, file);
        mode(&directory.0, place);
        assert_eq!(check(Some(&path)).status, status, "{file:o} in {place:o}");
        assert_eq!(check(Some(&directory.0)).status, status, "{file:o} in {place:o}");
    }
    mode(&path, 0o600);
    // As /tmp is: others put files of their own there, but replace none.
    mode(&directory.0, 0o1777);
    assert_eq!(check(Some(&path)).status, Status::Pass);
    mode(&directory.0, 0o755);
    let path = directory.write("a.jwk", &key.to_json().replace(r#","verify""#, ""));
    assert!(check(Some(&path)).reason.contains("the key a is not for verifying"));
    std::fs::remove_file(&path).unwrap();
    let empty = check(Some(&directory.0));
    assert!(empty.status == Status::Warn && empty.reason.ends_with("has no key yet"));
    let path = directory.write("a.jwk", "{}");
    let failed = check(Some(&path));
    assert_eq!(failed.status, Status::Fail);
    assert!(failed.reason.contains("a.jwk: `alg` is missing"), "{}", failed.reason);
}

#[test]
fn a_state_directory_is_usable_and_kept_from_others() {
    let directory = TemporaryDirectory::new("state");
    let place = Place::Configured(directory.0.join("below"));
    let fresh = state::check(&place);
    assert_eq!(fresh.status, Status::Pass);
    assert!(fresh.reason.contains("will be made"), "{}", fresh.reason);
    assert!(!directory.0.join("below").exists(), "checks change nothing");
    crate::state::reset_key(&place).unwrap();
    assert_eq!(state::check(&place).status, Status::Pass);
    let file = directory.0.join("below/reset.key");
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let open = state::check(&place);
    assert_eq!(open.status, Status::Warn);
    assert!(open.advice.unwrap().contains("chmod 600"));
    std::fs::write(&file, "no key").unwrap();
    assert_eq!(state::check(&place).status, Status::Fail);
    assert_eq!(
        state::check(&Place::Usual(directory.0.join("below"))).status,
        Status::Warn
    );
    assert_eq!(state::check(&Place::Configured(file.join("x"))).status, Status::Fail);
    assert_eq!(state::check(&Place::None).status, Status::Warn);
}

#[test]
fn a_directory_of_recordings_is_writable_and_kept_from_others() {
    let directory = TemporaryDirectory::new("recordings");
    let place = directory.0.join("below");
    let check = |place: &Path| {
        let of = |section: &str, name: &str| {
            let text = format!("[{section}]\ndirectory = \"{}\"\n", place.display());
            let config = Config::from_toml(&text).unwrap();
            let calls = config.calls.as_ref().unwrap();
            let found = calls::check(Some(calls)).into_iter().find(|check| check.name == name);
            let found = found.unwrap();
            let obstacle = find_obstacle(calls);
            assert_eq!(obstacle.is_some(), found.status == Status::Fail, "{obstacle:?}");
            found
        };
        let (recordings, mail) = (of("recording", RECORDINGS), of("voicemail", VOICE_MAIL));
        assert_eq!(recordings.status, mail.status);
        recordings
    };
    assert_eq!(check(&place).status, Status::Pass);
    assert!(!place.exists(), "checks change nothing");
    std::fs::create_dir(&place).unwrap();
    std::fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(check(&place).status, Status::Warn);
    let file = directory.0.join("file");
    std::fs::write(&file, "").unwrap();
    let refused = check(&file.join("x"));
    assert_eq!(refused.status, Status::Fail, "{refused:?}");
    let key = directory.0.join("store.key");
    for (content, status) in [("id\n", Status::Fail), ("id\nsecret\n", Status::Pass)] {
        std::fs::write(&key, content).unwrap();
        let (below, key) = (
            directory.0.join("kept").display().to_string(),
            key.display().to_string(),
        );
        let text = format!(
            "[recording]\ndirectory = \"{below}\"\n[recording.upload]\nbucket = \"b\"\ncredentials = \"{key}\"\n"
        );
        let config = Config::from_toml(&text).unwrap();
        let found = calls::check(config.calls.as_ref());
        let found = found.iter().find(|check| check.name == RECORDINGS).unwrap();
        assert_eq!(found.status, status, "{}", found.reason);
    }
    let none = calls::check(Config::default().calls.as_ref());
    assert!(
        none.iter()
            .any(|check| check.name == RECORDINGS && check.reason == "none")
    );
}

#[test]
fn taken_ports_fail() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin_address = Some(admin.local_addr().unwrap());
    let checks = network::check(udp.local_addr().unwrap(), tcp.local_addr().unwrap(), admin_address);
    assert_eq!(checks.len(), 3);
    for check in checks {
        assert_eq!(check.status, Status::Fail);
        assert!(check.advice.unwrap().contains("ss -lnp"));
    }
    let free = "127.0.0.1:0".parse().unwrap();
    for check in network::check(free, free, Some(free)) {
        assert_eq!(check.status, Status::Pass);
    }
    assert_eq!(network::check(free, free, None)[2].status, Status::Pass);
    let open = network::check(free, free, Some("0.0.0.0:0".parse().unwrap()));
    assert_eq!(open[2].status, Status::Warn);
}

#[test]
fn address_of_another_machine_fails() {
    let free = "127.0.0.1:0".parse().unwrap();
    let checks = network::check("192.0.2.1:0".parse().unwrap(), free, None);
    assert!(checks[0].advice.as_ref().unwrap().contains("ip address"));
}

#[test]
fn invalid_configuration_fails_and_skips_what_depends_on_it() {
    let config = Config::from_toml("shards = 0");
    let report = run(&subject(&config, &Host::default(), &HostCores::read()));
    assert_eq!(report.exit_status(), 1);
    assert_eq!(report.checks[0].status, Status::Fail);
    assert!(report.checks[0].reason.contains("shards"));
    let skipped = report.checks.iter().filter(|check| check.status == Status::Skip);
    assert_eq!(skipped.count(), CONFIGURED_CHECKS.len());
}

#[test]
fn report_is_aligned_text_and_json() {
    let report = Report {
        status: Status::Fail,
        checks: vec![
            Check::new("kernel", Status::Pass, "Linux 6.18"),
            Check::new("locked memory", Status::Fail, "too little").advise("ulimit -l"),
        ],
    };
    let expected = "\
PASS  kernel         Linux 6.18
FAIL  locked memory  too little
                     → ulimit -l
1 passed, 1 failed
";
    assert_eq!(report.to_string(), expected);
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["status"], "fail");
    assert_eq!(json["checks"][1]["advice"], "ulimit -l");
}

#[test]
fn this_host_can_be_checked() {
    let config = Config::from_toml("listen = \"127.0.0.1:0\"");
    let report = run(&subject(&config, &Host::read(), &HostCores::read()));
    let names: Vec<_> = report.checks.iter().map(|check| check.name).collect();
    for name in CONFIGURED_CHECKS {
        assert!(names.contains(&name), "{name}");
    }
    let kernel = report.checks.iter().find(|check| check.name == "kernel");
    assert_ne!(kernel.unwrap().status, Status::Skip);
}

fn subject<'a>(config: &'a Result<Config, ConfigError>, host: &'a Host, cores: &'a HostCores) -> Subject<'a> {
    Subject {
        config,
        host,
        cores,
        io_uring_probe: &|| Ok(()),
        now: SystemTime::now(),
    }
}

struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new(name: &str) -> Self {
        let name = format!("moqswitch-check-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max open files            256                  1024                 files
Max locked memory         8388608              8388608              bytes
Max file locks            unlimited            unlimited            locks
";
