//! Numbers and addresses as text, without the machinery of `std::fmt`: a log line has a dozen of them.

use std::net::{IpAddr, SocketAddr};

/// Appends a number.
pub(super) fn integer(out: &mut String, value: impl itoa::Integer) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// Appends the last `width` digits of a number, with zeros in front.
pub(super) fn padded(out: &mut String, value: u32, width: u32) {
    for place in (0..width).rev() {
        let digit = value / 10_u32.pow(place) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

/// Appends an IP address.
pub(super) fn ip(out: &mut String, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push('.');
                }
                integer(out, octet);
            }
        }
        IpAddr::V6(address) => out.push_str(&address.to_string()),
    }
}

/// Appends an address with its port.
pub(super) fn socket(out: &mut String, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            ip(out, IpAddr::V4(*address.ip()));
            out.push(':');
            integer(out, address.port());
        }
        SocketAddr::V6(address) => out.push_str(&address.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_text_that_fmt_writes() {
        for text in [
            "127.0.0.1:80",
            "0.0.0.0:0",
            "255.10.99.1:65535",
            "[::1]:8080",
            "[fe80::1%3]:1",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let mut out = String::new();
            socket(&mut out, address);
            out.push(' ');
            ip(&mut out, address.ip());
            assert_eq!(out, format!("{address} {}", address.ip()));
        }
        for (value, width, expected) in [(7, 3, "007"), (2026, 4, "2026"), (0, 2, "00"), (59, 2, "59")] {
            let mut out = String::new();
            padded(&mut out, value, width);
            assert_eq!(out, expected);
        }
    }
}
