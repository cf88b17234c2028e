//! What is known of each kind beside what its objects say. Readers, definitions, watches, webhooks, rights, `meshctl check` and statuses
//! are derived from one [table], so that a kind is the same everywhere.

mod group;
mod table;

use std::collections::BTreeSet;
use std::fmt;

pub use self::group::{Admission, Group, is_of_the_mesh};
pub use self::table::{Kind, UNREAD};
use crate::stand_in::StandIn;

/// A row of the table. No field has a default: whoever adds a kind answers each.
#[derive(Clone, Copy, Debug)]
pub struct KindFacts {
    /// The name as written in `kind:`.
    pub name: &'static str,
    /// The API group; it decides who looks at its objects when they are admitted.
    pub group: Group,
    /// Versions that are read, the one that is preferred first: of a server's the first that it has.
    pub versions: &'static [&'static str],
    /// The name in paths of a server.
    pub plural: &'static str,
    /// Whether objects have a namespace.
    pub scope: Scope,
    /// Which objects of a cluster are followed, and so may be read.
    pub watch: Watch,
    /// Who tells a server of the kind.
    pub definition: Definition,
    /// Whether objects are told what became of them, and so may be written to.
    pub status: Status,
    /// What holds in place of an object that was never readable.
    pub when_broken: WhenBroken,
    /// What it is read for, in a few words of documentation.
    pub purpose: &'static str,
}

/// Whether objects have a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Each is in one.
    Namespaced,
    /// None is in any.
    Cluster,
}

/// Which objects of a cluster pilot follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    All,
    /// The one of this name in the root namespace.
    One(&'static str),
    /// Those that gateways name, one by one. They are read in the gateways' namespaces alone.
    NamedByGateways,
    /// None: the kind is for files.
    Never,
}

/// Who tells a server of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// The server knows it by itself, or somebody else installs it.
    Others,
    /// An installation of the mesh, with a definition whose schema is what the reader asks for ([`crate::crd`]).
    Ours {
        /// Short names for `kubectl`.
        short: &'static [&'static str],
        /// Title and path of the columns that `kubectl` shows before the age; `None` leaves all columns to the server.
        columns: Option<&'static [(&'static str, &'static str)]>,
    },
}

/// Whether objects are told what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Their status is somebody else's, or they have none.
    NotOurs,
    /// Pilot writes a condition and what it found.
    Written,
}

/// What holds in place of an object that was never readable. One that was stays in force as it last was.
#[derive(Clone, Copy, Debug)]
pub enum WhenBroken {
    /// Nothing: without the object no more is possible than with it.
    Nothing,
    /// A stand-in that lets less through: the object would have closed something.
    Closes(&'static StandIn),
}

// === impl Kind ===

impl Kind {
    /// The kind of that name in a group.
    pub fn named(group: &str, name: &str) -> Option<Self> {
        Self::of_group(group).find(|kind| kind.as_str() == name)
    }

    /// The kinds of a group.
    pub fn of_group(group: &str) -> impl Iterator<Item = Self> {
        Self::ALL
            .iter()
            .copied()
            .filter(move |kind| kind.facts().group.name() == group)
    }

    /// The name as written in `kind:`.
    pub fn as_str(self) -> &'static str {
        self.facts().name
    }

    /// The name by which objects are told apart: two kinds are called Gateway, and that of the Gateway API gets its group, as
    /// kubectl writes it.
    pub fn unique_name(self) -> &'static str {
        if self == Self::KubernetesGateway {
            return "Gateway.gateway.networking.k8s.io";
        }
        self.as_str()
    }

    /// Whether objects of the kind belong to no namespace.
    pub fn is_cluster_wide(self) -> bool {
        self.facts().scope == Scope::Cluster
    }

    /// `apiVersion` of objects in a version of the kind.
    pub fn api_version(self, version: &str) -> String {
        match self.facts().group.name() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl KindFacts ===

impl KindFacts {
    /// What the webhook does with objects of the kind: its rules are for those with a namespace.
    pub fn admission(&self) -> Admission {
        match self.scope {
            Scope::Namespaced => self.group.admission(),
            Scope::Cluster => Admission::Unasked,
        }
    }
}

// === impl Group ===

impl Group {
    /// The groups of the kinds that are read, by name.
    pub fn all() -> BTreeSet<Self> {
        Kind::ALL.iter().map(|kind| kind.facts().group).collect()
    }

    /// The group of that name, if any of its kinds is read.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|group| group.name() == name)
    }
}

#[cfg(test)]
mod tests;
