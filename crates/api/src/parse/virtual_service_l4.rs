//! Reader of the TLS and TCP rules of a VirtualService.

use super::fields::Fields;
use super::rules::shared;
use super::values;
use super::virtual_service::{DESTINATIONS_MAX, MATCHES_MAX};
use crate::virtual_service::{L4Destination, L4Match, TcpRoute, TlsMatch, TlsRoute};

pub(super) fn tls_route(fields: &mut Fields<'_, '_>) -> TlsRoute {
    fields.at_most("match", MATCHES_MAX);
    let matches = fields.list("match", |report, node| report.map(node, tls_match));
    if fields.get("match").is_none() {
        fields.missing("match", "give at least one match with sniHosts");
    }
    TlsRoute {
        at: fields.at,
        matches,
        route: destinations(fields),
    }
}

pub(super) fn tcp_route(fields: &mut Fields<'_, '_>) -> TcpRoute {
    fields.at_most("match", MATCHES_MAX);
    TcpRoute {
        at: fields.at,
        matches: fields.list("match", |report, node| report.map(node, l4_match)),
        route: destinations(fields),
    }
}

fn tls_match(fields: &mut Fields<'_, '_>) -> TlsMatch {
    TlsMatch {
        sni_hosts: values::hosts(fields, "sniHosts", shared::SNI_HOSTS),
        l4: l4_match(fields),
    }
}

fn l4_match(fields: &mut Fields<'_, '_>) -> L4Match {
    let unmet = "no connection meets this match";
    let mut never = fields.close("destinationSubnets", unmet, "match by port, or by sniHosts");
    never |= fields.close("sourceSubnet", unmet, "match by sourceLabels or sourceNamespace");
    L4Match {
        at: fields.at,
        port: fields.port("port"),
        source_labels: values::labels(fields, "sourceLabels"),
        source_namespace: fields.text("sourceNamespace"),
        gateways: fields.texts("gateways"),
        never,
    }
}

fn destinations(fields: &mut Fields<'_, '_>) -> Vec<L4Destination> {
    fields.rules(shared::DESTINATIONS);
    fields.rules(shared::WEIGHTS);
    fields.at_most("route", DESTINATIONS_MAX);
    let at = fields.place("route");
    let routes = fields.list("route", |report, node| {
        report
            .map(node, |f| {
                let destination = values::destination(f);
                let weight = f.count("weight");
                let at = f.at;
                destination.map(|destination| {
                    (
                        L4Destination {
                            at,
                            destination,
                            weight: 0,
                        },
                        weight,
                    )
                })
            })
            .flatten()
    });
    let given: Vec<Option<u32>> = routes.iter().map(|(_, weight)| *weight).collect();
    let weights = fields
        .report()
        .field("route", |report| values::weights(report, at, &given));
    routes
        .into_iter()
        .zip(weights)
        .map(|((destination, _), weight)| L4Destination { weight, ..destination })
        .collect()
}
