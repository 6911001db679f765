//! Measures the pod path and writes `target/bench/pod-path.json`: pairs in one run, medians of ratios, never an
//! assertion. It ends with 0 once all was measured, whatever the values; what could not be measured is in the file too,
//! without a value and with the reason.

mod figure;
mod inside;
mod kernel;
mod lab;
mod pairs;
mod stats;
mod thin;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};

use figure::{Figure, Figures};

#[derive(Parser)]
#[command(about = "Measures the pod path", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// The way of packets between pods, and of pods into the network
    PodPath(PodPath),
    /// What is measured inside a lab's node
    #[command(hide = true)]
    Inside { task: PathBuf },
}

#[derive(Args)]
struct PodPath {
    /// Only these parts; figures of the others are taken from the file of an earlier run
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Few rounds: to see that everything works
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Programs alone, by test runs
    Kernel,
    /// Pods against pods, beside the same over a bridge
    Pairs,
    /// Pods made one by one and all at once, policy, and the agent, on a thin node
    Thin,
}

const ALL: &[Part] = &[Part::Kernel, Part::Thin, Part::Pairs];

impl Part {
    fn figures(self) -> Vec<Figure> {
        match self {
            Part::Kernel => kernel::figures(),
            Part::Pairs => pairs::figures(),
            Part::Thin => thin::figures(),
        }
    }

    fn prefixes(self) -> &'static [&'static str] {
        match self {
            Part::Kernel => kernel::PREFIXES,
            Part::Pairs => pairs::PREFIXES,
            Part::Thin => thin::PREFIXES,
        }
    }

    fn measure(self, figures: &mut Figures, quick: bool) -> Result<()> {
        match self {
            Part::Kernel => {
                let effort = if quick { (60, 50) } else { (1500, 50) };
                kernel::measure(figures, kernel::Effort { turns: effort.0, packets: effort.1 })
            }
            Part::Pairs => {
                let (rounds, seconds) = if quick { (3, 1.0) } else { (15, 3.0) };
                pairs::measure(figures, pairs::Effort { rounds, seconds })
            }
            Part::Thin => {
                let (adds, changes, restarts) = if quick { (10, 10, 2) } else { (200, 200, 9) };
                thin::measure(figures, thin::Effort { adds, changes, restarts })
            }
        }
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().bench {
        Bench::PodPath(wish) => pod_path(&wish),
        Bench::Inside { task } => inside::run(&task),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Root of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn pod_path(wish: &PodPath) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "measuring makes namespaces and loads programs: it needs root"
    );
    let path = root().join("target/bench/pod-path.json");
    let mut figures = Figures::new(path, ALL.iter().flat_map(|part| part.figures()).collect());
    let (wanted, others): (Vec<Part>, Vec<Part>) =
        ALL.iter().partition(|part| wish.only.is_empty() || wish.only.contains(part));
    for part in others {
        figures.keep(part.prefixes())?;
        figures.give_up(part.prefixes(), "left out by --only")?;
    }
    for part in wanted {
        eprintln!("{part:?}:");
        if let Err(error) = part.measure(&mut figures, wish.quick) {
            let reason = format!("{error:#}");
            eprintln!("{part:?} could not be measured in full: {reason}");
            figures.give_up(part.prefixes(), &reason)?;
        }
        // Nothing is left without a value or a reason.
        figures.give_up(part.prefixes(), "the measurement ended without it")?;
    }
    figures.write()?;
    figures.print();
    Ok(())
}
