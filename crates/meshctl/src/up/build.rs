//! Makes a plan of a mesh file: picks ports, finds programs, fills in commands. Reports every problem at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use weft_api::local_mesh::{LocalMesh, MeshGateway, MeshPort, MeshWorkload};
use weft_api::meta::Position;

use crate::mesh::record::Addresses;
use crate::up::commands::local;
use crate::up::plan::{GatewayPort, Member, Plan, Role, Workload, WorkloadPort};
use crate::up::ports::{PortError, Ports};
use crate::up::probe::Probe;
use crate::up::substitute::{port_variable, substitute};
use crate::up::tools::Tools;

mod readiness;

/// Port of the web page, if it is free: telemetry's usual one.
const PAGE_PORT: u16 = 20_001;

/// Time between probes where the mesh file has no readiness.
const PROBE_PERIOD: Duration = Duration::from_millis(200);

/// A mesh file that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeshFile<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// Where it lies, absolute.
    pub path: &'a Path,
    /// How messages name it.
    pub shown: &'a str,
    /// What it says.
    pub mesh: &'a LocalMesh,
}

/// Something in the mesh file that keeps the mesh from starting, as `FILE:LINE:COLUMN: FIELD: what and what to do`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem(pub String);

struct Builder<'a> {
    file: MeshFile<'a>,
    directory: PathBuf,
    ports: &'a mut Ports,
    tools: &'a Tools,
    problems: Vec<Problem>,
}

/// Plans the mesh of a file. The mesh's ports are claimed as long as `ports` lives.
pub(crate) fn build(file: MeshFile<'_>, ports: &mut Ports, tools: &Tools) -> Result<Plan, Vec<Problem>> {
    let directory = file.path.parent().map(Path::to_owned).unwrap_or_default();
    let mut builder = Builder {
        file,
        directory,
        ports,
        tools,
        problems: Vec::new(),
    };
    builder.plan()
}

// === impl Builder ===

