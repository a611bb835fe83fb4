//! A switch that listens for channels of Asterisk, and what it counts.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use moqswitch::config::Config;
use moqswitch::switch::{Surroundings, Switch};

/// See the module's documentation. It ends with it.
pub(crate) struct Host {
    switch: Option<Switch>,
    directory: PathBuf,
    pub(crate) audiosocket: SocketAddr,
    pub(crate) websocket: SocketAddr,
    admin: SocketAddr,
}

/// What anything may take on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

impl Host {
    /// With these settings of `[asterisk]` beside its addresses, and this file of ways.
    pub(crate) fn start(name: &str, settings: &str, ways: &str) -> Self {
        Self::try_start(name, settings, ways).unwrap()
    }

    /// The same, with that address for AudioSocket.
    pub(crate) fn start_at(name: &str, audiosocket: SocketAddr, settings: &str, ways: &str) -> Self {
        Self::begin(name, audiosocket, settings, ways).unwrap()
    }

    /// The same, or why it does not start.
    pub(crate) fn try_start(name: &str, settings: &str, ways: &str) -> Result<Self, String> {
        loop {
            match Self::begin(name, free_port(), settings, ways) {
                // Another test was faster.
                Err(error) if error.contains("Address already in use") => {}
                begun => return begun,
            }
        }
    }

    fn begin(name: &str, audiosocket: SocketAddr, settings: &str, ways: &str) -> Result<Self, String> {
        let directory = std::env::temp_dir().join(format!("moqswitch-asterisk-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let place = |file: &str, text: &str| {
            let path = directory.join(file);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let ways = place("ways.toml", ways);
        place("secret", "secret of ari\n");
        let key = place("key", &format!("{KEY}\n"));
        let [websocket, admin] = [free_port(), free_port()];
        // Who comes by a trunk reaches one only where that is said.
        let rule = |number| format!("[[rules]]\nto = \"{number}\"\ntarget = \"trunk/{number}\"\ntransit = true\n");
        let dialplan = place("dialplan.toml", &["700", "600", "601"].map(rule).concat());
        let text = format!(
            "listen = '127.0.0.1:0'\nhttp = '127.0.0.1:0'\nstate_directory = ''\nshards = 1\n[admin]\nlisten = '{admin}'\n[calls]\nenabled = true\ndialplan = '{dialplan}'\n\
             [sip]\nudp = ''\ntcp = ''\n[asterisk]\naudiosocket = '{audiosocket}'\nwebsocket = '{websocket}'\n\
             ways = '{ways}'\n{}\n",
            settings.replace("KEY", &format!("'{key}'"))
        );
        let config = Config::from_toml(&text).unwrap();
        let surroundings = Surroundings {
            is_hosted: true,
            ..Surroundings::default()
        };
        let switch = Switch::start(&config, surroundings).map_err(|error| format!("{error:#}"))?;
        Ok(Self {
            switch: Some(switch),
            directory,
            audiosocket,
            websocket,
            admin,
        })
    }

    /// What a metric says, its labels among its name.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Until a metric is as it should be.
    pub(crate) async fn until(&self, name: &str, is_right: impl Fn(u64) -> bool) -> u64 {
        let waiting = async {
            loop {
                let value = self.metric(name);
                if is_right(value) {
                    return value;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        match tokio::time::timeout(LIMIT, waiting).await {
            Ok(value) => value,
            Err(_) => panic!("{name} is {}", self.metric(name)),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(switch) = self.switch.take() {
            let _ = switch.stop();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Of hosts that have one.
pub(crate) const KEY: &str = "5ec2e7001234";
