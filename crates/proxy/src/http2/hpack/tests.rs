//! Blocks read and written, beside the examples of RFC 7541 and a table of what is none.

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::decode::{BlockError, Decoder, Field, Name, Value};
use super::encode::Encoder;

fn bytes(hex: &str) -> Bytes {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn text(field: &Field) -> String {
    let value = match &field.value {
        Value::Header(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
        Value::Raw(value) => String::from_utf8_lossy(value).into_owned(),
        Value::Malformed => "?".to_owned(),
    };
    match &field.name {
        Name::Pseudo(pseudo) => format!(":{pseudo:?}={value}"),
        Name::Field(name) => format!("{name}={value}"),
        Name::Malformed => format!("?={value}"),
    }
}

fn decode(decoder: &mut Decoder, block: Bytes) -> Result<String, BlockError> {
    let mut said = Vec::new();
    decoder.decode(block, |field, _| said.push(text(&field)))?;
    Ok(said.join(" "))
}

/// What blocks of one connection say, one after the other.
#[track_caller]
fn check(blocks: &[(&str, Result<&str, BlockError>)]) {
    let mut decoder = Decoder::default();
    for (hex, expected) in blocks {
        let found = decode(&mut decoder, bytes(hex));
        assert_eq!(found, expected.map(str::to_owned), "{hex}");
    }
}

/// RFC 7541, appendix C.3 and C.4.
#[test]
fn the_examples_are_read() {
    let first = ":Method=GET :Scheme=http :Path=/ :Authority=www.example.com";
    let second = format!("{first} cache-control=no-cache");
    let third = ":Method=GET :Scheme=https :Path=/index.html :Authority=www.example.com custom-key=custom-value";
    check(&[
        ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", Ok(first)),
        ("8286 84be 5808 6e6f 2d63 6163 6865", Ok(&second)),
        (
            "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            Ok(third),
        ),
    ]);
    check(&[
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", Ok(first)),
        ("8286 84be 5886 a8eb 1064 9cbf", Ok(&second)),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", Ok(third)),
    ]);
}

#[test]
fn what_is_no_block_is_refused() {
    for hex in [
        "80",                // index 0
        "be",                // nothing is there
        "ff ffffff ffff 7f", // a number without bound
        "ff 80808080 8001",  // with zeros
        "40",                // no name
        "00 01",             // half a name
        "00 01 61",          // no value
        "00 01 61 05 62",    // half a value
        "00 81 ff 00",       // a name that is no code
        "7e 00",             // the name of an entry that is not there
        "82 20",             // the size behind a field
        "3f e2 1f",          // a size of 4097
    ] {
        check(&[(hex, Err(BlockError))]);
    }
    check(&[("", Ok("")), ("3f e1 1f 20 82", Ok(":Method=GET"))]);
}

#[test]
fn fields_that_http_does_not_have_are_told_as_such() {
    check(&[
        ("40 01 41 01 62", Ok("?=?")),
        ("be", Ok("?=?")),
        ("40 01 61 01 0a", Ok("a=?")),
        // The name is a good one all the same.
        ("7e 01 62 00 04 3a666f6f 00", Ok("a=b ?=?")),
    ]);
}

#[test]
fn the_oldest_makes_room() {
    let long = |name: &str| format!("40 01 {name} 7f d1 0e {}", "76".repeat(2000));
    let value = "v".repeat(2000);
    check(&[
        (&long("61"), Ok(&format!("a={value}"))),
        (&long("62"), Ok(&format!("b={value}"))),
        ("bf be", Ok(&format!("a={value} b={value}"))),
        (&long("63"), Ok(&format!("c={value}"))),
        ("bf", Ok(&format!("b={value}"))),
        ("c0", Err(BlockError)),
    ]);
    check(&[
        (&long("61"), Ok(&format!("a={value}"))),
        ("20 3f e1 1f", Ok("")),
        ("be", Err(BlockError)),
    ]);
}

fn headers(fields: &[(String, String)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_str(value).unwrap(),
            )
        })
        .collect()
}

#[test]
fn what_is_said_again_becomes_a_byte() {
    let answer = headers(&[
        ("server".to_owned(), "weft".to_owned()),
        ("x-own".to_owned(), "1".to_owned()),
        ("content-length".to_owned(), "5".to_owned()),
    ]);
    let mut encoder = Encoder::default();
    let lengths: Vec<usize> = (0..4)
        .map(|_| {
            let mut out = Vec::new();
            encoder.answer(&mut out, StatusCode::OK, &answer);
            out.len()
        })
        .collect();
    assert_eq!(lengths, [1 + 7 + 9 + 4, 1 + 6 + 9 + 4, 1 + 1 + 1 + 4, 1 + 1 + 1 + 4]);
}

/// Fields of which some repeat.
fn fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let name = prop_oneof![
        Just("server".to_owned()),
        Just("content-type".to_owned()),
        Just("set-cookie".to_owned()),
        "x-[a-e]",
        "x-[a-z]{1,20}",
    ];
    let value = prop_oneof!["[ab]", "[ -~]{0,40}", "v{0,300}"];
    proptest::collection::vec((name, value), 0..12)
}

proptest! {
    /// A peer reads what was written, whatever it lets the table be meanwhile.
    #[test]
    fn what_was_written_is_read(
        answers in proptest::collection::vec((fields(), 200_u16..600, proptest::option::of(0_u32..5000), 1..4), 1..12),
    ) {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for (fields, status, table, times) in answers {
            if let Some(bytes) = table {
                encoder.resize(bytes);
            }
            let headers = headers(&fields);
            for _ in 0..times {
                let mut out = Vec::new();
                encoder.answer(&mut out, StatusCode::from_u16(status).unwrap(), &headers);
                let mut expected = format!(":Status={status}");
                for (name, value) in &headers {
                    expected.push_str(&format!(" {name}={}", value.to_str().unwrap()));
                }
                prop_assert_eq!(decode(&mut decoder, out.into()), Ok(expected));
            }
        }
    }

    /// Nothing panics, and a block says no more fields than it has bytes.
    #[test]
    fn any_bytes_come_to_an_end(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..6)) {
        let mut decoder = Decoder::default();
        for block in blocks {
            let (most, mut count) = (block.len(), 0);
            let _ = decoder.decode(block.into(), |_, _| count += 1);
            prop_assert!(count <= most);
        }
    }
}
