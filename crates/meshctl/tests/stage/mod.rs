//! A mesh of small stand-ins in a directory of its own, and meshctl started on it as a user would.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use meshctl::mesh::Record;
use meshctl::mesh::record::Phase;
use rustix::process::{Pid, Signal};

const DEADLINE: Duration = Duration::from_secs(30);

/// A mesh file with one workload, stand-ins for the programs, and a state directory of its own.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let stage = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        for directory in ["bin", "config"] {
            std::fs::create_dir(stage.path(directory)).unwrap();
        }
        for name in ["weft-citadel", "weft-pilot", "weft-telemetry", "weft-proxy", "app"] {
            let path = stage.program(name);
            std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake.py"), &path).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        stage.write_mesh("");
        stage
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.path("bin").join(name)
    }

    pub(crate) fn write_mesh(&self, more: &str) {
        let text = format!(
            "apiVersion: weft.mesh/v1alpha1\nkind: LocalMesh\nmetadata: {{name: test}}\nspec:\n  config: [./config]\n  workloads:\n  \
             - name: app\n    labels: {{app: app}}\n    ports: [{{name: http, port: 0}}]\n    \
             command: [./bin/app, --app-listen, \"127.0.0.1:$(PORT_HTTP)\"]\n    \
             readiness: {{httpGet: {{path: /healthz, port: http}}}}\n{more}"
        );
        std::fs::write(self.path("mesh.yaml"), text).unwrap();
    }

    /// Output goes to files: a pipe that nobody reads would stop the process.
    pub(crate) fn start(&self, words: &[&str]) -> Up<'_> {
        self.start_with(words, true)
    }

    fn start_with(&self, words: &[&str], told: bool) -> Up<'_> {
        let out = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let err = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshctl"));
        if told {
            command.env("WEFT_STATE_DIR", self.path("state"));
        } else {
            command.env_remove("WEFT_STATE_DIR");
        }
        command
            .args(words)
            .env("XDG_STATE_HOME", self.path("home"))
            .env("HOME", self.path("home"))
            .env_remove("KUBECONFIG")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env("WEFT_BIN_DIR", self.path("bin"))
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(out.reopen().unwrap())
            .stderr(err.reopen().unwrap())
            // Signals of the terminal are for the tests alone.
            .process_group(0);
        let child = command.spawn().unwrap();
        Up {
            child,
            out,
            err,
            stage: self,
        }
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.start(words).end()
    }

    /// The same without being told where the state lies.
    pub(crate) fn run_untold(&self, words: &[&str]) -> Ended {
        self.start_with(words, false).end()
    }

    pub(crate) fn up(&self, more: &[&str]) -> Up<'_> {
        self.start(&[&["up", "-f", "mesh.yaml"], more].concat())
    }

    pub(crate) fn record(&self) -> Option<Record> {
        Record::read(&self.path("state/mesh.json")).ok()
    }

    /// The record once it satisfies a condition.
    pub(crate) fn record_when(&self, what: &str, condition: impl Fn(&Record) -> bool) -> Record {
        let mut found = None;
        until(what, || {
            found = self.record().filter(|record| condition(record));
            found.is_some()
        });
        found.unwrap()
    }

    #[track_caller]
    pub(crate) fn nothing_is_left(&self, record: &Record) {
        let running = || {
            record
                .processes
                .iter()
                .filter(|process| process.id.is_some_and(|id| id.is_running()))
                .count()
        };
        until("the end of all processes", || running() == 0);
        for name in ["mesh.json", "ca", "registry", "tokens", "run"] {
            assert!(!self.path("state").join(name).exists(), "{name} was left behind");
        }
    }
}

/// A running meshctl, killed when it goes out of scope.
pub(crate) struct Up<'a> {
    child: Child,
    out: tempfile::NamedTempFile,
    err: tempfile::NamedTempFile,
    stage: &'a Stage,
}

/// How a meshctl ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Up<'_> {
    pub(crate) fn ready(&mut self) -> Record {
        until("readiness", || {
            let ended = self.child.try_wait().unwrap();
            assert_eq!(ended, None, "{}", std::fs::read_to_string(self.err.path()).unwrap());
            self.stage.record().is_some_and(|record| record.phase == Phase::Ready)
        });
        self.stage.record().unwrap()
    }

    /// What it wrote on stderr so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.err.path()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn end(mut self) -> Ended {
        let mut status = None;
        until("the end of meshctl", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        Ended {
            code: status.unwrap().code(),
            stdout: std::fs::read_to_string(self.out.path()).unwrap(),
            stderr: std::fs::read_to_string(self.err.path()).unwrap(),
        }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = SystemTime::now();
    while !condition() {
        assert!(start.elapsed().unwrap_or_default() < DEADLINE, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
