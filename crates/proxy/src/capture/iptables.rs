//! The plan as scripts for `iptables-restore --noflush` and `ip6tables-restore --noflush`: chains of our own, replaced in one
//! transaction a family, and one jump into each.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::plan::{Dns, Owner, Plan, Ports, Ranges};

/// Our chains start with this.
const PREFIX: &str = "WEFT_";

/// A family of addresses, with its programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Rules of one table.
#[derive(Debug, Default)]
struct Table {
    chains: Vec<&'static str>,
    rules: Vec<String>,
}

// === impl Family ===

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The program that takes rules.
    pub fn restore(self) -> &'static str {
        match self {
            Self::V4 => "iptables-restore",
            Self::V6 => "ip6tables-restore",
        }
    }

    /// The program that prints rules.
    pub fn save(self) -> &'static str {
        match self {
            Self::V4 => "iptables-save",
            Self::V6 => "ip6tables-save",
        }
    }

    fn loopback(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.1/32",
            Self::V6 => "::1/128",
        }
    }

    /// Source address of what the proxy hands to its application.
    fn handed_over(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.6/32",
            Self::V6 => "::6/128",
        }
    }

    fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// The whole script. `present` is what the family's `-save` printed: what is left of an earlier run is taken away first.
pub fn script(plan: &Plan, family: Family, present: &str) -> String {
    let mut tables = vec![("nat", nat(plan, family))];
    if let Some(dns) = &plan.dns {
        tables.push(("raw", raw(plan, dns, family)));
    }
    if plan.drop_invalid {
        let mut table = Table::default();
        table.chain("WEFT_DROP", "PREROUTING -m conntrack --ctstate INVALID");
        table.add("WEFT_DROP -j DROP");
        tables.push(("mangle", table));
    }
    let mut text = String::new();
    for name in ["nat", "raw", "mangle"] {
        let table = tables.iter().find(|(known, _)| *known == name).map(|(_, table)| table);
        let leftovers = Leftovers::of(present, name);
        if table.is_none() && leftovers.is_empty() {
            continue;
        }
        section(&mut text, name, table, &leftovers);
    }
    text
}

/// A script that takes away all that is ours of `present`; empty where nothing is.
pub fn cleanup(present: &str) -> String {
    let mut text = String::new();
    for name in ["nat", "raw", "mangle"] {
        let leftovers = Leftovers::of(present, name);
        if !leftovers.is_empty() {
            section(&mut text, name, None, &leftovers);
        }
    }
    text
}

fn section(text: &mut String, name: &str, table: Option<&Table>, leftovers: &Leftovers<'_>) {
    let mut line = |line: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line}");
    };
    let wanted = table.map_or(&[][..], |table| &table.chains);
    line(&format!("*{name}"));
    // Naming a chain makes it, or empties it.
    for chain in leftovers
        .chains
        .iter()
        .filter(|chain| !wanted.contains(chain))
        .chain(wanted)
    {
        line(&format!(":{chain} - [0:0]"));
    }
    for jump in &leftovers.jumps {
        line(&format!("-D {jump}"));
    }
    for chain in leftovers.chains.iter().filter(|chain| !wanted.contains(chain)) {
        line(&format!("-X {chain}"));
    }
    for rule in table.map_or(&[][..], |table| &table.rules) {
        line(&format!("-A {rule}"));
    }
    line("COMMIT");
}

/// What is ours in one table of a `-save` text.
#[derive(Debug, Default)]
struct Leftovers<'a> {
    chains: Vec<&'a str>,
    /// Jumps from chains of the kernel, without `-A`.
    jumps: Vec<&'a str>,
}

