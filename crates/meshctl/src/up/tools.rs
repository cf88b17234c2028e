//! Finds the programs of the mesh and of its workloads.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// Directory of the mesh's own programs: the one that meshctl lies in, unless the user names another.
    beside: PathBuf,
    /// `PATH`.
    path: Vec<PathBuf>,
}

/// The mesh's own programs.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// `weft-citadel`.
    pub citadel: PathBuf,
    /// `weft-pilot`.
    pub pilot: PathBuf,
    /// `weft-telemetry`.
    pub telemetry: PathBuf,
    /// `weft-proxy`.
    pub proxy: PathBuf,
    /// A stock Envoy, where a workload asks for one.
    pub envoy: Option<PathBuf>,
}

/// A program cannot be found.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{program}: {reason}")]
pub(crate) struct NotFound {
    program: String,
    reason: String,
}

// === impl Tools ===

impl Tools {
    /// The programs that this user would start. `beside` replaces meshctl's own directory.
    pub(crate) fn of_user(beside: Option<&Path>) -> std::io::Result<Self> {
        let beside = match beside {
            Some(path) => std::path::absolute(path)?,
            None => std::env::current_exe()?
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        Ok(Self::new(beside, &path))
    }

    fn new(beside: PathBuf, path: &OsStr) -> Self {
        let path = std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .collect();
        Self { beside, path }
    }

    /// The mesh's own programs. Envoy is looked for only if `envoy` says so, at the path given there or on `PATH`.
    pub(crate) fn binaries(&self, envoy: Option<Option<&Path>>) -> Result<Binaries, NotFound> {
        let envoy = match envoy {
            None => None,
            Some(Some(path)) => Some(self.command(&path.to_string_lossy(), Path::new("."))?),
            Some(None) => Some(self.on_path("envoy").ok_or_else(|| {
                NotFound {
                    program: "envoy".to_owned(),
                    reason: "not found on PATH; a workload has dataPlane: envoy, so name the program with --envoy PATH"
                        .to_owned(),
                }
            })?),
        };
        Ok(Binaries {
            citadel: self.own("weft-citadel")?,
            pilot: self.own("weft-pilot")?,
            telemetry: self.own("weft-telemetry")?,
            proxy: self.own("weft-proxy")?,
            envoy,
        })
    }

    /// The program of a workload: a path counts from `directory`, a name is looked for on `PATH`, then beside meshctl.
    pub(crate) fn command(&self, program: &str, directory: &Path) -> Result<PathBuf, NotFound> {
        if !program.contains('/') {
            let found = self.on_path(program).or_else(|| executable(self.beside.join(program)));
            return found.ok_or_else(|| NotFound {
                program: program.to_owned(),
                reason: "command not found on PATH; write a path such as ./app for a program beside the mesh file"
                    .to_owned(),
            });
        }
        let path = directory.join(program);
        let reason = if path.is_file() {
            "is not executable"
        } else {
            "no such file"
        };
        executable(path.clone()).ok_or_else(|| NotFound {
            program: program.to_owned(),
            reason: format!("{reason} ({})", path.display()),
        })
    }

    fn own(&self, name: &str) -> Result<PathBuf, NotFound> {
        let found = executable(self.beside.join(name)).or_else(|| self.on_path(name));
        found.ok_or_else(|| NotFound {
            program: name.to_owned(),
            reason: format!("found neither in {} nor on PATH", self.beside.display()),
        })
    }

    fn on_path(&self, name: &str) -> Option<PathBuf> {
        self.path.iter().find_map(|directory| executable(directory.join(name)))
    }
}

fn executable(path: PathBuf) -> Option<PathBuf> {
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.is_file() && metadata.permissions().mode() & 0o111 != 0).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(directory: &Path, name: &str, mode: u32) -> PathBuf {
        std::fs::create_dir_all(directory).unwrap();
        let path = directory.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn programs_are_found_in_order() {
        let root = tempfile::tempdir().unwrap();
        let (beside, on_path, mesh) = (
            root.path().join("beside"),
            root.path().join("path"),
            root.path().join("mesh"),
        );
        let own = program(&beside, "weft-proxy", 0o755);
        let sample = program(&beside, "sample", 0o755);
        program(&on_path, "weft-proxy", 0o755);
        let python = program(&on_path, "python3", 0o755);
        program(&on_path, "data", 0o644);
        let app = program(&mesh, "app", 0o755);
        program(&mesh, "readme", 0o644);
        let tools = Tools::new(beside, on_path.as_os_str());

        assert_eq!(tools.own("weft-proxy"), Ok(own));
        assert_eq!(tools.command("python3", &mesh), Ok(python));
        assert_eq!(tools.command("sample", &mesh), Ok(sample));
        assert_eq!(
            tools
                .command("./app", &mesh)
                .map(|path| path.file_name().map(OsStr::to_owned)),
            Ok(app.file_name().map(OsStr::to_owned))
        );
        for (name, reason) in [
            ("data", "command not found"),
            ("./readme", "is not executable"),
            ("./gone", "no such file"),
        ] {
            let error = tools.command(name, &mesh).unwrap_err().to_string();
            assert!(error.starts_with(name) && error.contains(reason), "{error}");
        }
        let error = tools.binaries(None).unwrap_err().to_string();
        assert!(error.starts_with("weft-citadel: found neither in "), "{error}");
    }
}
