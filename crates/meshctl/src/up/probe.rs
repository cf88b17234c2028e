//! Asks whether a program is ready to take traffic.

use std::time::Duration;

use tokio::net::TcpStream;
use weft_api::local_mesh::DataPlane;

use crate::fetch;
use crate::up::commands::local;
use crate::up::plan::Member;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// What is asked.
    pub question: Question,
    /// How long the answer may take.
    pub timeout: Duration,
}

/// How a program is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// `GET path` on a port of 127.0.0.1 answers a status from 200 to 399, as Kubernetes' `httpGet`.
    Http {
        /// `host:port`.
        address: String,
        /// Path, with its slash.
        path: String,
    },
    Tcp {
        /// `host:port`.
        address: String,
    },
}

// === impl Probe ===

impl Probe {
    /// A page that must answer.
    pub(crate) fn http(address: &str, path: &str, timeout: Duration) -> Self {
        let (address, path) = (address.to_owned(), path.to_owned());
        let question = Question::Http { address, path };
        Self { question, timeout }
    }

    /// A port that must accept connections.
    pub(crate) fn tcp(address: String, timeout: Duration) -> Self {
        let question = Question::Tcp { address };
        Self { question, timeout }
    }

    /// The readiness page of a member's proxy: our own has a port for it, as Istio's; a stock Envoy has its admin page.
    pub(crate) fn of_proxy(member: &Member, timeout: Duration) -> Self {
        match member.data_plane {
            DataPlane::Weft => Self::http(&local(member.readiness), "/healthz/ready", timeout),
            DataPlane::Envoy => Self::http(&local(member.admin), "/ready", timeout),
        }
    }

    /// Asks once; the error says what is wrong.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let timeout = self.timeout;
        match &self.question {
            Question::Tcp { address } => match tokio::time::timeout(timeout, TcpStream::connect(address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("cannot connect to {address}: {error}")),
                Err(_) => Err(format!("cannot connect to {address} within {timeout:?}")),
            },
            Question::Http { address, path } => match fetch::get(address, path, timeout).await {
                Ok(answer) if (200..400).contains(&answer.status.as_u16()) => Ok(()),
                Ok(answer) => {
                    let text = String::from_utf8_lossy(&answer.body);
                    let first = text.lines().next().unwrap_or_default();
                    Err(format!(
                        "http://{address}{path} answers {} {first}",
                        answer.status.as_u16()
                    ))
                }
                Err(error) => Err(format!("{error:#}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use weft_base::shutdown::Shutdown;

    use super::*;

    fn probe(question: Question) -> Probe {
        let timeout = Duration::from_secs(10);
        Probe { question, timeout }
    }

    async fn server(shutdown: &Shutdown, status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        shutdown.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 4\r\n\r\nbusy");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn http_probes_look_at_the_status() {
        let shutdown = Shutdown::new();
        for (status, ready) in [
            ("200 OK", true),
            ("302 Found", true),
            ("404 Not Found", false),
            ("503 No", false),
        ] {
            let address = server(&shutdown, status).await;
            let path = "/healthz".to_owned();
            let result = probe(Question::Http { address, path }).check().await;
            assert_eq!(result.is_ok(), ready, "{status}: {result:?}");
        }
    }

    #[tokio::test]
    async fn tcp_probes_connect() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let probe = probe(Question::Tcp { address });
        assert_eq!(probe.check().await, Ok(()));
        drop(listener);
        let error = probe.check().await.unwrap_err();
        assert!(error.contains("cannot connect"), "{error}");
    }
}
