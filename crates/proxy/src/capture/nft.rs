//! The plan as a script for `nft -f -`: one table of our own, replaced as a whole in one transaction.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::plan::{Dns, Interface, Owner, Plan, Ports, Ranges};

/// Our table. The family `inet` takes IPv4 and IPv6 alike, so that neither is a way around.
pub const TABLE: &str = "inet weft";

/// What the script takes away: an empty table is made first, so that there is one to delete.
pub fn cleanup() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

/// The whole script. Run again it gives the same table; run with another plan, that one's.
pub fn script(plan: &Plan) -> String {
    let mut text = cleanup();
    text.push_str("table inet weft {\n");
    chain(
        &mut text,
        "inbound",
        "nat hook prerouting priority -100",
        &inbound(plan),
    );
    chain(&mut text, "outbound", "nat hook output priority -100", &outbound(plan));
    if let Some(dns) = &plan.dns {
        chain(
            &mut text,
            "dns_out",
            "filter hook output priority -300",
            &zones_out(plan, dns),
        );
        chain(
            &mut text,
            "dns_in",
            "filter hook prerouting priority -300",
            &zones_in(dns),
        );
    }
    if plan.drop_invalid {
        let rules = ["ct state invalid drop".to_owned()];
        chain(&mut text, "invalid", "filter hook prerouting priority -150", &rules);
    }
    text.push_str("}\n");
    text
}

fn chain(text: &mut String, name: &str, hook: &str, rules: &[String]) {
    let mut line = |line: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    line(&format!("\tchain {name} {{"));
    line(&format!("\t\ttype {hook}; policy accept;"));
    for rule in rules {
        line(&format!("\t\t{rule}"));
    }
    line("\t}");
}

fn inbound(plan: &Plan) -> Vec<String> {
    let mut rules = Vec::new();
    if !plan.excluded_interfaces.is_empty() {
        rules.push(format!("iifname {} return", interfaces(&plan.excluded_interfaces)));
    }
    if !plan.virtual_interfaces.is_empty() {
        let from = format!("iifname {}", interfaces(&plan.virtual_interfaces));
        rules.extend(destinations(plan).into_iter().map(|rule| format!("{from} {rule}")));
        rules.push(format!("{from} return"));
    }
    rules.push(format!("tcp dport {} return", plan.tunnel_port));
    let port = plan.inbound_port;
    match &plan.inbound {
        Ports::AllBut(excluded) => {
            rules.push(format!("tcp dport {} return", set(excluded)));
            rules.push(format!("meta l4proto tcp redirect to :{port}"));
        }
        Ports::Only(ports) if ports.is_empty() => {}
        Ports::Only(ports) => rules.push(format!("tcp dport {} redirect to :{port}", set(ports))),
    }
    rules
}

fn outbound(plan: &Plan) -> Vec<String> {
    let mut rules = Vec::new();
    if !plan.excluded_interfaces.is_empty() {
        rules.push(format!("oifname {} return", interfaces(&plan.excluded_interfaces)));
    }
    if !plan.excluded_ports.is_empty() {
        rules.push(format!("tcp dport {} return", set(&plan.excluded_ports)));
    }
    // What the proxy hands to its application comes from these addresses.
    rules.push("oifname \"lo\" ip saddr 127.0.0.6 return".to_owned());
    rules.push("oifname \"lo\" ip6 saddr ::6 return".to_owned());
    // The application called its own service, and the proxy chose this very pod: the call comes in as anybody's.
    let not = set(plan.not_self_calls());
    for own in &plan.owners {
        for other in ["ip daddr != 127.0.0.1", "ip6 daddr != ::1"] {
            let call = format!("oifname \"lo\" {other} tcp dport != {not}");
            rules.push(format!("{call} {} redirect to :{}", owner(*own), plan.inbound_port));
        }
    }
    rules.extend(plan.owners.iter().map(|own| format!("{} return", owner(*own))));
    if let Some(dns) = &plan.dns {
        for to in servers(dns, "daddr") {
            rules.push(format!("{to}udp dport 53 redirect to :{}", dns.port));
            rules.push(format!("{to}tcp dport 53 redirect to :{}", dns.port));
        }
    }
    rules.push("oifname \"lo\" return".to_owned());
    rules.push("ip daddr 127.0.0.1 return".to_owned());
    rules.push("ip6 daddr ::1 return".to_owned());
    rules.extend(destinations(plan));
    rules
}

/// What is captured of outbound traffic by its destination.
fn destinations(plan: &Plan) -> Vec<String> {
    let mut rules = Vec::new();
    rules.extend(by_family(&plan.excluded_ranges).map(|to| format!("{to} return")));
    let port = plan.outbound_port;
    if !plan.ports.is_empty() {
        rules.push(format!("tcp dport {} redirect to :{port}", set(&plan.ports)));
    }
    match &plan.ranges {
        Ranges::All => rules.push(format!("meta l4proto tcp redirect to :{port}")),
        Ranges::Only(ranges) => {
            rules.extend(by_family(ranges).map(|to| format!("{to} meta l4proto tcp redirect to :{port}")));
        }
    }
    rules
}

