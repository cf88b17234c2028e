//! A Job ends when its own container does, though its proxy would run on.

use anyhow::{Result, ensure};

use crate::e2e::Scene;
use crate::e2e::objects::SAMPLE;

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let kube = &scene.kube;
    kube.apply(SAMPLE[1])?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    kube.apply(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {app: once}}
    spec:
      restartPolicy: Never
      containers:
      - name: once
        image: "weft.local/tools:1"
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "for i in 1 2 3; do curl --silent --fail --max-time 5 http://callme/ || exit 1; done"]
"#,
    )?;
    kube.wait_for("Complete", &["job/once"])?;
    let logs = kube.run(&["logs", "job/once", "--container=once"])?;
    let answers = logs.matches(r#""service":"callme""#).count();
    ensure!(answers == 3, "the Job got {answers} answers: {logs}");
    Ok(())
}
