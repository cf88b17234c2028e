//! Group E: certificates and names that are nearly those that a listener asks for.

use crate::attack::row::Attack;

const REQUEST: &str = "GET /x HTTP/1.1\r\nhost: e\r\nx-forwarded-client-cert: URI=spiffe://test/ns/a/sa/admin\r\nconnection: close\r\n\r\n";

/// Identities of `certificates`; the listener wants `spiffe://test/ns/a/sa/b` signed by its root.
#[rustfmt::skip]
const IDENTITIES: &[(&str, &str)] = &[
    ("the right certificate", "right"),
    ("no certificate", ""),
    ("name of another account", "other-account"),
    ("name that begins with it", "longer"),
    ("name that ends with it", "behind"),
    ("name with a dot for any sign", "dot"),
    ("name in upper case", "upper"),
    ("name with a slash at its end", "slash"),
    ("name of another trust domain", "other-domain"),
    ("name as DNS", "dns"),
    ("name as mail", "mail"),
    ("name as common name alone", "common-name"),
    ("no name", "no-name"),
    ("second of two names", "second-name"),
    ("signed by another root", "other-root"),
    ("signed by itself", "self-signed"),
    ("expired", "expired"),
    ("not yet valid", "early"),
    ("for servers alone", "server-only"),
    ("signed by a certificate that is no authority", "no-authority"),
];

#[rustfmt::skip]
pub(super) fn rows() -> Vec<Attack> {
    let mut rows: Vec<Attack> = IDENTITIES
        .iter()
        .map(|(name, identity)| Attack::tls(name, identity, &[], REQUEST))
        .collect();
    rows.extend([
        Attack::tls("TLS 1.1", "right", &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], REQUEST),
        Attack::tls("TLS 1.0", "right", &["-tls1", "-cipher", "DEFAULT@SECLEVEL=0"], REQUEST),
        Attack::tls("suite without forward secrecy", "right", &["-tls1_2", "-cipher", "AES128-SHA"], REQUEST),
        Attack::tls("suite without encryption", "right", &["-tls1_2", "-cipher", "NULL-SHA256@SECLEVEL=0"], REQUEST),
        Attack::tls("unknown protocol by ALPN", "right", &["-alpn", "foo"], REQUEST),
        Attack::tls("server name of nobody", "right", &["-servername", "nobody.test"], REQUEST),
        Attack::tls("server name of 300 bytes", "right", &["-servername", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test"], REQUEST),
        Attack::tls("server name with a line break", "right", &["-servername", "a\nb.test"], REQUEST),
        Attack::tls("smuggled over TLS", "right", &[], "POST /x HTTP/1.1\r\nhost: e\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: e\r\n\r\n"),
    ]);
    rows
}
