//! A Job ends when its own container does, though its proxy would run on, whichever kind of sidecar it has.

use anyhow::{Result, ensure};

use crate::e2e::Scene;
use crate::e2e::kube::Kube;
use crate::e2e::objects::SAMPLE;
use crate::e2e::sidecar::{self, ANNOTATION, Sidecar};

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    kube.apply(SAMPLE[1])?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    let jobs = [("native", Sidecar::Native), ("classic", Sidecar::Classic)];
    for (name, sidecar) in jobs {
        kube.apply(&job(name, sidecar))?;
    }
    jobs.iter().try_for_each(|(name, sidecar)| ends(kube, name, *sidecar))
}

fn ends(kube: &Kube<'_>, name: &str, sidecar: Sidecar) -> Result<()> {
    kube.wait_for("Complete", &[&format!("job/{name}")])?;
    let pods = kube.get(&["pods", &format!("--selector=job-name={name}")])?;
    sidecar::check(&pods["items"][0], Some(sidecar))?;
    let logs = kube.run(&["logs", &format!("job/{name}"), "--container=once"])?;
    let answers = logs.matches(r#""service":"callme""#).count();
    ensure!(answers == 3, "the Job {name} got {answers} answers: {logs}");
    Ok(())
}

fn job(name: &str, sidecar: Sidecar) -> String {
    format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{app: once}}, annotations: {{{ANNOTATION}: "{}"}}}}
    spec:
      restartPolicy: Never
      containers:
      - name: once
        image: "weft.local/tools:1"
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "for i in 1 2 3; do curl --silent --fail --max-time 5 http://callme/ || exit 1; done"]
"#,
        sidecar.annotation()
    )
}