impl<'a> Leftovers<'a> {
    fn of(present: &'a str, table: &str) -> Self {
        let mut found = Self::default();
        let mut within = false;
        for line in present.lines() {
            if let Some(name) = line.strip_prefix('*') {
                within = name == table;
            } else if within && line.starts_with(':') {
                let chain = line[1..].split(' ').next().unwrap_or_default();
                found.chains.extend(chain.starts_with(PREFIX).then_some(chain));
            } else if let Some(rule) = line.strip_prefix("-A ").filter(|_| within) {
                let ours = rule.starts_with(PREFIX);
                found
                    .jumps
                    .extend((!ours && rule.contains(" -j WEFT_")).then_some(rule));
            }
        }
        found
    }

    fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.jumps.is_empty()
    }
}

// === impl Table ===

impl Table {
    /// A chain of ours and the jump into it: a chain of the kernel with what must match.
    fn chain(&mut self, name: &'static str, from: &str) {
        self.chains.push(name);
        self.add(format!("{from} -j {name}"));
    }

    fn add(&mut self, rule: impl Into<String>) {
        self.rules.push(rule.into());
    }
}

fn nat(plan: &Plan, family: Family) -> Table {
    let mut table = Table::default();
    table.chain("WEFT_INBOUND", "PREROUTING -p tcp");
    table.chain("WEFT_OUTPUT", "OUTPUT");
    table.chains.extend(["WEFT_IN_REDIRECT", "WEFT_REDIRECT"]);
    table.add(format!(
        "WEFT_IN_REDIRECT -p tcp -j REDIRECT --to-ports {}",
        plan.inbound_port
    ));
    table.add(format!(
        "WEFT_REDIRECT -p tcp -j REDIRECT --to-ports {}",
        plan.outbound_port
    ));
    inbound(plan, family, &mut table);
    outbound(plan, family, &mut table);
    table
}

fn inbound(plan: &Plan, family: Family, table: &mut Table) {
    for interface in &plan.excluded_interfaces {
        table.add(format!("WEFT_INBOUND -i {interface} -j RETURN"));
    }
    for interface in &plan.virtual_interfaces {
        destinations(plan, family, &format!("WEFT_INBOUND -i {interface}"), table);
        table.add(format!("WEFT_INBOUND -i {interface} -j RETURN"));
    }
    table.add(format!("WEFT_INBOUND -p tcp --dport {} -j RETURN", plan.tunnel_port));
    match &plan.inbound {
        Ports::AllBut(excluded) => {
            for port in excluded {
                table.add(format!("WEFT_INBOUND -p tcp --dport {port} -j RETURN"));
            }
            table.add("WEFT_INBOUND -p tcp -j WEFT_IN_REDIRECT");
        }
        Ports::Only(ports) => {
            for port in ports {
                table.add(format!("WEFT_INBOUND -p tcp --dport {port} -j WEFT_IN_REDIRECT"));
            }
        }
    }
}

fn outbound(plan: &Plan, family: Family, table: &mut Table) {
    for interface in &plan.excluded_interfaces {
        table.add(format!("WEFT_OUTPUT -o {interface} -j RETURN"));
    }
    for port in &plan.excluded_ports {
        table.add(format!("WEFT_OUTPUT -p tcp --dport {port} -j RETURN"));
    }
    table.add(format!("WEFT_OUTPUT -o lo -s {} -j RETURN", family.handed_over()));
    let loopback = family.loopback();
    let not: Vec<String> = plan.not_self_calls().iter().map(u16::to_string).collect();
    let not = match not.as_slice() {
        [only] => format!("! --dport {only}"),
        several => format!("-m multiport ! --dports {}", several.join(",")),
    };
    for own in &plan.owners {
        let call = format!("-o lo ! -d {loopback} -p tcp {not} -m owner {}", owner(*own));
        table.add(format!("WEFT_OUTPUT {call} -j WEFT_IN_REDIRECT"));
    }
    for own in &plan.owners {
        table.add(format!("WEFT_OUTPUT -m owner {} -j RETURN", owner(*own)));
    }
    if let Some(dns) = &plan.dns {
        for server in servers(dns, "-d", family) {
            for protocol in ["udp", "tcp"] {
                let query = format!("-p {protocol} {server}--dport 53");
                table.add(format!("WEFT_OUTPUT {query} -j REDIRECT --to-ports {}", dns.port));
            }
        }
    }
    table.add("WEFT_OUTPUT -o lo -j RETURN");
    table.add(format!("WEFT_OUTPUT -d {loopback} -j RETURN"));
    destinations(plan, family, "WEFT_OUTPUT", table);
}

