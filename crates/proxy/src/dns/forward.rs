//! Asking the servers that the pod would have asked. Queries and answers pass as they are, but for the id.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long one server may take.
const SERVER_LIMIT: Duration = Duration::from_secs(2);

/// How often all servers are asked.
pub(super) const ROUNDS: u32 = 2;

/// The longest answer over UDP.
const ANSWER_BYTES_MAX: usize = 4096;

/// Asks one server after the other; `None` if none answers. `id` is a random number.
pub(super) async fn ask(query: &[u8], servers: &[SocketAddr], udp: bool, id: u16) -> Option<Vec<u8>> {
    let own: [u8; 2] = query.get(..2)?.try_into().ok()?;
    let mut asked = query.to_vec();
    // Whoever answers must know the number, and it is not the application's to choose (RFC 5452, section 9.1).
    asked[..2].copy_from_slice(&id.to_be_bytes());
    for _ in 0..ROUNDS {
        for server in servers {
            match ask_one(&asked, *server, udp).await {
                Ok(mut answer) => {
                    answer[..2].copy_from_slice(&own);
                    return Some(answer);
                }
                Err(error) => tracing::debug!(%server, %error, "dns server failed"),
            }
        }
    }
    None
}

/// Asks one server once. An answer has a whole header, and the number of the query.
pub(super) async fn ask_one(query: &[u8], server: SocketAddr, udp: bool) -> io::Result<Vec<u8>> {
    let asking = async {
        if udp {
            over_udp(query, server).await
        } else {
            over_tcp(query, server).await
        }
    };
    tokio::time::timeout(SERVER_LIMIT, asking).await?
}

/// One query from a port of its own.
async fn over_udp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let read = socket.recv(&mut answer).await?;
        // Anything else is not the answer to this query.
        if read >= 12 && answer[..2] == query[..2] {
            answer.truncate(read);
            return Ok(answer);
        }
    }
}

async fn over_tcp(query: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, query).await?;
    let answer = read_message(&mut stream).await?;
    if answer.len() < 12 || answer[..2] != query[..2] {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not an answer to the query"));
    }
    Ok(answer)
}

/// Reads a message with its length before it (RFC 1035, section 4.2.2).
pub(super) async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it.
pub(super) async fn write_message(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length =
        u16::try_from(message.len()).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "message is too long"))?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    stream.write_all(&framed).await
}
