//! `cargo xtask attack`: a table of attacks goes through Envoy and through weft-proxy, each followed by other clients, and is judged by
//! what reached the upstream.

mod certificates;
mod perform;
mod row;
mod setup;
mod table;
mod verdict;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use self::perform::Outcome;
use self::row::{Attack, Group};
use self::verdict::Verdict;
use crate::bench::Format;
use crate::process::Profile;
use crate::wire::locked;
use crate::wire::rig::Rig;
use crate::workspace;

/// Rows that run at the same time, but for those that are about resources.
const LANES: usize = 4;

const EXAMPLES: &str = "Examples:
  cargo xtask attack                      all rows
  cargo xtask attack \"C chunks\"           rows whose name contains the text
  cargo xtask attack --list               names alone
  cargo xtask attack -o json E            what both did, for a program";

/// Which attacks, and how they are reported.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Only rows whose name contains this; a name begins with the letter of its group, A to E.
    filter: Option<String>,
    /// Print the names of rows and run none.
    #[arg(long)]
    list: bool,
    /// Form of the report on stdout.
    #[arg(short, long, default_value = "table")]
    output: Format,
    /// Print every row, and not only those in which ours does more than Envoy.
    #[arg(short, long)]
    verbose: bool,
    /// Attack the program that is there instead of building it.
    #[arg(long)]
    no_build: bool,
}

/// A row that has been through both.
struct Judged {
    number: usize,
    row: Attack,
    envoy: Outcome,
    weft: Outcome,
    verdict: Verdict,
}

/// Attacks and reports; an error where ours is not as strict as Envoy, and no row says why.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    let rows: Vec<Attack> = table::all()
        .into_iter()
        .filter(|row| row.name.contains(filter))
        .collect();
    if arguments.list {
        for row in &rows {
            println!("{}", row.name);
        }
        return Ok(());
    }
    if rows.is_empty() {
        bail!("no row's name contains {filter:?}; --list names them");
    }
    if !arguments.no_build {
        Profile::Dev.build()?;
    }
    let dir = workspace::target().join(format!("attack-{}", std::process::id()));
    let judged = attack_all(rows, &dir).with_context(|| format!("configs and logs are in {}", dir.display()))?;
    std::fs::remove_dir_all(&dir)?;
    match arguments.output {
        Format::Table => print_table(&judged, arguments.verbose),
        Format::Json => println!("{}", Value::Array(judged.iter().map(Judged::json).collect())),
    }
    let failed = judged.iter().filter(|judged| judged.fails()).count();
    if failed > 0 {
        bail!("{failed} of {} rows fail", judged.len());
    }
    Ok(())
}

