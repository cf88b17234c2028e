//! Stock Envoy and weft-proxy beside each other, on the same configuration, each with upstreams of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::upstream::Upstream;
use crate::http::Client;
use crate::process::{Background, Profile};
use crate::venv;

/// From start to `/ready`.
const START_LIMIT: Duration = Duration::from_secs(30);
/// From SIGTERM to the end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Where everything of one side is; a configuration is made of it.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) upstreams: Vec<SocketAddr>,
    /// The folder for access logs.
    pub(crate) dir: PathBuf,
}

/// Listeners and clusters of a side.
pub(crate) type Config<'a> = &'a dyn Fn(&Places) -> (Vec<Value>, Vec<Value>);

/// One of the two.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) places: Places,
    pub(crate) upstreams: Vec<Upstream>,
    process: Background,
}

/// Both; ended when this value goes.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) envoy: Side,
    pub(crate) weft: Side,
}

// === impl Rig ===

impl Rig {
    /// Starts both on what `config` makes of their places: a list of listeners and a list of clusters.
    pub(crate) fn start(dir: &Path, listeners: usize, upstreams: usize, config: Config<'_>) -> Result<Self> {
        let mut envoy = Command::new(venv::envoy()?);
        envoy.args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "--log-level",
            "error",
            "-c",
        ]);
        let mut weft = Command::new(Profile::Dev.folder().join("weft-proxy"));
        weft.args([
            "run",
            "--concurrency",
            "1",
            "--drain-time",
            "0s",
            "--log-level",
            "warn",
            "-c",
        ]);
        // The last lines of its log are what it says, not where it says it.
        weft.env("RUST_BACKTRACE", "0");
        let mut envoy = Side::start("envoy", envoy, dir, (listeners, upstreams), config)?;
        let mut weft = Side::start("weft", weft, dir, (listeners, upstreams), config)?;
        envoy.wait()?;
        weft.wait()?;
        Ok(Self {
            envoy: envoy.side,
            weft: weft.side,
        })
    }

    /// Ends both; their access logs are whole then.
    pub(crate) fn stop(mut self) {
        std::thread::scope(|scope| {
            for side in [&mut self.envoy, &mut self.weft] {
                scope.spawn(|| side.process.stop(STOP_LIMIT));
            }
        });
    }
}

/// A side that is not known to be ready.
struct Starting {
    side: Side,
    admin: SocketAddr,
}

// === impl Starting ===

impl Starting {
    fn wait(&mut self) -> Result<()> {
        let mut client = Client::new(self.admin, Duration::from_secs(2));
        let ready = || client.get("/ready", &[]).is_ok_and(|answer| answer.status == 200);
        self.side.process.wait_until(START_LIMIT, ready)
    }
}

// === impl Side ===

impl Side {
    fn start(
        name: &'static str,
        mut command: Command,
        dir: &Path,
        (listeners, upstreams): (usize, usize),
        config: Config<'_>,
    ) -> Result<Starting> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let upstreams: Vec<Upstream> = (0..upstreams).map(|_| Upstream::start()).collect::<Result<_>>()?;
        // Bound together, so that no two are the same.
        let sockets: Vec<TcpListener> = (0..=listeners)
            .map(|_| Ok(TcpListener::bind((own_address(name), 0))?))
            .collect::<Result<_>>()?;
        let mut listeners: Vec<SocketAddr> = sockets
            .iter()
            .map(|socket| Ok(socket.local_addr()?))
            .collect::<Result<_>>()?;
        drop(sockets);
        let admin = listeners.pop().context("one more than listeners")?;
        let places = Places {
            listeners,
            upstreams: upstreams.iter().map(|upstream| upstream.address).collect(),
            dir: dir.clone(),
        };
        let (listeners, clusters) = config(&places);
        let bootstrap = json!({
            "node": {"id": "rig", "cluster": "rig"},
            "admin": {"address": socket(admin)},
            "static_resources": {"listeners": listeners, "clusters": clusters},
        });
        let file = dir.join("bootstrap.json");
        std::fs::write(&file, serde_json::to_vec_pretty(&bootstrap)?)?;
        let process = Background::start(name, command.arg(file), dir.join("output.log"))?;
        let side = Self {
            places,
            upstreams,
            process,
        };
        Ok(Starting { side, admin })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Fails with the last lines of its log if it has ended.
    pub(crate) fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }
}

/// No other process and not the other side listens on this address of loopback, and nobody has connections from it; so a port that was
/// free stays so until the proxy starts.
fn own_address(name: &str) -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let side = if name == "envoy" { 0x80 } else { 0xc0 };
    Ipv4Addr::new(127, side | (high & 0x3f), middle, low)
}

/// An address as Envoy writes it.
pub(crate) fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}

/// Objects are merged, everything else is replaced.
pub(crate) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// A listener of HTTP with these fields of its connection manager.
pub(crate) fn http_listener(name: &str, address: SocketAddr, manager: &Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "server_name": "proxy",
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    merge(&mut config, manager);
    let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": config});
    json!({"name": name, "address": socket(address), "filter_chains": [{"filters": [filter]}]})
}

/// A cluster of one endpoint.
pub(crate) fn cluster(name: &str, endpoint: SocketAddr, fields: &Value) -> Value {
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(endpoint)}}]}]},
    });
    merge(&mut cluster, fields);
    cluster
}
