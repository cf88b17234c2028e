//! Carries connections from the host's loopback to the API server inside the first node's network.
//!
//! It listens before it moves into the node's network, so the listener stays outside and new connections are made inside.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::layout::{API_PORT, FIRST_NODE, Layout};

/// More connections at once than this are closed at once.
const CONNECTIONS: usize = 512;

/// What the hidden verb is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    cluster: String,
}

/// Runs until it is ended from outside.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cluster = Layout::new(&arguments.cluster)?;
    let node = cluster.node(FIRST_NODE);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback")?;
    let port = listener.local_addr()?.port();
    let namespace = File::open(node.namespace_file()).context("cannot open the node's network")?;
    // Threads started from here on are in the node's network, too.
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter the node's network")?;
    let target: SocketAddr = format!("{}:{API_PORT}", node.address()).parse()?;
    let unfinished = cluster.state().join("port.unfinished");
    fs::write(&unfinished, port.to_string())?;
    fs::rename(unfinished, cluster.forwarder_port())?;
    let open = Arc::new(AtomicUsize::new(0));
    for client in listener.incoming() {
        let client = client.context("cannot accept")?;
        if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let open = Arc::clone(&open);
        std::thread::spawn(move || {
            if let Err(error) = carry(&client, target) {
                eprintln!("connection: {error}");
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

/// Both ways until both sides have ended theirs.
fn carry(client: &TcpStream, target: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    std::thread::scope(|scope| {
        let back = scope.spawn(|| one_way(&server, client));
        let there = one_way(client, &server);
        let back = back.join().unwrap_or(Ok(()));
        there.and(back)
    })
}

fn one_way(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    // The peer may have closed first; then there is nothing left to shut.
    let _ = to.shutdown(Shutdown::Write);
    if copied.is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    copied.map(drop)
}
