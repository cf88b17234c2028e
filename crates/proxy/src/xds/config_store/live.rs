//! Whether all that the first answers named is in use.

use weft_proto::ads::Kind;

use super::ConfigStore;

impl ConfigStore {
    /// Nothing that is captured is taken, and nothing is live, before these types have been answered once and [settled](Self::settle).
    pub fn expect(&mut self, kinds: impl IntoIterator<Item = Kind>) {
        self.expected.extend(kinds);
    }

    /// Nothing more comes of the first answers that have begun.
    pub fn settle(&mut self) {
        let came = std::mem::take(&mut self.coming);
        self.expected.retain(|kind| !came.contains(kind));
    }

    /// Whether a first answer has begun of which more may come.
    pub fn is_settling(&self) -> bool {
        !self.coming.is_empty()
    }

    /// Whether every cluster that is known is in use (or refused).
    pub fn clusters_are_live(&self) -> bool {
        let in_use = &self.warm.resources().clusters;
        !self.expected.contains(&Kind::Cluster) && self.known.clusters.keys().all(|name| in_use.contains_key(name))
    }

    /// Whether every listener that is known is in use (or refused) as well, with all that it waits for but secrets.
    pub fn listeners_are_live(&self) -> bool {
        let in_use = &self.warm.resources().listeners;
        let live = self.known.listeners.keys().all(|name| in_use.contains_key(name));
        live && !self.expected.contains(&Kind::Listener) && self.clusters_are_live()
    }

    /// Whether contexts wait for secrets that neither came nor were refused.
    pub fn waits_for_secrets(&self) -> bool {
        let pending = self.secrets.pending();
        pending.iter().any(|name| !self.refused_secrets.contains(name))
    }
}
