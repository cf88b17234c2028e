//! `cargo xtask e2e`: whole scenarios on a real Kubernetes, with real pods.
//!
//! Each scenario has a namespace of its own and runs after the one before it; what it leaves in the cluster besides its namespace
//! it takes away itself. When one fails, what the cluster says about it is kept below `target/e2e`.

mod busy;
mod evidence;
mod forward;
mod interrupt;
mod kube;
mod load;
mod mesh;
mod objects;
mod outside;
mod plain;
mod sidecar;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::busy::Busy;
use self::interrupt::Interrupt;
use self::kube::Kube;
use crate::cluster::handle::Cluster;
use crate::cluster::steps::Steps;
use crate::cluster::{self, Provider};
use crate::{images, workspace};

/// Apart from the cluster that developers use.
const CLUSTER: &str = "e2e";
const NODES: u8 = 2;
/// Before the scenario's name.
const NAMESPACE_PREFIX: &str = "e2e-";
/// What the scenarios' pods run.
const IMAGES: &[&str] = &["proxy", "pilot", "citadel", "telemetry", "callme"];
/// What is built besides: `meshctl` runs on this machine.
const PROGRAMS: &[&str] = &["meshctl"];

/// What to run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask e2e
  cargo xtask e2e --keep names      # then: cargo xtask cluster --name e2e status
  cargo xtask e2e --repeat 10 rollout
  cargo xtask e2e --list")]
pub(crate) struct Arguments {
    /// Only scenarios whose name contains this.
    filter: Option<String>,
    /// No scenarios whose name contains this; may be given several times.
    #[arg(long)]
    skip: Vec<String>,
    /// What runs the cluster. Default: kind where Docker can run it, otherwise local.
    #[arg(long, env = "WEFT_CLUSTER_PROVIDER")]
    provider: Option<Provider>,
    /// Leave the cluster, and the namespaces of failed scenarios, for a look; the next run uses the cluster and takes the namespaces away.
    #[arg(long)]
    keep: bool,
    /// Run the chosen scenarios so often, one round after the other; the first failure ends it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Keep every core of the machine busy meanwhile.
    #[arg(long)]
    busy: bool,
    /// Fail where a time is over its bar as well. Times are printed in any case; they say more about the machine where it is shared.
    #[arg(long)]
    strict: bool,
    /// Where no cluster can run, say in one line what is missing, and end without a failure.
    #[arg(long)]
    if_possible: bool,
    /// Print the names of the scenarios and end.
    #[arg(long)]
    list: bool,
}

#[derive(Clone, Copy, Debug)]
struct Scenario {
    name: &'static str,
    /// Providers that can run it; the rest skip it, and say why.
    only: Option<(Provider, &'static str)>,
    /// Whether it needs the mesh, and what of it.
    mesh: Mesh,
    run: fn(&Scene<'_>) -> Result<()>,
}

/// What a scenario needs of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mesh {
    None,
    /// That it is installed, and the scenario's namespace injected.
    Injected,
    /// That it is installed; the scenario labels its namespace itself.
    Installed,
}

/// What a scenario works with.
#[derive(Debug)]
struct Scene<'a> {
    cluster: &'a Cluster,
    /// In the scenario's namespace.
    kube: Kube<'a>,
    /// Bars that were missed.
    missed: &'a RefCell<Vec<String>>,
}

// === impl Scene ===

impl Scene<'_> {
    /// Notes a time, and whether it is within its bar.
    fn bar(&self, what: &str, time: Duration, bar: Duration) {
        if time > bar {
            let line = format!("{what} took {time:.2?}, the bar is {bar:?}");
            eprintln!("e2e: over the bar: {line}");
            self.missed.borrow_mut().push(line);
        }
    }
}

/// All scenarios, in the order in which they run: those without the mesh first, and last the one that takes the mesh away.
fn all() -> Vec<Scenario> {
    [plain::scenarios(), mesh::scenarios()].concat()
}

/// Starts the cluster, runs the scenarios, and removes the cluster.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let chosen: Vec<Scenario> = all()
        .into_iter()
        .filter(|scenario| scenario.name.contains(filter))
        .filter(|scenario| !arguments.skip.iter().any(|skip| scenario.name.contains(skip.as_str())))
        .collect();
    if arguments.list {
        chosen.iter().for_each(|scenario| println!("{}", scenario.name));
        return Ok(());
    }
    ensure!(
        !chosen.is_empty(),
        "no scenario's name contains {filter:?}; --list shows all"
    );
    let steps = Steps::new("e2e");
    let cluster = Cluster::new(CLUSTER, arguments.provider, true)?;
    // Before the long build.
    match cluster.possible() {
        Err(error) if arguments.if_possible => {
            steps.say(&format!(
                "skipped: scenarios on a cluster, which cannot run here: {error:#}"
            ));
            return Ok(());
        }
        possible => possible?,
    }
    images::dev(&[IMAGES, PROGRAMS].concat())?;
    if arguments.provider == Some(Provider::Local) {
        steps.say(&cluster::kind::left_out());
    }
    // A cluster that is to stay stays.
    let interrupt = match arguments.keep {
        true => Interrupt::default(),
        false => Interrupt::watch(Cluster::new(CLUSTER, arguments.provider, true)?)?,
    };
    let result = on_cluster(&cluster, &chosen, arguments, &steps);
    interrupt.give_way();
    if arguments.keep {
        steps.say(&format!("kept: cargo xtask cluster --name {CLUSTER} status"));
        return result;
    }
    let removed = cluster.down();
    result.and(removed)
}