fn attack_all(rows: Vec<Attack>, dir: &Path) -> Result<Vec<Judged>> {
    let certificates = dir.join("certificates");
    certificates::write(&certificates)?;
    let config = |places: &_| setup::config(places, &certificates);
    let mut rig = Rig::start(dir, LANES * setup::LISTENERS.len(), LANES, &config)?;
    let count = rows.len();
    let (alone, together): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .enumerate()
        .partition(|(_, row)| row.group == Group::Resources);
    let begun = Instant::now();
    let done = AtomicUsize::new(0);
    let judged = Mutex::new(Vec::new());
    let one = |lane: usize, number: usize, row: Attack| -> Result<()> {
        let result = both(&rig, lane, row, number, &certificates)?;
        locked(&judged).push(result);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(100) || done == count {
            eprintln!(
                "attack: {done} of {count} rows after {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
        Ok(())
    };
    let queue = Mutex::new(together.into_iter());
    std::thread::scope(|scope| {
        let lane = |lane: usize| {
            loop {
                let next = locked(&queue).next();
                let Some((number, row)) = next else { return Ok(()) };
                one(lane, number, row)?;
            }
        };
        let lanes: Vec<_> = (0..LANES).map(|number| scope.spawn(move || lane(number))).collect();
        lanes
            .into_iter()
            .map(|lane| lane.join().unwrap_or_else(|_| bail!("a lane panicked")))
            .collect::<Result<Vec<()>>>()
    })?;
    for (number, row) in alone {
        one(0, number, row)?;
    }
    let mut judged = judged.into_inner().unwrap_or_else(PoisonError::into_inner);
    rig.envoy.check_running()?;
    rig.weft.check_running()?;
    rig.stop();
    judged.sort_by_key(|judged| judged.number);
    Ok(judged)
}

/// Envoy first where memory is looked at, else both at once.
fn both(rig: &Rig, lane: usize, row: Attack, number: usize, certificates: &Path) -> Result<Judged> {
    let through = |side| perform::perform(side, lane, &row, number, certificates).with_context(|| row.name.clone());
    let (envoy, weft) = if row.group == Group::Resources {
        (through(&rig.envoy), through(&rig.weft))
    } else {
        std::thread::scope(|scope| {
            let envoy = scope.spawn(|| through(&rig.envoy));
            let weft = through(&rig.weft);
            (envoy.join().unwrap_or_else(|_| bail!("a client panicked")), weft)
        })
    };
    let (envoy, weft) = (envoy.context("through Envoy")?, weft.context("through weft-proxy")?);
    let verdict = verdict::verdict(&row, &envoy, &weft);
    Ok(Judged {
        number,
        row,
        envoy,
        weft,
        verdict,
    })
}

// === impl Judged ===

impl Judged {
    fn is_laxer(&self) -> bool {
        matches!(self.verdict, Verdict::Laxer(_))
    }

    /// Laxer without a reason, or a reason without need.
    fn fails(&self) -> bool {
        self.is_laxer() == self.row.reason.is_empty() && (self.is_laxer() || !self.row.reason.is_empty())
    }

    fn word(&self) -> &'static str {
        match (&self.verdict, self.row.reason.is_empty()) {
            (Verdict::Laxer(_), true) => "FAILS",
            (Verdict::Laxer(_), false) => "excused",
            (_, false) => "FAILS",
            (Verdict::Same, true) => "same",
            (Verdict::Stricter, true) => "stricter",
        }
    }

    fn why(&self) -> Vec<String> {
        match &self.verdict {
            Verdict::Laxer(faults) => faults.clone(),
            Verdict::Same | Verdict::Stricter if !self.row.reason.is_empty() => {
                vec![format!("is as strict now, remove its reason: {}", self.row.reason)]
            }
            Verdict::Same | Verdict::Stricter => Vec::new(),
        }
    }

    fn json(&self) -> Value {
        let of = |outcome: &Outcome| {
            json!({
                "answer": outcome.heard.summary(),
                "reached": outcome.reached.iter().map(verdict::short).collect::<Vec<_>>(),
                "another_client": outcome.poisoned,
                "grown_mib": outcome.grown_mib,
            })
        };
        json!({
            "name": self.row.name,
            "verdict": self.word(),
            "why": self.why(),
            "reason": self.row.reason,
            "envoy": of(&self.envoy),
            "weft": of(&self.weft),
        })
    }
}

fn print_table(judged: &[Judged], verbose: bool) {
    for judged in judged
        .iter()
        .filter(|judged| verbose || judged.fails() || judged.is_laxer())
    {
        println!("{:8} {}", judged.word(), judged.row.name);
        for why in judged.why() {
            println!("           {why}");
        }
        if judged.is_laxer() && !judged.row.reason.is_empty() {
            println!("           because {}", judged.row.reason);
        }
        for (name, outcome) in [("envoy", &judged.envoy), ("weft", &judged.weft)] {
            println!("  {name:6} {}", outcome.heard.summary());
            for message in &outcome.reached {
                println!("           upstream: {}", verdict::short(message));
            }
        }
    }
    let count = |word: &str| judged.iter().filter(|judged| judged.word() == word).count();
    let words = ["same", "stricter", "excused", "FAILS"];
    let counts: Vec<String> = words.iter().map(|word| format!("{} {word}", count(word))).collect();
    println!("{} rows: {}", judged.len(), counts.join(", "));
}
