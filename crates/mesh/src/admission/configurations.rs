//! Names of the webhook configurations, which the installer makes and pilot keeps.

/// Name of the webhook that refuses broken objects of the mesh's own kinds.
pub const VALIDATION: &str = "validation.weft.mesh";

/// The configurations of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configurations {
    /// Name of the MutatingWebhookConfiguration.
    pub injector: String,
    /// Name of the ValidatingWebhookConfiguration.
    pub validator: String,
}

// === impl Configurations ===

impl Configurations {
    /// Those that the installer makes for a revision.
    pub fn of_revision(revision: &str) -> Self {
        let suffix = match revision {
            "default" => String::new(),
            revision => format!("-{revision}"),
        };
        Self {
            injector: format!("weft-sidecar-injector{suffix}"),
            validator: format!("weft-validator{suffix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_have_the_revision_in_their_names() {
        assert_eq!(Configurations::of_revision("default").injector, "weft-sidecar-injector");
        assert_eq!(Configurations::of_revision("canary").validator, "weft-validator-canary");
    }
}
