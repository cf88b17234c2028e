//! Installing the mesh in a cluster, changing an installation and taking it away.

mod apply;
mod crds;
mod flags;
mod kept;
mod preflight;
mod remove;
mod render;
mod values;

use std::time::Duration;

use anyhow::{Context, bail};
use kube::Client;
use serde_json::Value;

use self::flags::ValueArguments;
pub(crate) use self::flags::{InstallArguments, ManifestVerb, UninstallArguments, UpgradeArguments};
pub(crate) use self::preflight::{Finding, Mark};
use self::render::Part;
use self::values::Values;
use crate::exit::{Exit, Failure};
use crate::output;

pub(crate) use self::preflight::{Pilot, Wish, allowed, examine, survey};
pub(crate) use self::render::OWNED;

/// Longest wait for one deletion to be carried out.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(120);

/// What helps where the kept values do not fit any more.
const RESET: &str = "the values of the installation do not fit; --reset-values does without them";

/// `meshctl manifest generate`: prints the objects, asks no server.
pub(crate) fn generate(arguments: &ValueArguments) -> anyhow::Result<Exit> {
    let values = values_of(arguments)?;
    output::write(&text_of(&render::render(&values))?)?;
    Ok(Exit::Ok)
}

/// `meshctl manifest crds`: prints the definitions alone.
pub(crate) fn generate_crds() -> anyhow::Result<Exit> {
    output::write(&text_of(&[render::definitions()])?)?;
    Ok(Exit::Ok)
}

/// All objects as documents of one YAML text.
fn text_of(parts: &[Part]) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in parts.iter().flat_map(|part| &part.objects) {
        text.push_str("---\n");
        text.push_str(output::yaml(object)?.trim_end());
        text.push('\n');
    }
    Ok(text)
}

fn values_of(arguments: &ValueArguments) -> anyhow::Result<Values> {
    Values::new(&arguments.file, &sets(arguments))
}

fn sets(arguments: &ValueArguments) -> Vec<String> {
    let mut sets = arguments.set.clone();
    if let Some(revision) = &arguments.revision {
        sets.push(format!("revision={revision}"));
    }
    sets
}

/// `meshctl install`.
pub(crate) async fn run(arguments: &InstallArguments) -> anyhow::Result<Exit> {
    let values = values_of(&arguments.values)?;
    let client = arguments.cluster.connect().await?;
    bring(&client, arguments, &values, false).await
}

/// `meshctl upgrade`: goes on from the values that the installation was given.
pub(crate) async fn upgrade(arguments: &UpgradeArguments) -> anyhow::Result<Exit> {
    let arguments_of = &arguments.install.values;
    // Mistakes are said before a server is asked.
    let alone = values_of(arguments_of)?;
    let client = arguments.install.cluster.connect().await?;
    let kept = if arguments.reset_values {
        None
    } else {
        let kept = kept::values(&client, &alone.revision).await?;
        if kept.is_none() {
            output::say(
                "\u{203c} no installation here has kept its values; what is not given now is as in the profile",
            );
        }
        kept
    };
    let values = match kept {
        None => alone,
        Some(kept) => {
            let layer = vec![("values of the installation".to_owned(), kept.clone())];
            let values = Values::over(layer, &arguments_of.file, &sets(arguments_of)).context(RESET)?;
            say_kept(&kept, &values);
            values
        }
    };
    bring(&client, &arguments.install, &values, true).await
}

/// Says which values stay, and that the images do.
fn say_kept(kept: &Value, values: &Values) {
    let list = values::listed(kept).join(", ");
    output::say(&format!("Going on from the values of the installation: {list}"));
    let own = env!("CARGO_PKG_VERSION");
    if kept["tag"] == values.tag.as_str() && values.tag != own {
        output::say(&format!(
            "\u{203c} the images keep their tag {}, this meshctl is {own}; --set tag=TAG takes others",
            values.tag
        ));
    }
}

