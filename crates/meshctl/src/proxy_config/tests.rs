//! The tables of a dump, as Istio's tool prints them.

use expect_test::expect;
use time::macros::datetime;

use super::*;

fn dump() -> Dump {
    let text = include_str!("../../tests/data/config_dump.json");
    Dump::new(serde_json::from_str(text).unwrap()).unwrap()
}

#[test]
fn clusters() {
    expect![[r#"
        SERVICE FQDN                        PORT    SUBSET    DIRECTION    TYPE          DESTINATION RULE
                                            80      -         inbound      STATIC
        BlackHoleCluster                    -       -         -            STATIC
        a.example                           443     -         outbound     STRICT_DNS
        callme.default.svc.cluster.local    80      v1        outbound     EDS           callme.default
        callme.default.svc.cluster.local    80      v2        outbound     EDS           callme.default
    "#]]
    .assert_eq(&cluster::table(&dump().clusters()));
}

#[test]
fn listeners() {
    expect![[r#"
        ADDRESSES    PORT     MATCH                                                          DESTINATION
        127.0.0.1    29002    ALL                                                            Route: http_proxy
        127.0.0.1    29001    Trans: tls; App: istio-http/1.1,istio-h2; Addr: 127.0.0.0/8    Inline Route: /*
        127.0.0.1    29001    SNI: a.example,b.example; Trans: tls                           Cluster: outbound|443||a.example
        127.0.0.1    29001    ALL                                                            Cluster: BlackHoleCluster, inbound|80||
    "#]]
    .assert_eq(&listener::table(&dump().listeners()));
}

#[test]
fn routes() {
    expect![[r#"
        NAME            VHOST NAME                             DOMAINS                                                 MATCH                     VIRTUAL SERVICE
        inbound|80||    inbound|http|80                        *                                                       /*
        http_proxy      callme.default.svc.cluster.local:80    callme.default.svc.cluster.local, callme + 2 more...    /* user-agent=canary*     callme.default
        http_proxy      callme.default.svc.cluster.local:80    callme.default.svc.cluster.local, callme + 2 more...    PathPrefix:/api ?debug    reviews.shop
        http_proxy      callme.default.svc.cluster.local:80    callme.default.svc.cluster.local, callme + 2 more...    /exact
        http_proxy      callme.default.svc.cluster.local:80    callme.default.svc.cluster.local, callme + 2 more...    regex:/a.*b
        http_proxy      block_all                              *                                                       /*                        502
    "#]]
    .assert_eq(&route::table(&dump().routes()));
}

#[test]
fn secrets() {
    let dump = dump();
    expect![[r#"
        RESOURCE NAME    TYPE          STATUS    VALID CERT    SERIAL NUMBER    NOT AFTER               NOT BEFORE
        ROOTCA           CA            ACTIVE    true          1234abcd         2046-11-18T20:01:26Z    2026-11-23T20:01:26Z
        default          Cert Chain    ACTIVE    true          1234abcd         2046-11-18T20:01:26Z    2026-11-23T20:01:26Z
    "#]]
    .assert_eq(&secret::table(&dump.secrets(), datetime!(2027-01-01 0:00 UTC)));
    expect![[r#"
        RESOURCE NAME    TYPE          STATUS    VALID CERT    SERIAL NUMBER    NOT AFTER               NOT BEFORE
        ROOTCA           CA            ACTIVE    false         1234abcd         2046-11-18T20:01:26Z    2026-11-23T20:01:26Z
        default          Cert Chain    ACTIVE    false         1234abcd         2046-11-18T20:01:26Z    2026-11-23T20:01:26Z
    "#]]
    .assert_eq(&secret::table(&dump.secrets(), datetime!(2047-01-01 0:00 UTC)));
}

#[test]
fn endpoints() {
    let text = include_str!("../../tests/data/clusters.json");
    let page: Value = serde_json::from_str(text).unwrap();
    expect![[r#"
        ENDPOINT           STATUS       OUTLIER CHECK    CLUSTER
        127.0.0.1:29000    HEALTHY      OK               inbound|80||
        127.0.0.1:29011    HEALTHY      OK               outbound|80|v1|callme.default.svc.cluster.local
        127.0.0.1:29012    UNHEALTHY    OK               outbound|80|v1|callme.default.svc.cluster.local
        127.0.0.1:29021    HEALTHY      OK               outbound|80|v2|callme.default.svc.cluster.local
        [::1]:29443        HEALTHY      OK               outbound|443||a.example
    "#]]
    .assert_eq(&endpoint::table(&endpoint::statuses(&page).unwrap()));
}

#[test]
fn other_json_is_bad_data() {
    let error = Dump::new(serde_json::json!({"clusters": []})).unwrap_err();
    assert_eq!(Exit::of(&error.into()), Exit::BadData);
    assert!(endpoint::statuses(&serde_json::json!([])).is_err());
    assert!(endpoint::statuses(&serde_json::json!({})).unwrap().is_empty());
}
