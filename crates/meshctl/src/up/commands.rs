//! The command lines of a plan's processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weft_api::local_mesh::DataPlane;
use weft_proto::defaults::{SYSTEM_NAMESPACE, TRUST_DOMAIN};

use crate::mesh::StateDir;
use crate::mesh::record::Kind;
use crate::up::plan::{Member, Plan, Role, Workload};
use crate::up::spec::ProcessSpec;
use crate::up::tools::Binaries;

/// Service account of pilot.
pub(crate) const PILOT_ACCOUNT: &str = "weft-pilot";

/// How long proxies let requests in flight finish when they are asked to end.
const DRAIN: &str = "5s";

/// Turns a plan into processes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commands<'a> {
    pub plan: &'a Plan,
    /// Where its state lies.
    pub state: &'a StateDir,
    pub binaries: &'a Binaries,
    /// `RUST_LOG` text for the mesh's own processes.
    pub log_level: &'a str,
}

// === impl Commands ===

impl Commands<'_> {
    /// The certificate authority.
    pub(crate) fn citadel(&self) -> ProcessSpec {
        let addresses = &self.plan.addresses;
        let args = [
            ("--state-dir", text(&self.state.ca())),
            ("--listen", addresses.citadel.clone()),
            ("--monitoring-listen", addresses.citadel_monitoring.clone()),
            ("--trust-domain", TRUST_DOMAIN.to_owned()),
        ];
        self.own("citadel", Kind::Citadel, &self.binaries.citadel, "serve", args)
    }

    /// The command that prints a join token.
    pub(crate) fn token(&self, namespace: &str, service_account: &str) -> (PathBuf, Vec<String>) {
        let mut args = vec!["token".to_owned()];
        args.extend(flags([
            ("--state-dir", text(&self.state.ca())),
            ("--namespace", namespace.to_owned()),
            ("--service-account", service_account.to_owned()),
        ]));
        (self.binaries.citadel.clone(), args)
    }

    /// File of the join token of an account.
    pub(crate) fn token_file(&self, namespace: &str, service_account: &str) -> PathBuf {
        self.state.tokens().join(format!("{namespace}.{service_account}"))
    }

    pub(crate) fn telemetry(&self) -> ProcessSpec {
        let addresses = &self.plan.addresses;
        let args = [
            ("--als-listen", addresses.access_logs.clone()),
            ("--otlp-grpc-listen", addresses.otlp_grpc.clone()),
            ("--otlp-http-listen", addresses.otlp_http.clone()),
            ("--zipkin-listen", addresses.zipkin.clone()),
            ("--http-listen", addresses.telemetry.clone()),
        ];
        self.own("telemetry", Kind::Telemetry, &self.binaries.telemetry, "serve", args)
    }

    pub(crate) fn pilot(&self) -> ProcessSpec {
        let addresses = &self.plan.addresses;
        let configs = self
            .plan
            .config
            .iter()
            .chain([&self.state.registry()])
            .map(|path| ("--config", text(path)))
            .collect::<Vec<_>>();
        let args = configs.into_iter().chain([
            ("--xds-listen", addresses.xds.clone()),
            ("--xds-tls-listen", addresses.xds_tls.clone()),
            ("--monitoring-listen", addresses.pilot_monitoring.clone()),
            ("--ca-address", addresses.citadel.clone()),
            ("--ca-root-cert", text(&self.state.root_cert())),
            ("--token-file", text(&self.token_file(SYSTEM_NAMESPACE, PILOT_ACCOUNT))),
            ("--trust-domain", TRUST_DOMAIN.to_owned()),
            ("--telemetry-address", addresses.access_logs.clone()),
            ("--otlp-address", addresses.otlp_grpc.clone()),
            ("--trace-sampling", self.plan.trace_sampling.to_string()),
            ("--access-log-file", "/dev/stdout".to_owned()),
        ]);
        self.own("pilot", Kind::Pilot, &self.binaries.pilot, "serve", args)
    }

    /// The proxy of a member: its sidecar, the agent and Envoy, or the gateway.
    pub(crate) fn proxies(&self, member: &Member) -> Vec<ProcessSpec> {
        match member.data_plane {
            DataPlane::Weft => vec![self.weft_proxy(member)],
            DataPlane::Envoy => vec![self.sds_agent(member), self.envoy(member)],
        }
    }

    /// The program of a workload.
    pub(crate) fn app(&self, member: &Member, workload: &Workload) -> ProcessSpec {
        ProcessSpec {
            name: member.process(),
            kind: Kind::App,
            program: workload.program.clone(),
            args: workload.args.clone(),
            env: workload.env.clone(),
            directory: workload.directory.clone(),
        }
    }

    /// File of the generated bootstrap of a member behind a stock Envoy.
    pub(crate) fn envoy_bootstrap(&self, member: &Member) -> PathBuf {
        self.state
            .run()
            .join(format!("{}.{}.envoy.json", member.name, member.namespace))
    }

    /// Socket over which a stock Envoy gets its certificate.
    pub(crate) fn sds_socket(&self, index: usize) -> PathBuf {
        // Numbered: the names of workloads may be longer than a socket's path can be.
        self.state.run().join(format!("sds-{index}.sock"))
    }

    /// [`Commands::sds_socket`] of a member of the plan.
    pub(crate) fn sds_socket_of(&self, member: &Member) -> PathBuf {
        let index = self.plan.members.iter().position(|other| std::ptr::eq(other, member));
        self.sds_socket(index.unwrap_or_default())
    }

    fn weft_proxy(&self, member: &Member) -> ProcessSpec {
        let (verb, kind) = match member.role {
            Role::Workload(_) => ("sidecar", Kind::Sidecar),
            Role::Gateway { .. } => ("gateway", Kind::Gateway),
        };
        let labels: Vec<String> = member
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let identity = self.identity(member);
        let args = identity.into_iter().chain([
            ("--discovery-address", self.plan.addresses.xds_tls.clone()),
            ("--name", member.name.clone()),
            ("--workload-name", member.workload.clone()),
            ("--labels", labels.join(",")),
            ("--ip", "127.0.0.1".to_owned()),
            ("--trust-domain", TRUST_DOMAIN.to_owned()),
            ("--admin-listen", local(member.admin)),
            ("--status-listen", local(member.status)),
            ("--readiness-listen", local(member.readiness)),
            ("--drain-time", DRAIN.to_owned()),
            // No load balancer stands in front of them.
            ("--minimum-drain-time", "0s".to_owned()),
        ]);
        self.own(&member.proxy_process(), kind, &self.binaries.proxy, verb, args)
    }

    fn sds_agent(&self, member: &Member) -> ProcessSpec {
        let socket = ("--socket", text(&self.sds_socket_of(member)));
        let args = self.identity(member).into_iter().chain([socket]);
        let name = format!("{}/sds-agent", member.process());
        self.own(&name, Kind::SdsAgent, &self.binaries.proxy, "sds-agent", args)
    }

    fn envoy(&self, member: &Member) -> ProcessSpec {
        let mut args = flags([
            ("-c", text(&self.envoy_bootstrap(member))),
            ("--concurrency", "2".to_owned()),
            ("--log-level", "warning".to_owned()),
            ("--drain-time-s", DRAIN.trim_end_matches('s').to_owned()),
        ]);
        // Several Envoys on one machine would otherwise meet in one shared memory segment.
        args.push("--disable-hot-restart".to_owned());
        ProcessSpec {
            name: member.proxy_process(),
            kind: Kind::Envoy,
            program: self.binaries.envoy.clone().unwrap_or_else(|| "envoy".into()),
            args,
            env: BTreeMap::new(),
            directory: self.plan.directory.clone(),
        }
    }

    fn identity(&self, member: &Member) -> Vec<(&'static str, String)> {
        let token = self.token_file(&member.namespace, &member.service_account);
        vec![
            ("--ca-address", self.plan.addresses.citadel.clone()),
            ("--ca-root-cert", text(&self.state.root_cert())),
            ("--token-file", text(&token)),
            ("--namespace", member.namespace.clone()),
            ("--service-account", member.service_account.clone()),
        ]
    }

    fn own(
        &self,
        name: &str,
        kind: Kind,
        program: &Path,
        verb: &str,
        args: impl IntoIterator<Item = (&'static str, String)>,
    ) -> ProcessSpec {
        let mut all = vec![verb.to_owned()];
        all.extend(flags(args));
        all.extend(flags([("--log-level", self.log_level.to_owned())]));
        ProcessSpec {
            name: name.to_owned(),
            kind,
            program: program.to_owned(),
            args: all,
            env: BTreeMap::new(),
            directory: self.plan.directory.clone(),
        }
    }
}

/// An address of this machine.
pub(crate) fn local(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn flags(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Vec<String> {
    pairs
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
}
