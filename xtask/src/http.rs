//! A small HTTP/1.1 client for the demo and scenarios: keep-alive GET, bodies with a length or in chunks.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Longer bodies and lines are not ours.
const BODY_BYTES_MAX: usize = 8 << 20;
const LINE_BYTES_MAX: u64 = 16 << 10;

/// A connection that is opened when it is needed and kept.
#[derive(Debug)]
pub(crate) struct Client {
    target: SocketAddr,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

// === impl Client ===

impl Client {
    /// A client that is not connected yet; `timeout` is for one read.
    pub(crate) fn new(target: SocketAddr, timeout: Duration) -> Self {
        Self {
            target,
            timeout,
            connection: None,
        }
    }

    /// GET with further header lines; an error closes the connection.
    pub(crate) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n{lines}\r\n", self.target);
        connection.get_mut().write_all(request.as_bytes())?;
        let (answer, keep) = read_answer(&mut connection)?;
        if keep {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.target).with_context(|| format!("cannot connect to {}", self.target))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

/// The answer, and whether the connection can be used again.
fn read_answer(connection: &mut impl BufRead) -> Result<(Answer, bool)> {
    let status_line = read_line(connection)?;
    let status = status_line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.with_context(|| format!("not an HTTP answer: {status_line:?}"))?;
    let (mut length, mut chunked, mut keep) = (None, false, true);
    loop {
        let line = read_line(connection)?.to_ascii_lowercase();
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        match (name, value.trim()) {
            ("content-length", value) => length = Some(value.parse::<usize>()?),
            ("transfer-encoding", "chunked") => chunked = true,
            ("connection", "close") => keep = false,
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(connection, &mut body)?;
    } else if let Some(length) = length {
        read_bytes(connection, &mut body, length)?;
    } else if status != 204 && status != 304 {
        connection.read_to_end(&mut body)?;
        keep = false;
    }
    Ok((Answer { status, body }, keep))
}

fn read_chunks(connection: &mut impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let size = read_line(connection)?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            while !read_line(connection)?.is_empty() {}
            return Ok(());
        }
        read_bytes(connection, body, size)?;
        read_line(connection)?;
    }
}

fn read_bytes(connection: &mut impl Read, body: &mut Vec<u8>, count: usize) -> Result<()> {
    let start = body.len();
    ensure!(
        start + count <= BODY_BYTES_MAX,
        "an answer of more than {BODY_BYTES_MAX} bytes"
    );
    body.resize(start + count, 0);
    connection.read_exact(&mut body[start..])?;
    Ok(())
}

fn read_line(connection: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    connection.take(LINE_BYTES_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') {
        bail!("the connection was closed");
    }
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wire: &str, status: u16, body: &str, keeps: bool) {
        let (answer, keep) = read_answer(&mut wire.as_bytes()).unwrap();
        assert_eq!(
            (answer.status, answer.body.as_slice(), keep),
            (status, body.as_bytes(), keeps),
            "{wire}"
        );
    }

    #[test]
    fn answers_are_read_by_their_framing() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", true);
        check(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            200,
            "ok",
            true,
        );
        check(
            "HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            503,
            "",
            false,
        );
        check("HTTP/1.1 200 OK\r\n\r\nall", 200, "all", false);
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true);
    }

    #[test]
    fn a_broken_answer_is_an_error() {
        assert!(read_answer(&mut "nonsense\r\n\r\n".as_bytes()).is_err());
        assert!(read_answer(&mut "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab".as_bytes()).is_err());
    }
}
