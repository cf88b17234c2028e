//! The server behind every subject: keep-alive HTTP/1.1, one thread a connection, answers that are ready-made.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Result;

/// Bytes of the ordinary answer's body.
const BODY_BYTES: usize = 1024;
/// Bytes of the body that `/bulk` answers.
pub(super) const BULK_BYTES: usize = 64 << 20;
/// Requests longer than this are not ours; the connection ends.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// Starts the backend for the rest of the process's life and returns its address.
pub(super) fn start() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let small: Arc<[u8]> = answer(BODY_BYTES).into();
    let bulk: Arc<[u8]> = answer(BULK_BYTES).into();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let (small, bulk) = (Arc::clone(&small), Arc::clone(&bulk));
            std::thread::spawn(move || serve(connection, &small, &bulk));
        }
    });
    Ok(address)
}

fn answer(length: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

/// Answers requests until the peer closes; a broken connection is the load generator's end of a round.
fn serve(mut connection: TcpStream, small: &[u8], bulk: &[u8]) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut buffer = vec![0; REQUEST_BYTES_MAX];
    let mut filled = 0;
    loop {
        match connection.read(&mut buffer[filled..]) {
            Ok(0) => return None,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return None,
        }
        // No subject sends a second request before the answer to the first one, and none has a body.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            let answer = if buffer.starts_with(b"GET /bulk") { bulk } else { small };
            connection.write_all(answer).ok()?;
            filled = 0;
        }
    }
}