fn on_cluster(cluster: &Cluster, chosen: &[Scenario], arguments: &Arguments, steps: &Steps) -> Result<()> {
    cluster.up(NODES)?;
    remove_left_over(cluster, steps)?;
    let archives: Vec<PathBuf> = IMAGES.iter().map(PathBuf::from).collect();
    steps.run("images", || cluster.load(&cluster::archives(&archives)?))?;
    let missed = RefCell::default();
    let mut failed = Vec::new();
    let mut passed = 0_u32;
    let mut installed = false;
    let _busy = arguments.busy.then(Busy::start);
    let rounds = (0..arguments.repeat).flat_map(|_| chosen);
    for scenario in rounds {
        if arguments.repeat > 1 && !failed.is_empty() {
            break;
        }
        if let Some((provider, reason)) = scenario.only
            && provider != cluster.provider()
        {
            steps.say(&format!("{}: skipped, {reason}", scenario.name));
            continue;
        }
        if scenario.mesh != Mesh::None && !installed {
            steps.run("installing the mesh", || mesh::install(cluster))?;
            installed = true;
        }
        match perform(cluster, scenario, arguments.keep, &missed) {
            Ok(seconds) => {
                steps.say(&format!("{}: ok, {seconds:.1} s", scenario.name));
                passed += 1;
            }
            Err(error) => {
                steps.say(&format!("{}: FAILED: {error:#}", scenario.name));
                failed.push(scenario.name);
            }
        }
    }
    steps.say(&format!(
        "{passed} passed, {} failed after {:.0} s",
        failed.len(),
        steps.seconds()
    ));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    let missed = missed.into_inner();
    if arguments.strict && !missed.is_empty() {
        bail!("over the bar: {}", missed.join("; "));
    }
    Ok(())
}

/// Takes away what earlier runs left: its load would slow this one down, and its routes are at the one gateway that all have.
fn remove_left_over(cluster: &Cluster, steps: &Steps) -> Result<()> {
    let all = Kube::new(cluster, "default").run(&["get", "namespaces", "--output=name"])?;
    let names = all.lines().filter_map(|line| line.strip_prefix("namespace/"));
    for name in names.filter(|name| name.starts_with(NAMESPACE_PREFIX)) {
        steps.run(&format!("removing {name}, which an earlier run left"), || {
            Kube::new(cluster, name).delete_namespace(true)
        })?;
    }
    Ok(())
}

/// Runs one scenario in a new namespace; its evidence is collected before the namespace goes.
fn perform(cluster: &Cluster, scenario: &Scenario, keep: bool, missed: &RefCell<Vec<String>>) -> Result<f64> {
    let start = Instant::now();
    let scene = Scene {
        cluster,
        kube: Kube::new(cluster, &format!("{NAMESPACE_PREFIX}{}", scenario.name)),
        missed,
    };
    scene.kube.create_namespace()?;
    if scenario.mesh == Mesh::Injected {
        let labels = ["label", "namespace", scene.kube.namespace(), "istio-injection=enabled"];
        scene.kube.run(&labels)?;
    }
    let result = (scenario.run)(&scene);
    if result.is_err() {
        let folder = workspace::target().join("e2e").join(scenario.name);
        evidence::collect(&scene.kube, &folder).context("collecting evidence")?;
        if scenario.mesh != Mesh::None {
            evidence::collect(&mesh::system(&scene), &folder.join("control-plane"))?;
        }
        eprintln!("e2e: {}: evidence is in {}", scenario.name, folder.display());
        load::end(&scene.kube)?;
    }
    if result.is_ok() || !keep {
        if scenario.mesh != Mesh::None {
            mesh::remove_routes(&scene.kube)?;
        }
        // The next scenario has another.
        scene.kube.delete_namespace(false)?;
    }
    result.map(|()| start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_namespaces_and_differ() {
        let mut names: Vec<&str> = all().iter().map(|scenario| scenario.name).collect();
        for name in &names {
            let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            assert!(plain && name.len() < 40, "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
    }
}
