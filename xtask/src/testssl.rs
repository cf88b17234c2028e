//! `cargo xtask testssl`: what the scanner of that name finds on a TLS listener of weft-proxy.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::process::{self, Profile};
use crate::wire::rig::{self, Rig};
use crate::{apt, workspace};

/// The command, as Debian calls it, and its package.
const COMMAND: &str = "testssl";
const PACKAGES: &[&str] = &["testssl.sh", "openssl", "bsdextrautils"];
/// The name that the certificate is for.
const HOST: &str = "localhost";
/// Fewer findings of all kinds than that are no run.
const FINDINGS_MIN: usize = 60;
/// What a scan may find.
const HARMLESS: &[&str] = &["OK", "INFO", "LOW"];
/// What the scanner itself could not try.
const UNTRIED: &str = "WARN";

/// Findings above low that say nothing of the listener, with the reason.
const EXCUSED: &[(&str, &str)] = &[
    (
        "cert_revocation",
        "it is the test's certificate, of an authority that revokes nothing",
    ),
    (
        "security_headers",
        "they are for the application to send, whose answer this is",
    ),
];

/// How it is built.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Test the program that is there instead of building it.
    #[arg(long)]
    no_build: bool,
}

/// One thing that the scanner says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scanned {
    id: String,
    severity: String,
    text: String,
}

/// Scans, and fails on what is worse than low.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if workspace::on_path(COMMAND).is_none() {
        apt::install(PACKAGES)?;
    }
    if !arguments.no_build {
        Profile::Dev.build()?;
    }
    let dir = workspace::target().join(format!("testssl-{}", std::process::id()));
    let scanned = scan(&dir).with_context(|| format!("its files are in {}", dir.display()))?;
    std::fs::remove_dir_all(&dir)?;
    ensure!(
        scanned.len() >= FINDINGS_MIN,
        "only {} findings: no scan",
        scanned.len()
    );
    let bad = report(&scanned);
    ensure!(bad == 0, "{bad} findings are above low");
    Ok(())
}

fn scan(dir: &Path) -> Result<Vec<Scanned>> {
    std::fs::create_dir_all(dir)?;
    certificates(dir)?;
    let config = |places: &rig::Places| {
        let route = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200}});
        let hosts = json!([{"name": "all", "domains": ["*"], "routes": [route]}]);
        let manager = json!({"route_config": {"name": "all", "virtual_hosts": hosts}});
        let mut listener = rig::http_listener("testssl", places.listeners[0], &manager);
        listener["filter_chains"][0]["transport_socket"] = transport_socket(dir);
        (vec![listener], Vec::new())
    };
    let rig = Rig::start(dir, 1, 0, &config)?;
    let to = rig.weft.places.listeners[0];
    let file = dir.join("findings.json");
    let mut command = Command::new(COMMAND);
    command
        .args([
            "--quiet",
            "--warnings",
            "off",
            "--color",
            "0",
            "--nodns",
            "none",
            "--add-ca",
        ])
        .arg(dir.join("root.pem"))
        .args(["--ip", &to.ip().to_string(), "--jsonfile"])
        .arg(&file)
        .arg(format!("https://{HOST}:{}/", to.port()));
    eprintln!("testssl: scanning {to}, which takes a minute or two");
    // Its exit code is the number of what it found, or that of what went wrong, which the missing file tells.
    let output = process::output(&mut command);
    rig.stop();
    let text = std::fs::read_to_string(&file).with_context(|| match output {
        Ok(_) => "the scanner wrote nothing".to_owned(),
        Err(error) => format!("the scanner wrote nothing: {error:#}"),
    })?;
    read(&text)
}

/// A root, and a certificate of it for the host.
fn certificates(dir: &Path) -> Result<()> {
    let openssl = |arguments: &str| {
        let arguments = arguments.split(' ').collect::<Vec<_>>();
        process::output(Command::new("openssl").args(arguments).current_dir(dir))
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    std::fs::write(
        dir.join("leaf.ext"),
        format!("subjectAltName=DNS:{HOST}\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n"),
    )?;
    openssl(&format!(
        "req -x509 -days 100 -subj /O=root {key} -keyout root.key -out root.pem"
    ))?;
    openssl(&format!("req -subj /CN={HOST} {key} -keyout leaf.key -out leaf.csr"))?;
    openssl(
        "x509 -req -in leaf.csr -extfile leaf.ext -CA root.pem -CAkey root.key -CAcreateserial -days 90 -out leaf.pem",
    )?;
    Ok(())
}

fn transport_socket(dir: &Path) -> Value {
    let file = |name: &str| json!({"filename": dir.join(name).display().to_string()});
    json!({"name": "envoy.transport_sockets.tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificates": [{"certificate_chain": file("leaf.pem"), "private_key": file("leaf.key")}],
        },
    }})
}

fn read(text: &str) -> Result<Vec<Scanned>> {
    let findings: Vec<Value> = serde_json::from_str(text).context("the scanner's file is no list of findings")?;
    let word = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let scanned = findings.iter().map(|finding| Scanned {
        id: word(finding, "id"),
        severity: word(finding, "severity"),
        text: word(finding, "finding"),
    });
    Ok(scanned.collect())
}

/// Prints what is not good, and gives how many of it are above low.
fn report(scanned: &[Scanned]) -> usize {
    let mut bad = 0;
    for finding in scanned {
        let excuse = EXCUSED.iter().find(|(id, _)| *id == finding.id);
        let harmless = HARMLESS.contains(&finding.severity.as_str());
        match excuse {
            _ if harmless && finding.severity != "LOW" => continue,
            Some((_, reason)) if !harmless => println!("excused   {}: {} ({reason})", finding.id, finding.text),
            _ => println!("{:9} {}: {}", finding.severity, finding.id, finding.text),
        }
        bad += usize::from(!harmless && finding.severity != UNTRIED && excuse.is_none());
    }
    println!("{} findings, {bad} above low", scanned.len());
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_above_low_fails() {
        let list = json!([
            {"id": "SSLv2", "severity": "OK", "finding": "not offered"},
            {"id": "HSTS", "severity": "LOW", "finding": "not offered"},
            {"id": "RC4", "severity": "HIGH", "finding": "VULNERABLE"},
            {"id": "engine_problem", "severity": "WARN", "finding": "no"},
        ]);
        let scanned = read(&list.to_string()).unwrap();
        assert_eq!(report(&scanned[..2]), 0);
        assert_eq!(report(&scanned), 1);
        assert!(read("{}").is_err());
    }
}
