//! The ingress gateway: HTTP, and HTTPS with a certificate from a Secret.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::system;
use crate::e2e::Scene;
use crate::e2e::kube::{Kube, until};
use crate::e2e::objects::{self, SAMPLE, SAMPLE_MESH, curl_with};
use crate::{process, workspace};

const LIMIT: Duration = Duration::from_secs(15);
const HOST: &str = "shop.mesh.test";
const SECRET: &str = "e2e-shop";

pub(super) fn run(scene: &Scene<'_>) -> Result<()> {
    let system = system(scene);
    let result = with_secret(scene, &system);
    system.run(&["delete", "secret", SECRET, "--ignore-not-found"])?;
    result
}

fn with_secret(scene: &Scene<'_>, system: &Kube<'_>) -> Result<()> {
    let kube = &scene.kube;
    let certificate = certificate(system)?;
    SAMPLE.iter().try_for_each(|objects| kube.apply(objects))?;
    kube.apply(SAMPLE_MESH)?;
    kube.apply(&format!(
        r"
apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata: {{name: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 443, name: https, protocol: HTTPS}}
    tls: {{mode: SIMPLE, credentialName: {SECRET}}}
    hosts: [{HOST}]
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [{HOST}]
  gateways: [shop]
  http: [{{route: [{{destination: {{host: callme, port: {{number: 80}}}}}}]}}]
"
    ))?;
    // Like a client outside of the mesh.
    kube.run(&[
        "label",
        "namespace",
        kube.namespace(),
        "--overwrite",
        "istio-injection=disabled",
    ])?;
    objects::tools(kube)?;
    kube.wait_for("Available", &["deployment", "--all"])?;
    let gateway = format!("weft-ingressgateway.{}", system.namespace());
    let plain = until(LIMIT, || curl_with(kube, &["--fail", &format!("http://{gateway}/")]))?;
    ensure!(plain.contains(r#""service":"caller""#), "HTTP answers {plain}");

    let service = system.get(&["service", "weft-ingressgateway"])?;
    let address = service["spec"]["clusterIP"].as_str().context("no address")?;
    let write = format!("cat > /tmp/root.pem <<'END'\n{certificate}\nEND\n");
    kube.exec("tools", &["sh", "-c", &write])?;
    let resolve = format!("{HOST}:443:{address}");
    let url = format!("https://{HOST}/");
    let secure = ["--fail", "--cacert", "/tmp/root.pem", "--resolve", &resolve, &url];
    let secured = until(LIMIT, || curl_with(kube, &secure))?;
    ensure!(secured.contains(r#""service":"callme""#), "HTTPS answers {secured}");
    let http2 = curl_with(
        kube,
        &[
            &["--http2", "--output", "/dev/null", "--write-out", "%{http_version}"],
            &secure[..],
        ]
        .concat(),
    )?;
    ensure!(http2 == "2", "HTTPS speaks HTTP/{http2} where HTTP/2 is asked for");
    Ok(())
}

/// Makes a certificate for [`HOST`], puts it in a Secret of the gateway's namespace, and gives it as PEM.
fn certificate(system: &Kube<'_>) -> Result<String> {
    let folder = workspace::target().join("e2e/gateway-certificate");
    std::fs::create_dir_all(&folder)?;
    let (key, certificate) = (folder.join("key.pem"), folder.join("cert.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-sha256", "-nodes", "-days", "2"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    openssl.args([
        "-subj",
        &format!("/CN={HOST}"),
        "-addext",
        &format!("subjectAltName=DNS:{HOST}"),
    ]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    process::output(&mut openssl)?;
    system.run(&["delete", "secret", SECRET, "--ignore-not-found"])?;
    let files = [
        format!("--cert={}", certificate.display()),
        format!("--key={}", key.display()),
    ];
    system.run(&["create", "secret", "tls", SECRET, &files[0], &files[1]])?;
    let text = std::fs::read_to_string(&certificate)?;
    std::fs::remove_dir_all(folder)?;
    Ok(text)
}