impl Builder<'_> {
    fn plan(&mut self) -> Result<Plan, Vec<Problem>> {
        let mesh = self.file.mesh;
        let config = self.config();
        // Ports that the user chose come first, so that no free one takes them.
        let gateways: Vec<Vec<GatewayPort>> = mesh
            .gateways
            .iter()
            .enumerate()
            .map(|(at, gateway)| self.gateway_ports(at, gateway))
            .collect();
        let fixed: Vec<Vec<u16>> = mesh
            .workloads
            .iter()
            .enumerate()
            .map(|(at, workload)| self.fixed_ports(at, workload))
            .collect();
        let addresses = self.addresses();
        let mut members = Vec::new();
        for (at, (workload, fixed)) in mesh.workloads.iter().zip(&fixed).enumerate() {
            for replica in 0..workload.replicas {
                let member = self.workload(at, workload, replica, fixed);
                members.push(member);
            }
        }
        for (gateway, ports) in mesh.gateways.iter().zip(gateways) {
            let member = self.gateway(gateway, ports);
            members.push(member);
        }
        self.unique(&members);
        if !self.problems.is_empty() {
            return Err(std::mem::take(&mut self.problems));
        }
        Ok(Plan {
            name: self.file.name.to_owned(),
            file: self.file.path.to_owned(),
            directory: self.directory.clone(),
            config,
            trace_sampling: self.file.mesh.trace_sampling,
            addresses,
            members,
        })
    }

    fn problem(&mut self, at: Position, field: &str, message: impl std::fmt::Display) {
        let shown = self.file.shown;
        let place = match at {
            Position { line: 0, .. } => shown.to_owned(),
            Position { line, column: 0 } => format!("{shown}:{line}"),
            Position { line, column } => format!("{shown}:{line}:{column}"),
        };
        self.problems.push(Problem(format!("{place}: {field}: {message}")));
    }

    fn config(&mut self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for (at, text) in self.file.mesh.config.iter().enumerate() {
            // Without the `.` of `./config`, for messages that name files below it.
            let path: PathBuf = self.directory.join(text).components().collect();
            let readable = match std::fs::metadata(&path) {
                Ok(found) if found.is_dir() => std::fs::read_dir(&path).map(drop),
                Ok(_) => std::fs::File::open(&path).map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = readable {
                let message = format!(
                    "cannot read {}: {error}; paths count from the mesh file",
                    path.display()
                );
                self.problem(Position::default(), &format!("spec.config[{at}]"), message);
            }
            paths.push(path);
        }
        paths
    }

    fn gateway_ports(&mut self, at: usize, gateway: &MeshGateway) -> Vec<GatewayPort> {
        let mut ports = Vec::new();
        for (server, local) in &gateway.ports {
            let field = format!("spec.gateways[{at}].ports.{server}");
            let local = self.fixed(
                gateway.at,
                &field,
                *local,
                "or give the gateway another local port here",
            );
            ports.push(GatewayPort { server: *server, local });
        }
        ports
    }

    /// The ports of a workload that the file fixes, in order; 0 for those that it leaves open.
    fn fixed_ports(&mut self, at: usize, workload: &MeshWorkload) -> Vec<u16> {
        let mut ports = Vec::new();
        for (index, port) in workload.ports.iter().enumerate() {
            let field = format!("spec.workloads[{at}].ports[{index}].port");
            if port.port != 0 && workload.replicas > 1 {
                let replicas = workload.replicas;
                let hint = format!(
                    "{replicas} replicas cannot share port {}; write 0 and use $({})",
                    port.port,
                    port_variable(&port.name)
                );
                self.problem(port.at, &field, hint);
            }
            let fix = format!(
                "or write 0 here and let the program listen on $({})",
                port_variable(&port.name)
            );
            ports.push(if port.port == 0 {
                0
            } else {
                self.fixed(port.at, &field, port.port, &fix)
            });
        }
        ports
    }

    fn fixed(&mut self, at: Position, field: &str, port: u16, fix: &str) -> u16 {
        self.ports.fixed(port).unwrap_or_else(|error| {
            let message = match error {
                PortError::InUse { .. } => format!("{error}; stop that process {fix}"),
                PortError::Twice { .. } => format!("{error}; change one of the places {fix}"),
                PortError::Refused { .. } | PortError::Exhausted { .. } => {
                    format!("{error}; choose one above 1024 {fix}")
                }
            };
            self.problem(at, field, message);
            port
        })
    }

    fn free(&mut self) -> u16 {
        self.ports.free().unwrap_or_else(|error| {
            self.problem(Position::default(), "spec", error);
            0
        })
    }

    fn addresses(&mut self) -> Addresses {
        let page = self.ports.preferred(PAGE_PORT).unwrap_or_default();
        let mut next = || local(self.free());
        Addresses {
            citadel: next(),
            citadel_monitoring: next(),
            xds: next(),
            xds_tls: next(),
            pilot_monitoring: next(),
            telemetry: local(page),
            access_logs: next(),
            otlp_grpc: next(),
            otlp_http: next(),
            zipkin: next(),
        }
    }

    fn workload(&mut self, at: usize, workload: &MeshWorkload, replica: u32, fixed: &[u16]) -> Member {
        let name = format!("{}-{replica}", workload.name);
        let outbound = self.free();
        let mut ports = Vec::new();
        for (port, fixed) in workload.ports.iter().zip(fixed) {
            ports.push(self.workload_port(port, *fixed));
        }
        let directory = self.directory.join(workload.working_dir.as_deref().unwrap_or_default());
        if !directory.is_dir() {
            let field = format!("spec.workloads[{at}].workingDir");
            self.problem(workload.at, &field, format!("{} is no directory", directory.display()));
        }
        let env = self.environment(at, workload, &name, outbound, &ports);
        let (program, args) = self.command(at, workload, &env, &directory);
        let probes = self.probes(at, workload, &ports);
        let role = Role::Workload(Workload {
            outbound,
            ports,
            program,
            args,
            env,
            directory,
            probes,
            period: workload
                .readiness
                .as_ref()
                .map_or(PROBE_PERIOD, |readiness| readiness.period),
        });
        Member {
            name,
            namespace: workload.namespace.clone(),
            workload: workload.name.clone(),
            service_account: workload.service_account.clone(),
            labels: workload.labels.clone(),
            data_plane: workload.data_plane,
            admin: self.free(),
            status: self.free(),
            readiness: self.free(),
            role,
        }
    }

    fn workload_port(&mut self, port: &MeshPort, fixed: u16) -> WorkloadPort {
        WorkloadPort {
            name: port.name.clone(),
            declared: port.port,
            app: if fixed == 0 { self.free() } else { fixed },
            mesh: self.free(),
        }
    }

    /// What the program finds in its environment; later entries of `env` may refer to all that meshctl sets.
    fn environment(
        &mut self,
        at: usize,
        workload: &MeshWorkload,
        name: &str,
        outbound: u16,
        ports: &[WorkloadPort],
    ) -> BTreeMap<String, String> {
        let proxy = format!("http://{}", local(outbound));
        // A program that calls itself does not mean the mesh.
        let direct = "localhost,127.0.0.1,::1".to_owned();
        let mut env = BTreeMap::from([
            ("http_proxy".to_owned(), proxy.clone()),
            ("HTTP_PROXY".to_owned(), proxy),
            ("no_proxy".to_owned(), direct.clone()),
            ("NO_PROXY".to_owned(), direct),
            ("WEFT_WORKLOAD".to_owned(), name.to_owned()),
        ]);
        env.extend(
            ports
                .iter()
                .map(|port| (port_variable(&port.name), port.app.to_string())),
        );
        let known = env.clone();
        for (key, text) in &workload.env {
            match substitute(text, &known) {
                Ok(value) => {
                    env.insert(key.clone(), value);
                }
                Err(error) => self.problem(workload.at, &format!("spec.workloads[{at}].env.{key}"), error),
            }
        }
        env
    }

    fn command(
        &mut self,
        at: usize,
        workload: &MeshWorkload,
        env: &BTreeMap<String, String>,
        directory: &Path,
    ) -> (PathBuf, Vec<String>) {
        let mut words = Vec::new();
        for (index, text) in workload.command.iter().enumerate() {
            match substitute(text, env) {
                Ok(word) => words.push(word),
                Err(error) => self.problem(workload.at, &format!("spec.workloads[{at}].command[{index}]"), error),
            }
        }
        if words.len() < workload.command.len() || words.is_empty() {
            return (PathBuf::new(), words);
        }
        let args = words.split_off(1);
        let program = self.tools.command(&words[0], directory).unwrap_or_else(|error| {
            self.problem(workload.at, &format!("spec.workloads[{at}].command[0]"), error);
            PathBuf::new()
        });
        (program, args)
    }

    fn probes(&mut self, at: usize, workload: &MeshWorkload, ports: &[WorkloadPort]) -> Vec<Probe> {
        readiness::probes(workload.readiness.as_ref(), ports).unwrap_or_else(|error| {
            self.problem(
                workload.at,
                &format!("spec.workloads[{at}].readiness.{}", error.field),
                error.message,
            );
            Vec::new()
        })
    }

    fn gateway(&mut self, gateway: &MeshGateway, ports: Vec<GatewayPort>) -> Member {
        Member {
            name: gateway.name.clone(),
            namespace: gateway.namespace.clone(),
            workload: gateway.name.clone(),
            service_account: gateway.service_account.clone(),
            labels: gateway.labels.clone(),
            data_plane: gateway.data_plane,
            admin: self.free(),
            status: self.free(),
            readiness: self.free(),
            role: Role::Gateway { ports },
        }
    }

    fn unique(&mut self, members: &[Member]) {
        let mut seen = BTreeSet::new();
        for member in members {
            let process = member.process();
            if !seen.insert(process.clone()) {
                let message = format!("two workloads or gateways would be called {process}; rename one");
                self.problem(Position::default(), "spec", message);
            }
        }
    }
}

#[cfg(test)]
mod tests;