/// A query of the application and the one that the proxy asks in its place may have the same ports; in zones of their own the
/// kernel does not take them for one.
fn zones_out(plan: &Plan, dns: &Dns) -> Vec<String> {
    let mut rules = Vec::new();
    for own in &plan.owners {
        let own = owner(*own);
        rules.push(format!("{own} udp dport 53 ct zone set 1 return"));
        rules.push(format!("{own} udp sport {} ct zone set 2 return", dns.port));
    }
    rules.extend(
        servers(dns, "daddr")
            .into_iter()
            .map(|to| format!("{to}udp dport 53 ct zone set 2")),
    );
    rules
}

fn zones_in(dns: &Dns) -> Vec<String> {
    let from = servers(dns, "saddr").into_iter();
    from.map(|from| format!("{from}udp sport 53 ct zone set 1")).collect()
}

/// Matches of the DNS servers, each followed by a space; one that matches any where any is meant.
fn servers(dns: &Dns, field: &str) -> Vec<String> {
    let Some(servers) = &dns.servers else {
        return vec![String::new()];
    };
    let v4: Vec<_> = servers.iter().filter(|server| server.is_ipv4()).collect();
    let v6: Vec<_> = servers.iter().filter(|server| server.is_ipv6()).collect();
    let families = [("ip", v4), ("ip6", v6)];
    let present = families.into_iter().filter(|(_, servers)| !servers.is_empty());
    present
        .map(|(family, servers)| format!("{family} {field} {} ", set(servers)))
        .collect()
}

