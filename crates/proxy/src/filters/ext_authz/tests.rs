//! Changes of requests, and answers that are none.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use super::grpc;
use super::verdict::{Change, Changes, How};
use crate::filters::ask::{Answered, NoAnswer};
use crate::stream_info::request::{RequestHead, Scheme};

fn head(path: &str) -> RequestHead {
    RequestHead {
        method: http::Method::GET,
        scheme: Scheme::Http,
        authority: HeaderValue::from_static("e"),
        path: path.parse().unwrap(),
        headers: HeaderMap::new(),
        version: Version::HTTP_11,
        grpc: false,
        grpc_upstream: false,
        upgrade: None,
    }
}

#[test]
fn headers_change_as_they_are_told() {
    let check = |how: How, there: &[&str], expected: &[&str]| {
        let name = HeaderName::from_static("x-a");
        let mut headers = HeaderMap::new();
        for value in there {
            headers.append(&name, value.parse().unwrap());
        }
        let change = Change {
            name: name.clone(),
            value: HeaderValue::from_static("new"),
            how,
        };
        change.apply(&mut headers);
        let found: Vec<&HeaderValue> = headers.get_all(&name).iter().collect();
        assert_eq!(found, expected, "{how:?} {there:?}");
    };
    check(How::Append, &[], &["new"]);
    check(How::Append, &["a"], &["a", "new"]);
    check(How::Join, &[], &[]);
    check(How::Join, &["a", "b"], &["a,b,new"]);
    check(How::AddIfAbsent, &[], &["new"]);
    check(How::AddIfAbsent, &["a"], &["a"]);
    check(How::Overwrite, &[], &["new"]);
    check(How::Overwrite, &["a", "b"], &["new"]);
    check(How::OverwriteIfThere, &[], &[]);
    check(How::OverwriteIfThere, &["a"], &["new"]);
}

#[test]
fn where_messages_end_is_not_changed() {
    let change = |name: &'static str, value: &'static str| Change {
        name: HeaderName::from_static(name),
        value: HeaderValue::from_static(value),
        how: How::Overwrite,
    };
    let changes = Changes {
        request: vec![
            change("content-length", "99"),
            change("transfer-encoding", "chunked"),
            change("upgrade", "h2c"),
            change("x-user", "u"),
        ],
        remove: vec![
            HeaderName::from_static("content-length"),
            HeaderName::from_static("x-secret"),
        ],
        ..Changes::default()
    };
    let mut head = head("/");
    head.headers.insert("content-length", HeaderValue::from_static("5"));
    head.headers.insert("x-secret", HeaderValue::from_static("s"));
    changes.apply(&mut head);
    let found: Vec<(&str, &str)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(found, [("content-length", "5"), ("x-user", "u")]);
}

#[test]
fn the_query_changes() {
    let check = |path: &str, expected: &str| {
        let changes = Changes {
            query_set: vec![("who".to_owned(), "me".to_owned())],
            query_remove: vec!["token".to_owned()],
            ..Changes::default()
        };
        let mut head = head(path);
        changes.apply(&mut head);
        assert_eq!(head.path.as_str(), expected);
    };
    check("/p", "/p?who=me");
    check("/p?token=1&a=b", "/p?a=b&who=me");
    check("/p?who=you&tokens=2", "/p?tokens=2&who=me");
}

#[test]
fn what_is_no_answer_of_the_service_decides_nothing() {
    let check = |status: u16, grpc_status: Option<&str>, body: &'static [u8]| {
        let mut trailers = HeaderMap::new();
        if let Some(code) = grpc_status {
            trailers.insert("grpc-status", code.parse().unwrap());
        }
        let answer = Answered {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body),
            trailers,
        };
        assert_eq!(grpc::verdict(&answer, std::time::Duration::ZERO), Err(NoAnswer::Broken));
    };
    check(503, None, b"");
    check(200, Some("14"), b"");
    check(200, None, b"\0\0\0\0\0");
    check(200, Some("0"), b"");
    check(200, Some("0"), b"\x01\0\0\0\0");
    check(200, Some("0"), b"\0\0\0\0\x02\xff\xff");
}
