//! `cargo xtask images`: container images of every program, made without a container engine.
//!
//! An image holds the program, the shared libraries it is linked with and the few files it reads; there is no distribution below.

pub(crate) mod archive;
pub(crate) mod closure;
mod recipe;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use self::recipe::Recipe;
use crate::cluster::packages;
use crate::cluster::steps::Steps;
use crate::process::{self, Profile};
use crate::workspace;

/// What a released image may have at most.
const BYTES_MAX: u64 = 30_000_000;

/// What names of images begin with.
const HUB: &str = "docker.io/weft";

/// What to make.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask images
  cargo xtask images --profile dev proxy pilot
  docker load < target/images/proxy.tar
  cargo xtask cluster load proxy pilot")]
pub(crate) struct Arguments {
    /// Images to make; default: all.
    names: Vec<String>,
    /// How the programs are built: `release`, or `dev`, which is quick to build and larger.
    #[arg(long, default_value = "release")]
    profile: Profile,
    /// What names begin with.
    #[arg(long, default_value = HUB)]
    hub: String,
    /// What names end with.
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    tag: String,
}

/// Builds the programs and writes the images, below `target/images`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let recipes = chosen(&arguments.names)?;
    // Before the long build: what is missing is known now.
    packages::ensure_for_images(&Steps::new("images"))?;
    arguments.profile.build()?;
    let folder = folder();
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for recipe in recipes {
        let name = format!("{}/{}:{}", arguments.hub, recipe.name, arguments.tag);
        let program = stripped(&recipe, arguments.profile, &folder)?;
        let image = recipe.image(name, &program)?;
        let path = folder.join(recipe.name).with_extension("tar");
        let written = archive::write(&image, &path);
        fs::remove_file(program)?;
        written?;
        let bytes = fs::metadata(&path)?.len();
        if arguments.profile == Profile::Release && bytes > BYTES_MAX {
            bail!("{} has {bytes} bytes, {BYTES_MAX} is the limit", path.display());
        }
        #[allow(clippy::cast_precision_loss, reason = "a size to look at")]
        let megabytes = bytes as f64 / 1e6;
        println!("{}\t{megabytes:.1} MB\t{}", image.name, path.display());
    }
    Ok(())
}

/// The images of tests: quick to build, under the names that manifests have.
pub(crate) fn dev(names: &[&str]) -> Result<()> {
    run(&Arguments {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        profile: Profile::Dev,
        hub: HUB.to_owned(),
        tag: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Where images are.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("images")
}

fn chosen(names: &[String]) -> Result<Vec<Recipe>> {
    let all = recipe::all();
    for name in names {
        let known: Vec<&str> = all.iter().map(|recipe| recipe.name).collect();
        ensure!(
            known.contains(&name.as_str()),
            "there is no image {name:?}; there are {}",
            known.join(", ")
        );
    }
    let is_chosen = |recipe: &Recipe| names.is_empty() || names.iter().any(|name| name == recipe.name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// A copy of the program without names that only a debugger reads.
fn stripped(recipe: &Recipe, profile: Profile, folder: &Path) -> Result<PathBuf> {
    let built = profile.folder().join(recipe.program);
    let copy = folder.join(format!("{}.stripped", recipe.name));
    let mut strip = Command::new("strip");
    strip.args(["--strip-all", "-o"]).arg(&copy).arg(&built);
    process::output(&mut strip).context("strip (Debian: binutils) makes the images small")?;
    Ok(copy)
}
