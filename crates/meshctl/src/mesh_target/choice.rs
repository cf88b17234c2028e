//! Which mesh a verb talks to: one of this machine or that of a cluster. One rule for all verbs; see decision 57.

use crate::exit::Failure;

/// Where the mesh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Machine,
    Cluster,
}

/// What the command line says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// A name of a local mesh is given.
    pub(crate) name: bool,
    /// A state directory is given, or set in the environment.
    pub(crate) state_dir: bool,
    /// Something is given that only a cluster has.
    pub(crate) cluster: bool,
}

/// What there is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    /// A mesh runs on this machine.
    pub(crate) running: bool,
    /// A mesh left its record on this machine and does not run.
    pub(crate) stale: bool,
    /// A kubeconfig is there, or this runs in a pod.
    pub(crate) cluster: bool,
}

/// The choice, and whether something else could have been meant, so that it must be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) place: Place,
    pub(crate) say: bool,
}

/// What is asked for wins; then a mesh that runs here, since someone started it here; then a cluster.
pub(crate) fn choose(asked: Asked, seen: Seen) -> Result<Choice, Failure> {
    let choice = |place, say| Ok(Choice { place, say });
    match (asked, seen) {
        (
            Asked {
                name: true,
                cluster: true,
                ..
            },
            _,
        ) => Err(Failure::usage(
            "a mesh of this machine is named and a cluster is asked for; leave out one of them",
        )),
        (Asked { cluster: true, .. }, _) => choice(Place::Cluster, false),
        (Asked { name: true, .. } | Asked { state_dir: true, .. }, _) => choice(Place::Machine, false),
        (
            _,
            Seen {
                running: true, cluster, ..
            },
        ) => choice(Place::Machine, cluster),
        (_, Seen { cluster: true, .. }) => choice(Place::Cluster, true),
        (_, Seen { stale: true, .. }) => choice(Place::Machine, false),
        _ => Err(Failure::failed(
            "no mesh runs on this machine, and there is no kubeconfig; start one with meshctl up -f mesh.yaml, or name a \
             cluster by --kubeconfig or KUBECONFIG",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of what is asked and seen, and the place, with `!` where it is said.
    #[track_caller]
    fn check(asked: &str, seen: &str, expected: &str) {
        let has = |words: &str, word: &str| words.split(' ').any(|found| found == word);
        let asked = Asked {
            name: has(asked, "name"),
            state_dir: has(asked, "state"),
            cluster: has(asked, "cluster"),
        };
        let seen = Seen {
            running: has(seen, "running"),
            stale: has(seen, "stale"),
            cluster: has(seen, "cluster"),
        };
        let found = match choose(asked, seen) {
            Ok(choice) => format!("{:?}{}", choice.place, if choice.say { "!" } else { "" }),
            Err(error) => error.to_string(),
        };
        assert!(found.starts_with(expected), "{asked:?} {seen:?}: {found}");
    }

    #[test]
    fn what_is_asked_for_wins() {
        check("name", "cluster", "Machine");
        check("state", "cluster", "Machine");
        check("cluster", "running", "Cluster");
        check("cluster state", "running", "Cluster");
        check("name cluster", "running cluster", "a mesh of this machine is named");
    }

    #[test]
    fn otherwise_what_runs_here_wins() {
        check("", "running", "Machine");
        check("", "running cluster", "Machine!");
        check("", "stale cluster", "Cluster!");
        check("", "cluster", "Cluster!");
        check("", "stale", "Machine");
        check("", "", "no mesh runs on this machine");
    }
}