/// What is captured of outbound traffic by its destination.
fn destinations(plan: &Plan, family: Family, from: &str, table: &mut Table) {
    let own = |ranges: &[IpNet]| -> Vec<IpNet> {
        let own = ranges.iter().filter(|range| family.has(range.addr()));
        own.copied().collect()
    };
    for range in own(&plan.excluded_ranges) {
        table.add(format!("{from} -d {range} -j RETURN"));
    }
    for port in &plan.ports {
        table.add(format!("{from} -p tcp --dport {port} -j WEFT_REDIRECT"));
    }
    match &plan.ranges {
        Ranges::All => table.add(format!("{from} -p tcp -j WEFT_REDIRECT")),
        Ranges::Only(ranges) => {
            for range in own(ranges) {
                table.add(format!("{from} -p tcp -d {range} -j WEFT_REDIRECT"));
            }
        }
    }
}

/// Zones for DNS, as in the nftables rules.
fn raw(plan: &Plan, dns: &Dns, family: Family) -> Table {
    let mut table = Table::default();
    table.chain("WEFT_DNS_OUT", "OUTPUT -p udp");
    table.chain("WEFT_DNS_IN", "PREROUTING -p udp");
    for own in &plan.owners {
        let own = owner(*own);
        for (field, zone) in [("--dport 53".to_owned(), 1), (format!("--sport {}", dns.port), 2)] {
            let matched = format!("WEFT_DNS_OUT -p udp {field} -m owner {own}");
            table.add(format!("{matched} -j CT --zone {zone}"));
            table.add(format!("{matched} -j RETURN"));
        }
    }
    for server in servers(dns, "-d", family) {
        table.add(format!("WEFT_DNS_OUT -p udp {server}--dport 53 -j CT --zone 2"));
    }
    for server in servers(dns, "-s", family) {
        table.add(format!("WEFT_DNS_IN -p udp {server}--sport 53 -j CT --zone 1"));
    }
    table
}

/// Matches of the family's DNS servers, each followed by a space; one that matches any where any is meant.
fn servers(dns: &Dns, flag: &str, family: Family) -> Vec<String> {
    let Some(servers) = &dns.servers else {
        return vec![String::new()];
    };
    let own = servers.iter().filter(|server| family.has(**server));
    own.map(|server| format!("{flag} {} ", IpNet::from(*server))).collect()
}