fn by_family(ranges: &[IpNet]) -> impl Iterator<Item = String> {
    let text = |range: &IpNet| match range.addr() {
        address if range.prefix_len() == range.max_prefix_len() => address.to_string(),
        _ => range.to_string(),
    };
    // One rule a range: sets of overlapping ranges are refused.
    ranges
        .iter()
        .map(move |range| match range.addr() {
            IpAddr::V4(_) => format!("ip daddr {}", text(range)),
            IpAddr::V6(_) => format!("ip6 daddr {}", text(range)),
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn owner(owner: Owner) -> String {
    match owner {
        Owner::User(id) => format!("meta skuid {id}"),
        Owner::Group(id) => format!("meta skgid {id}"),
    }
}

fn interfaces<'a>(names: impl IntoIterator<Item = &'a Interface>) -> String {
    set(names.into_iter().map(|name| format!("\"{name}\"")))
}

fn set(elements: impl IntoIterator<Item: ToString>) -> String {
    let elements: Vec<String> = elements.into_iter().map(|element| element.to_string()).collect();
    match elements.as_slice() {
        [only] => only.clone(),
        several => format!("{{ {} }}", several.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::plan::tests::plan;
    use super::*;
    use crate::capture::iptables::tests::difference;

    #[test]
    fn the_whole_script() {
        expect![[r#"
            add table inet weft
            delete table inet weft
            table inet weft {
            	chain inbound {
            		type nat hook prerouting priority -100; policy accept;
            		tcp dport 15008 return
            		tcp dport { 15020, 15021, 15090 } return
            		meta l4proto tcp redirect to :15006
            	}
            	chain outbound {
            		type nat hook output priority -100; policy accept;
            		oifname "lo" ip saddr 127.0.0.6 return
            		oifname "lo" ip6 saddr ::6 return
            		oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            		oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            		oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            		oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            		meta skuid 1337 return
            		meta skgid 1337 return
            		oifname "lo" return
            		ip daddr 127.0.0.1 return
            		ip6 daddr ::1 return
            		meta l4proto tcp redirect to :15001
            	}
            }
        "#]]
        .assert_eq(&script(&plan("").unwrap()));
    }

    /// What flags change in the script.
    fn check(flags: &str, expected: &expect_test::Expect) {
        let base = script(&plan("").unwrap());
        expected.assert_eq(&difference(&base, &script(&plan(flags).unwrap())));
    }

    #[test]
    fn each_option_changes_its_rules() {
        check(
            "-d 9100",
            &expect![[r#"
            -tcp dport { 15020, 15021, 15090 } return
            +tcp dport { 9100, 15020, 15021, 15090 } return
        "#]],
        );
        check(
            "-b 80,8080",
            &expect![[r#"
            -tcp dport { 15020, 15021, 15090 } return
            -meta l4proto tcp redirect to :15006
            +tcp dport { 80, 8080 } redirect to :15006
        "#]],
        );
        check(
            "--include-inbound-ports=",
            &expect![[r#"
            -tcp dport { 15020, 15021, 15090 } return
            -meta l4proto tcp redirect to :15006
        "#]],
        );
        check(
            "-i 10.96.0.0/12,fd00::/8 -x 10.97.0.0/16,fd01::7",
            &expect![[r#"
            -meta l4proto tcp redirect to :15001
            +ip daddr 10.97.0.0/16 return
            +ip6 daddr fd01::7 return
            +ip daddr 10.96.0.0/12 meta l4proto tcp redirect to :15001
            +ip6 daddr fd00::/8 meta l4proto tcp redirect to :15001
        "#]],
        );
        check(
            "--include-outbound-ip-ranges= -q 443",
            &expect![[r#"
            -meta l4proto tcp redirect to :15001
            +tcp dport 443 redirect to :15001
        "#]],
        );
        check(
            "-o 5432,6379",
            &expect![[r#"
            +tcp dport { 5432, 6379 } return
        "#]],
        );
        check(
            "-c net1,net2 -k vnet0",
            &expect![[r#"
            +iifname { "net1", "net2" } return
            +iifname "vnet0" meta l4proto tcp redirect to :15001
            +iifname "vnet0" return
            +oifname { "net1", "net2" } return
        "#]],
        );
    }

    #[test]
    fn owners_and_ports_are_options() {
        check(
            "-u 1337,1338 -g 7",
            &expect![[r#"
            -oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            -oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            -meta skgid 1337 return
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1338 redirect to :15006
            +oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skuid 1338 redirect to :15006
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 7 redirect to :15006
            +oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skgid 7 redirect to :15006
            +meta skuid 1338 return
            +meta skgid 7 return
        "#]],
        );
        check(
            "-p 1 -z 2 -e 3",
            &expect![[r#"
            -tcp dport 15008 return
            -meta l4proto tcp redirect to :15006
            -oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            -oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            -oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            -oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            -meta l4proto tcp redirect to :15001
            +tcp dport 3 return
            +meta l4proto tcp redirect to :2
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != 3 meta skuid 1337 redirect to :2
            +oifname "lo" ip6 daddr != ::1 tcp dport != 3 meta skuid 1337 redirect to :2
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != 3 meta skgid 1337 redirect to :2
            +oifname "lo" ip6 daddr != ::1 tcp dport != 3 meta skgid 1337 redirect to :2
            +meta l4proto tcp redirect to :1
        "#]],
        );
        check(
            "--drop-invalid",
            &expect![[r#"
            +chain invalid {
            +type filter hook prerouting priority -150; policy accept;
            +ct state invalid drop
        "#]],
        );
    }

    #[test]
    fn names_are_captured_on_demand() {
        check(
            "--redirect-dns",
            &expect![[r#"
            -oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            -oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            -oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            -oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 1337 redirect to :15006
            +oifname "lo" ip6 daddr != ::1 tcp dport != { 53, 15008 } meta skuid 1337 redirect to :15006
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skgid 1337 redirect to :15006
            +oifname "lo" ip6 daddr != ::1 tcp dport != { 53, 15008 } meta skgid 1337 redirect to :15006
            +ip daddr 10.96.0.10 udp dport 53 redirect to :15053
            +ip daddr 10.96.0.10 tcp dport 53 redirect to :15053
            +ip6 daddr fd00::a udp dport 53 redirect to :15053
            +ip6 daddr fd00::a tcp dport 53 redirect to :15053
            +chain dns_out {
            +type filter hook output priority -300; policy accept;
            +meta skuid 1337 udp dport 53 ct zone set 1 return
            +meta skuid 1337 udp sport 15053 ct zone set 2 return
            +meta skgid 1337 udp dport 53 ct zone set 1 return
            +meta skgid 1337 udp sport 15053 ct zone set 2 return
            +ip daddr 10.96.0.10 udp dport 53 ct zone set 2
            +ip6 daddr fd00::a udp dport 53 ct zone set 2
            +chain dns_in {
            +type filter hook prerouting priority -300; policy accept;
            +ip saddr 10.96.0.10 udp sport 53 ct zone set 1
            +ip6 saddr fd00::a udp sport 53 ct zone set 1
        "#]],
        );
        check(
            "--capture-all-dns --dns-port 5353",
            &expect![[r#"
            -oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            -oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skuid 1337 redirect to :15006
            -oifname "lo" ip daddr != 127.0.0.1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            -oifname "lo" ip6 daddr != ::1 tcp dport != 15008 meta skgid 1337 redirect to :15006
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skuid 1337 redirect to :15006
            +oifname "lo" ip6 daddr != ::1 tcp dport != { 53, 15008 } meta skuid 1337 redirect to :15006
            +oifname "lo" ip daddr != 127.0.0.1 tcp dport != { 53, 15008 } meta skgid 1337 redirect to :15006
            +oifname "lo" ip6 daddr != ::1 tcp dport != { 53, 15008 } meta skgid 1337 redirect to :15006
            +udp dport 53 redirect to :5353
            +tcp dport 53 redirect to :5353
            +chain dns_out {
            +type filter hook output priority -300; policy accept;
            +meta skuid 1337 udp dport 53 ct zone set 1 return
            +meta skuid 1337 udp sport 5353 ct zone set 2 return
            +meta skgid 1337 udp dport 53 ct zone set 1 return
            +meta skgid 1337 udp sport 5353 ct zone set 2 return
            +udp dport 53 ct zone set 2
            +chain dns_in {
            +type filter hook prerouting priority -300; policy accept;
            +udp sport 53 ct zone set 1
        "#]],
        );
    }
}
