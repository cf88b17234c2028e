//! Serving a downstream HTTP/2 connection to its end: requests beside each other, each in a task of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use super::connection::{End, HttpConnection};
use super::received::ReceivedHead;
use super::request::{self, Received};
use super::upgrade::ClientSwitch;
use crate::body::client::{ComingBody, Interim};
use crate::error::ResponseFlags;
use crate::http2::connection::{Connection, Event, Settings};
use crate::http2::exchange::ServerStream;
use crate::http2::head::{HeadFault, Limits, Request};
use crate::http2::received_body::ReceivedBody;
use crate::http2::server::ServerConnection;
use crate::journal::say;
use crate::runtime::connection_manager::ConnectionManager;
use crate::stream::Stream;

/// Serves a connection until either side wants it closed.
pub(super) async fn serve(stream: Stream, connection: &Rc<HttpConnection>, manager: &ConnectionManager) {
    let options = &manager.model.http2;
    let settings = Settings {
        limits: Limits {
            bytes_max: manager.model.header_bytes_max,
            count_max: manager.model.header_count_max as usize,
        },
        streams_max: options.concurrent_streams_max,
        stream_window_bytes: options.stream_window_bytes,
        connection_window_bytes: options.connection_window_bytes,
        extended_connect: options.allow_connect,
    };
    let mut server = ServerConnection::new(stream, settings);
    let wire = server.connection().clone();
    // A client that never stops to send is told of the end, too.
    let mut ending = pin!(unconstrained(connection.end()));
    let mut leaving = false;
    let mut clock = Clock::new(manager);
    loop {
        let event = tokio::select! {
            biased;
            event = server.next() => event,
            end = &mut ending, if !leaving => {
                leaving = true;
                match end {
                    End::Gracefully => wire.leave(),
                    End::Now => wire.leave_now(),
                }
                continue;
            }
            () = unconstrained(poll_fn(|cx| clock.poll(&wire, cx))) => {
                say!(connection.info.journal, "the client is given up");
                wire.leave_now();
                break;
            }
        };
        match event {
            None => break,
            Some(Event::Request(head, stream, body)) => {
                connection.asked();
                connection.worker.spawn(answer(connection.clone(), head, stream, body));
            }
            Some(Event::Refused(fault)) => {
                connection.asked();
                let (flag, details) = of_head(fault);
                request::refuse_unanswered(connection, flag, details);
            }
        }
    }
    server.close(manager.model.delayed_close_timeout).await;
}

/// Answers one request.
async fn answer(connection: Rc<HttpConnection>, head: Box<Request>, stream: ServerStream, body: ReceivedBody) {
    let received = Received {
        interim: connection.passes_interim().then(|| Interim::Http2(stream.interim())),
        head: ReceivedHead::from(*head),
        body: ComingBody::Http2(body),
        switch: stream.tunnel().map_or(ClientSwitch::None, ClientSwitch::Http2),
        stream: Some(stream.at().clone()),
    };
    let served = pin!(request::serve(connection.clone(), received));
    let answered = stream.while_there(served).await;
    connection.answered();
    if let Some(response) = answered {
        let (parts, body) = response.into_parts();
        let date = connection.worker.date.at(SystemTime::now());
        stream.answer(parts, body, &date).await;
    }
}

/// What Envoy's log says of a head that is none.
fn of_head(fault: HeadFault) -> (ResponseFlags, &'static str) {
    match fault {
        HeadFault::TooLarge => (
            ResponseFlags::DOWNSTREAM_REMOTE_RESET,
            "http2.header_list_size_too_large",
        ),
        HeadFault::TooMany => (ResponseFlags::DOWNSTREAM_REMOTE_RESET, "http2.too_many_headers"),
        HeadFault::Field(_) => (ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, "http2.invalid.header.field"),
        HeadFault::Message(_) => (
            ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR,
            "http2.violation.of.messaging.rule",
        ),
    }
}

/// What a client has time for. Its timer is there only where it waits for something.
#[derive(Debug)]
struct Clock {
    timer: Option<Pin<Box<Sleep>>>,
    /// From a head's first frame to its last; zero is without bound.
    head: Duration,
    /// For taking something of what waits to be written; zero is without bound.
    write: Duration,
    /// For answering that it goes elsewhere.
    drain: Duration,
    keepalive: Option<(Duration, Duration)>,
    pinged_at: Instant,
    /// What it had taken when, where something waited for it.
    taken: Option<(u64, Instant)>,
    left_at: Option<Instant>,
}

// === impl Clock ===

impl Clock {
    fn new(manager: &ConnectionManager) -> Self {
        let model = &manager.model;
        Self {
            timer: None,
            head: match model.request_headers_timeout {
                Duration::ZERO => model.stream_idle_timeout,
                limit => limit,
            },
            write: model.stream_idle_timeout,
            drain: model.drain_timeout,
            keepalive: model
                .http2
                .keepalive_interval
                .map(|interval| (interval, model.http2.keepalive_timeout)),
            pinged_at: Instant::now(),
            taken: None,
            left_at: None,
        }
    }