fn owner(owner: Owner) -> String {
    match owner {
        Owner::User(id) => format!("--uid-owner {id}"),
        Owner::Group(id) => format!("--gid-owner {id}"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use expect_test::expect;

    use super::super::plan::tests::plan;
    use super::*;

    /// Lines of `to` that `from` has not, with `+`, and the other way round, with `-`.
    pub(in crate::capture) fn difference(from: &str, to: &str) -> String {
        let gone = from.lines().filter(|line| !to.lines().any(|other| other == *line));
        let new = to.lines().filter(|line| !from.lines().any(|other| other == *line));
        let lines = gone
            .map(|line| format!("-{line}\n"))
            .chain(new.map(|line| format!("+{line}\n")));
        lines.map(|line| line.replace('\t', "")).collect()
    }

    #[test]
    fn the_whole_script() {
        expect![[r#"
            *nat
            :WEFT_INBOUND - [0:0]
            :WEFT_OUTPUT - [0:0]
            :WEFT_IN_REDIRECT - [0:0]
            :WEFT_REDIRECT - [0:0]
            -A PREROUTING -p tcp -j WEFT_INBOUND
            -A OUTPUT -j WEFT_OUTPUT
            -A WEFT_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
            -A WEFT_REDIRECT -p tcp -j REDIRECT --to-ports 15001
            -A WEFT_INBOUND -p tcp --dport 15008 -j RETURN
            -A WEFT_INBOUND -p tcp --dport 15020 -j RETURN
            -A WEFT_INBOUND -p tcp --dport 15021 -j RETURN
            -A WEFT_INBOUND -p tcp --dport 15090 -j RETURN
            -A WEFT_INBOUND -p tcp -j WEFT_IN_REDIRECT
            -A WEFT_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
            -A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j WEFT_IN_REDIRECT
            -A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            -A WEFT_OUTPUT -m owner --uid-owner 1337 -j RETURN
            -A WEFT_OUTPUT -m owner --gid-owner 1337 -j RETURN
            -A WEFT_OUTPUT -o lo -j RETURN
            -A WEFT_OUTPUT -d 127.0.0.1/32 -j RETURN
            -A WEFT_OUTPUT -p tcp -j WEFT_REDIRECT
            COMMIT
        "#]]
        .assert_eq(&script(&plan("").unwrap(), Family::V4, ""));
    }

    #[test]
    fn ipv6_has_the_same_rules() {
        let plan = plan("--redirect-dns -i 10.0.0.0/8,fd00::/8").unwrap();
        let (v4, v6) = (script(&plan, Family::V4, ""), script(&plan, Family::V6, ""));
        assert_eq!(v4.lines().count(), v6.lines().count());
        expect![[r#"
            --A WEFT_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
            --A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j WEFT_IN_REDIRECT
            --A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            --A WEFT_OUTPUT -p udp -d 10.96.0.10/32 --dport 53 -j REDIRECT --to-ports 15053
            --A WEFT_OUTPUT -p tcp -d 10.96.0.10/32 --dport 53 -j REDIRECT --to-ports 15053
            --A WEFT_OUTPUT -d 127.0.0.1/32 -j RETURN
            --A WEFT_OUTPUT -p tcp -d 10.0.0.0/8 -j WEFT_REDIRECT
            --A WEFT_DNS_OUT -p udp -d 10.96.0.10/32 --dport 53 -j CT --zone 2
            --A WEFT_DNS_IN -p udp -s 10.96.0.10/32 --sport 53 -j CT --zone 1
            +-A WEFT_OUTPUT -o lo -s ::6/128 -j RETURN
            +-A WEFT_OUTPUT -o lo ! -d ::1/128 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -o lo ! -d ::1/128 -p tcp -m multiport ! --dports 53,15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -p udp -d fd00::a/128 --dport 53 -j REDIRECT --to-ports 15053
            +-A WEFT_OUTPUT -p tcp -d fd00::a/128 --dport 53 -j REDIRECT --to-ports 15053
            +-A WEFT_OUTPUT -d ::1/128 -j RETURN
            +-A WEFT_OUTPUT -p tcp -d fd00::/8 -j WEFT_REDIRECT
            +-A WEFT_DNS_OUT -p udp -d fd00::a/128 --dport 53 -j CT --zone 2
            +-A WEFT_DNS_IN -p udp -s fd00::a/128 --sport 53 -j CT --zone 1
        "#]].assert_eq(&difference(&v4, &v6));
    }

    /// What flags change in the script.
    fn check(flags: &str, expected: &expect_test::Expect) {
        let base = script(&plan("").unwrap(), Family::V4, "");
        expected.assert_eq(&difference(&base, &script(&plan(flags).unwrap(), Family::V4, "")));
    }

    #[test]
    fn each_option_changes_its_rules() {
        check(
            "-d 9100",
            &expect![[r#"
            +-A WEFT_INBOUND -p tcp --dport 9100 -j RETURN
        "#]],
        );
        check(
            "-b 80,8080",
            &expect![[r#"
            --A WEFT_INBOUND -p tcp --dport 15020 -j RETURN
            --A WEFT_INBOUND -p tcp --dport 15021 -j RETURN
            --A WEFT_INBOUND -p tcp --dport 15090 -j RETURN
            --A WEFT_INBOUND -p tcp -j WEFT_IN_REDIRECT
            +-A WEFT_INBOUND -p tcp --dport 80 -j WEFT_IN_REDIRECT
            +-A WEFT_INBOUND -p tcp --dport 8080 -j WEFT_IN_REDIRECT
        "#]],
        );
        check(
            "--include-inbound-ports=",
            &expect![[r#"
            --A WEFT_INBOUND -p tcp --dport 15020 -j RETURN
            --A WEFT_INBOUND -p tcp --dport 15021 -j RETURN
            --A WEFT_INBOUND -p tcp --dport 15090 -j RETURN
            --A WEFT_INBOUND -p tcp -j WEFT_IN_REDIRECT
        "#]],
        );
        check(
            "-i 10.96.0.0/12,fd00::/8 -x 10.97.0.0/16,fd01::7",
            &expect![[r#"
            --A WEFT_OUTPUT -p tcp -j WEFT_REDIRECT
            +-A WEFT_OUTPUT -d 10.97.0.0/16 -j RETURN
            +-A WEFT_OUTPUT -p tcp -d 10.96.0.0/12 -j WEFT_REDIRECT
        "#]],
        );
        check(
            "--include-outbound-ip-ranges= -q 443",
            &expect![[r#"
            --A WEFT_OUTPUT -p tcp -j WEFT_REDIRECT
            +-A WEFT_OUTPUT -p tcp --dport 443 -j WEFT_REDIRECT
        "#]],
        );
        check(
            "-o 5432,6379",
            &expect![[r#"
            +-A WEFT_OUTPUT -p tcp --dport 5432 -j RETURN
            +-A WEFT_OUTPUT -p tcp --dport 6379 -j RETURN
        "#]],
        );
        check(
            "-c net1,net2 -k vnet0",
            &expect![[r#"
            +-A WEFT_INBOUND -i net1 -j RETURN
            +-A WEFT_INBOUND -i net2 -j RETURN
            +-A WEFT_INBOUND -i vnet0 -p tcp -j WEFT_REDIRECT
            +-A WEFT_INBOUND -i vnet0 -j RETURN
            +-A WEFT_OUTPUT -o net1 -j RETURN
            +-A WEFT_OUTPUT -o net2 -j RETURN
        "#]],
        );
    }

    #[test]
    fn owners_and_ports_are_options() {
        check(
            "-u 1337,1338 -g 7",
            &expect![[r#"
            --A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            --A WEFT_OUTPUT -m owner --gid-owner 1337 -j RETURN
            +-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1338 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 7 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -m owner --uid-owner 1338 -j RETURN
            +-A WEFT_OUTPUT -m owner --gid-owner 7 -j RETURN
        "#]],
        );
        check(
            "--drop-invalid",
            &expect![[r#"
            +*mangle
            +:WEFT_DROP - [0:0]
            +-A PREROUTING -m conntrack --ctstate INVALID -j WEFT_DROP
            +-A WEFT_DROP -j DROP
        "#]],
        );
    }

    #[test]
    fn names_are_captured_on_demand() {
        check(
            "--redirect-dns",
            &expect![[r#"
            --A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j WEFT_IN_REDIRECT
            --A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -p udp -d 10.96.0.10/32 --dport 53 -j REDIRECT --to-ports 15053
            +-A WEFT_OUTPUT -p tcp -d 10.96.0.10/32 --dport 53 -j REDIRECT --to-ports 15053
            +*raw
            +:WEFT_DNS_OUT - [0:0]
            +:WEFT_DNS_IN - [0:0]
            +-A OUTPUT -p udp -j WEFT_DNS_OUT
            +-A PREROUTING -p udp -j WEFT_DNS_IN
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2
            +-A WEFT_DNS_OUT -p udp --sport 15053 -m owner --uid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --gid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2
            +-A WEFT_DNS_OUT -p udp --sport 15053 -m owner --gid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp -d 10.96.0.10/32 --dport 53 -j CT --zone 2
            +-A WEFT_DNS_IN -p udp -s 10.96.0.10/32 --sport 53 -j CT --zone 1
        "#]],
        );
        check(
            "--capture-all-dns --dns-port 5353",
            &expect![[r#"
            --A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j WEFT_IN_REDIRECT
            --A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp -m multiport ! --dports 53,15008 -m owner --gid-owner 1337 -j WEFT_IN_REDIRECT
            +-A WEFT_OUTPUT -p udp --dport 53 -j REDIRECT --to-ports 5353
            +-A WEFT_OUTPUT -p tcp --dport 53 -j REDIRECT --to-ports 5353
            +*raw
            +:WEFT_DNS_OUT - [0:0]
            +:WEFT_DNS_IN - [0:0]
            +-A OUTPUT -p udp -j WEFT_DNS_OUT
            +-A PREROUTING -p udp -j WEFT_DNS_IN
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp --sport 5353 -m owner --uid-owner 1337 -j CT --zone 2
            +-A WEFT_DNS_OUT -p udp --sport 5353 -m owner --uid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1
            +-A WEFT_DNS_OUT -p udp --dport 53 -m owner --gid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp --sport 5353 -m owner --gid-owner 1337 -j CT --zone 2
            +-A WEFT_DNS_OUT -p udp --sport 5353 -m owner --gid-owner 1337 -j RETURN
            +-A WEFT_DNS_OUT -p udp --dport 53 -j CT --zone 2
            +-A WEFT_DNS_IN -p udp --sport 53 -j CT --zone 1
        "#]],
        );
    }

    #[test]
    fn what_is_left_is_taken_away() {
        let present = "# Generated\n*mangle\n:PREROUTING ACCEPT [0:0]\n:WEFT_DROP - [0:0]\n\
                       -A PREROUTING -m conntrack --ctstate INVALID -j WEFT_DROP\n-A WEFT_DROP -j DROP\nCOMMIT\n*nat\n\
                       :OUTPUT ACCEPT [0:0]\n:OTHER - [0:0]\n:WEFT_OUTPUT - [0:0]\n:WEFT_OLD - [0:0]\n-A OUTPUT -j OTHER\n\
                       -A OUTPUT -j WEFT_OUTPUT\n-A WEFT_OUTPUT -o lo -j WEFT_OLD\nCOMMIT\n";
        expect![[r#"
            *nat
            :WEFT_OUTPUT - [0:0]
            :WEFT_OLD - [0:0]
            -D OUTPUT -j WEFT_OUTPUT
            -X WEFT_OUTPUT
            -X WEFT_OLD
            COMMIT
            *mangle
            :WEFT_DROP - [0:0]
            -D PREROUTING -m conntrack --ctstate INVALID -j WEFT_DROP
            -X WEFT_DROP
            COMMIT
        "#]]
        .assert_eq(&cleanup(present));
        assert_eq!(cleanup("*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -j OTHER\nCOMMIT\n"), "");
        let base = script(&plan("").unwrap(), Family::V4, "");
        expect![[r#"
            +:WEFT_OLD - [0:0]
            +-D OUTPUT -j WEFT_OUTPUT
            +-X WEFT_OLD
            +*mangle
            +:WEFT_DROP - [0:0]
            +-D PREROUTING -m conntrack --ctstate INVALID -j WEFT_DROP
            +-X WEFT_DROP
        "#]]
        .assert_eq(&difference(&base, &script(&plan("").unwrap(), Family::V4, present)));
    }
}