/// Nothing is changed before everything that can be asked was answered well.
async fn bring(client: &Client, arguments: &InstallArguments, values: &Values, upgrade: bool) -> anyhow::Result<Exit> {
    let wish = Wish {
        namespace: &values.namespace,
        revision: &values.revision,
        gateway_namespaces: &values.gateway_namespaces,
    };
    let report = examine(client, wish).await?;
    let (bad, others): (Vec<&Finding>, Vec<&Finding>) =
        report.findings.iter().partition(|finding| finding.mark == Mark::Bad);
    let said = others.into_iter().filter(|finding| finding.mark != Mark::Good);
    said.for_each(|finding| output::say(&finding.line()));
    match bad.as_slice() {
        [] => {}
        [Finding { text, hint, .. }] => {
            bail!("this cluster cannot be installed to, and nothing was changed: {text}; {hint}")
        }
        several => {
            several.iter().for_each(|finding| output::say(&finding.line()));
            bail!(
                "this cluster cannot be installed to, and nothing was changed; {} things are in the way, see above",
                several.len()
            )
        }
    }
    if upgrade && report.pilots.as_ref().is_none_or(Vec::is_empty) {
        return Err(Failure::usage("there is no mesh to upgrade; use meshctl install").into());
    }
    let parts = render::render(values);
    apply::all(client, &parts, arguments.timeout, arguments.skip_wait).await?;
    remove::stale(client, &parts, &values.revision, REMOVAL_TIMEOUT).await?;
    output::say(&next_step(values, upgrade));
    Ok(Exit::Ok)
}

fn next_step(values: &Values, upgrade: bool) -> String {
    let revision = &values.revision;
    match (revision.as_str(), upgrade) {
        ("default", false) => "The mesh is installed. Bring a namespace in:\n  \
                               kubectl label namespace default istio-injection=enabled\n  \
                               kubectl rollout restart deployment -n default"
            .to_owned(),
        ("default", true) => "The mesh is upgraded. Proxies take the new version when their pods start anew:\n  \
                              kubectl rollout restart deployment -n NAMESPACE"
            .to_owned(),
        (_, _) => format!(
            "Revision {revision} runs beside what was there. Move a namespace to it:\n  \
                           kubectl label namespace NAMESPACE istio-injection- istio.io/rev={revision} --overwrite\n  \
                           kubectl rollout restart deployment -n NAMESPACE\n\
                           and when nothing uses the old one: meshctl uninstall --revision OLD"
        ),
    }
}

/// `meshctl uninstall`.
pub(crate) async fn uninstall(arguments: &UninstallArguments) -> anyhow::Result<Exit> {
    let client: Client = arguments.cluster.connect().await?;
    let removed = remove::all(&client, arguments.revision.as_deref(), arguments.purge, REMOVAL_TIMEOUT).await?;
    match removed {
        0 => output::say("There is nothing of the mesh in this cluster."),
        _ if arguments.purge => output::say(&format!(
            "The mesh is gone, with its definitions and their objects: {removed} objects removed."
        )),
        _ => output::say(&format!(
            "{removed} objects removed. Definitions, their objects and the certificate authority's root were kept; \
             --purge removes them as well."
        )),
    }
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use expect_test::expect_file;

    use super::*;

    /// What is committed below `deploy/` is what is rendered.
    #[test]
    fn committed_manifests_are_up_to_date() {
        for profile in values::PROFILES {
            let values = Values::new(&[], &[format!("profile={profile}")]).unwrap();
            let text = text_of(&render::render(&values)).unwrap();
            expect_file![format!("../../../../deploy/manifests/{profile}.yaml")].assert_eq(&text);
        }
        let definitions = render::definitions();
        for object in &definitions.objects {
            for (key, value) in OWNED {
                assert_eq!(
                    object["metadata"]["labels"][key], value,
                    "an installation takes it over"
                );
            }
        }
        let text = text_of(&[definitions]).unwrap();
        expect_file!["../../../../deploy/crds/crds.yaml"].assert_eq(&text);
    }
}