    /// Ready when the client took too long for something.
    fn poll(&mut self, wire: &Connection, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(due) = self.due(wire) else {
                self.timer = None;
                return Poll::Pending;
            };
            if self.timer.as_ref().is_none_or(|timer| timer.deadline() > due) {
                self.timer = Some(Box::pin(tokio::time::sleep_until(due)));
            }
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
                self.timer = None;
            }
            if self.is_over(wire, Instant::now()) {
                return Poll::Ready(());
            }
        }
    }

    /// When the next of its times may be over.
    fn due(&mut self, wire: &Connection) -> Option<Instant> {
        let (waiting, taken) = wire.written();
        if waiting == 0 {
            self.taken = None;
        } else if self.taken.is_none_or(|(before, _)| before != taken) {
            self.taken = Some((taken, Instant::now()));
        }
        if wire.is_leaving() && self.left_at.is_none() {
            self.left_at = Some(Instant::now());
        }
        let head = wire.head_since().and_then(|since| after(since, self.head));
        let write = self.taken.and_then(|(_, since)| after(since, self.write));
        let drain = self
            .left_at
            .filter(|_| wire.is_leaving())
            .map(|since| since + self.drain);
        let keepalive = self
            .keepalive
            .map(|(interval, timeout)| self.pinged_at + if wire.is_pinged() { timeout } else { interval });
        [head, write, drain, keepalive].into_iter().flatten().min()
    }

    /// Whether one of its times is over; else the connection is told what is due.
    fn is_over(&mut self, wire: &Connection, now: Instant) -> bool {
        let is_due = |since: Instant, limit: Duration| after(since, limit).is_some_and(|due| due <= now);
        if wire.head_since().is_some_and(|since| is_due(since, self.head))
            || self.taken.is_some_and(|(_, since)| is_due(since, self.write))
        {
            return true;
        }
        if wire.is_leaving() && self.left_at.is_some_and(|since| since + self.drain <= now) {
            wire.leave_now();
        }
        let Some((interval, timeout)) = self.keepalive else {
            return false;
        };
        if wire.is_pinged() {
            return self.pinged_at + timeout <= now;
        }
        if self.pinged_at + interval <= now {
            self.pinged_at = now;
            wire.ping();
        }
        false
    }
}

/// A limit's end; `None` for a limit of zero, which is none.
fn after(start: Instant, limit: Duration) -> Option<Instant> {
    (!limit.is_zero()).then(|| start + limit)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http2::frame;

    const SECOND: Duration = Duration::from_secs(1);

    fn clock() -> Clock {
        Clock {
            timer: None,
            head: SECOND * 2,
            write: SECOND * 3,
            drain: SECOND * 4,
            keepalive: None,
            pinged_at: Instant::now(),
            taken: None,
            left_at: None,
        }
    }

    fn wire() -> Rc<Connection> {
        let settings = Settings {
            limits: Limits {
                bytes_max: 1000,
                count_max: 10,
            },
            streams_max: 1,
            stream_window_bytes: 1000,
            connection_window_bytes: 100_000,
            extended_connect: false,
        };
        let wire = Connection::new(settings, Instant::now());
        wire.take_output();
        say(&wire, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        wire.take_output();
        wire
    }

    fn say(wire: &Rc<Connection>, bytes: &[u8]) {
        assert!(wire.take(&mut BytesMut::from(bytes), Instant::now()).is_none());
    }

    /// Seconds until a client is given up, at most twenty.
    async fn check(mut clock: Clock, wire: &Rc<Connection>, expected: Option<u64>) {
        let begun = Instant::now();
        let over = tokio::time::timeout(SECOND * 20, poll_fn(|cx| clock.poll(wire, cx))).await;
        assert_eq!(over.is_ok().then(|| begun.elapsed().as_secs()), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_so_much_time() {
        check(clock(), &wire(), None).await;
        // Half a head.
        let half = wire();
        say(&half, b"\0\0\x01\x01\x01\0\0\0\x01\x82");
        check(clock(), &half, Some(2)).await;
        // What it does not take.
        let full = wire();
        let mut ping = Vec::new();
        frame::ping(&mut ping, [0; 8], false);
        say(&full, &ping);
        check(clock(), &full, Some(3)).await;
        // It is asked whether it is there, and does not answer.
        let keepalive = Clock {
            keepalive: Some((SECOND * 10, SECOND * 5)),
            write: Duration::ZERO,
            ..clock()
        };
        check(keepalive, &wire(), Some(15)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_hear_is_sent_away_all_the_same() {
        let wire = wire();
        wire.leave();
        wire.take_output();
        let (mut clock, begun) = (clock(), Instant::now());
        while wire.is_leaving() {
            let _ = tokio::time::timeout(SECOND, poll_fn(|cx| clock.poll(&wire, cx))).await;
        }
        assert_eq!((begun.elapsed().as_secs(), wire.is_over()), (4, true));
    }
}
