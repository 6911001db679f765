//! Figures: what shall be measured, what was, and the file that says so.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Value, json};

use crate::stats::{Estimate, noise};

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// A figure that a run shall give.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    /// `None`: it could not be measured, and `reason` says why.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    /// `None`: nothing was promised, the figure stands beside another.
    pub(crate) goal: Option<f64>,
    pub(crate) better: Better,
    /// How many measurements the value is drawn from.
    pub(crate) samples: usize,
    /// What it is compared with, or what another gets.
    pub(crate) peer: Option<&'static str>,
    /// Ends of the interval that holds the value with 95 % confidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<[f64; 2]>,
    /// How far rounds of the same thing lay apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) noise: Option<f64>,
    /// The two absolute medians behind a ratio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl Figure {
    fn new(name: String, unit: &'static str, better: Better) -> Self {
        Figure {
            name,
            value: None,
            unit,
            goal: None,
            better,
            samples: 0,
            peer: None,
            interval: None,
            noise: None,
            of: None,
            reason: None,
        }
    }

    /// A figure of which less is better.
    pub(crate) fn lower(name: impl Into<String>, unit: &'static str) -> Self {
        Figure::new(name.into(), unit, Better::Lower)
    }

    /// A figure of which more is better.
    pub(crate) fn higher(name: impl Into<String>, unit: &'static str) -> Self {
        Figure::new(name.into(), unit, Better::Higher)
    }

    /// With what was promised.
    pub(crate) fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// With what it is compared with.
    pub(crate) fn peer(mut self, peer: &'static str) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Whether the goal was reached; `None` where there is no goal or no value.
    pub(crate) fn reached(&self) -> Option<bool> {
        let (value, goal) = (self.value?, self.goal?);
        Some(match self.better {
            Better::Higher => value >= goal,
            Better::Lower => value <= goal,
        })
    }
}

/// All figures of a run, written to a file after each.
#[derive(Debug)]
pub(crate) struct Figures {
    figures: Vec<Figure>,
    path: PathBuf,
    start: Instant,
    machine: Value,
}

impl Figures {
    /// A run that shall give these, kept in `path`.
    pub(crate) fn new(path: PathBuf, figures: Vec<Figure>) -> Self {
        Figures { figures, path, start: Instant::now(), machine: machine() }
    }

    /// Something more about the machine.
    pub(crate) fn note(&mut self, name: &str, what: &str) {
        self.machine[name] = what.into();
    }

    fn find(&mut self, name: &str) -> Result<&mut Figure> {
        self.figures
            .iter_mut()
            .find(|f| f.name == name)
            .with_context(|| format!("figure {name} is not in the list"))
    }

    /// One number that is as it is.
    pub(crate) fn set(&mut self, name: &str, value: f64, samples: usize) -> Result<()> {
        let figure = self.find(name)?;
        (figure.value, figure.samples) = (Some(value), samples);
        self.tell(name)
    }

    /// A median with its interval.
    pub(crate) fn set_estimate(&mut self, name: &str, estimate: Estimate, samples: usize) -> Result<()> {
        let figure = self.find(name)?;
        (figure.value, figure.samples) = (Some(estimate.median), samples);
        figure.interval = Some([estimate.low, estimate.high]);
        self.tell(name)
    }

    /// A ratio of paired rounds, ours over theirs.
    pub(crate) fn set_ratio(&mut self, name: &str, ours: &[f64], theirs: &[f64]) -> Result<()> {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a / b).collect();
        let estimate = crate::stats::estimate(&ratios);
        let figure = self.find(name)?;
        figure.noise = Some(noise(theirs));
        figure.of = Some([crate::stats::median(ours), crate::stats::median(theirs)]);
        self.set_estimate(name, estimate, ratios.len())
    }

    fn tell(&mut self, name: &str) -> Result<()> {
        let seconds = self.start.elapsed().as_secs();
        let figure = self.find(name)?;
        eprintln!("[{seconds:>4} s] {}", row(figure));
        self.write()
    }

    /// Gives every figure whose name begins with one of `prefixes`, and that has no value, this reason.
    pub(crate) fn give_up(&mut self, prefixes: &[&str], reason: &str) -> Result<()> {
        let missing =
            |f: &&mut Figure| f.value.is_none() && prefixes.iter().any(|prefix| f.name.starts_with(prefix));
        for figure in self.figures.iter_mut().filter(missing) {
            figure.reason.get_or_insert_with(|| reason.to_owned());
        }
        self.write()
    }

    /// Takes over what an earlier run's file says of the figures whose names begin with one of `prefixes`.
    pub(crate) fn keep(&mut self, prefixes: &[&str]) -> Result<()> {
        let text = std::fs::read(&self.path).unwrap_or_default();
        let earlier: Value = serde_json::from_slice(&text).unwrap_or_default();
        let none = Vec::new();
        let earlier = earlier["figures"].as_array().unwrap_or(&none);
        let ours = |f: &&mut Figure| prefixes.iter().any(|prefix| f.name.starts_with(prefix));
        for figure in self.figures.iter_mut().filter(ours) {
            let Some(old) = earlier.iter().find(|old| old["name"] == figure.name.as_str()) else { continue };
            let pair = |name: &str| Some([old[name][0].as_f64()?, old[name][1].as_f64()?]);
            figure.value = old["value"].as_f64();
            figure.samples = old["samples"].as_u64().unwrap_or_default() as usize;
            (figure.interval, figure.of) = (pair("interval"), pair("of"));
            figure.noise = old["noise"].as_f64();
            let reason = old["reason"].as_str().filter(|_| figure.value.is_none());
            figure.reason = Some(reason.unwrap_or("of an earlier run").to_owned());
        }
        Ok(())
    }

    /// Writes the file as it stands.
    pub(crate) fn write(&self) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        let whole = json!({
            "figures": self.figures,
            "machine": self.machine,
            "seconds": self.start.elapsed().as_secs(),
        });
        let text = serde_json::to_string_pretty(&whole)?;
        std::fs::write(&self.path, text + "\n").with_context(|| format!("writing {}", self.path.display()))
    }

    /// The table.
    pub(crate) fn print(&self) {
        println!("{HEAD}");
        for figure in &self.figures {
            println!("{}", row(figure));
        }
        let reached = |wanted| self.figures.iter().filter(|f| f.reached() == Some(wanted)).count();
        let missing = self.figures.iter().filter(|f| f.value.is_none()).count();
        println!(
            "\n{} figures: {} goals reached, {} missed, {missing} not measured; {}",
            self.figures.len(),
            reached(true),
            reached(false),
            self.path.display()
        );
    }
}

const HEAD: &str =
    "figure                                                     value  unit          goal    95 % interval";

fn row(figure: &Figure) -> String {
    let value = figure.value.map_or("-".to_owned(), digits);
    let goal = figure.goal.map_or(String::new(), |goal| {
        let sign = if figure.better == Better::Higher { "≥" } else { "≤" };
        format!("{sign} {}", digits(goal))
    });
    let mark = match figure.reached() {
        Some(true) => " ✓",
        Some(false) => " ✗",
        None => "",
    };
    let interval =
        figure.interval.map_or(String::new(), |[low, high]| format!("{}–{}", digits(low), digits(high)));
    let reason = figure.reason.as_deref().unwrap_or_default();
    let text = format!(
        "{:<52} {value:>11}  {:<11} {goal:>8}{mark:<2}  {interval}{reason}",
        figure.name, figure.unit
    );
    text.trim_end().to_owned()
}

fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}").trim_end_matches(".0").to_owned(),
        _ => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// What the figures were measured on, and how busy it was with other things.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease"),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "load_at_start": read("/proc/loadavg"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let path = std::env::temp_dir().join(format!(
            "axoneme-figures-{}-{:?}.json",
            std::process::id(),
            std::thread::current().id()
        ));
        Figures::new(
            path,
            vec![Figure::lower("a.x", "ns").goal(100.0), Figure::higher("b.y", "ratio").goal(1.05)],
        )
    }

    #[test]
    fn every_figure_is_in_the_file() {
        let mut figures = figures();
        figures.set_ratio("b.y", &[11.0, 12.0, 11.0], &[10.0, 10.0, 10.0]).expect("written");
        figures.give_up(&["a."], "no kernel").expect("written");
        let text = std::fs::read(&figures.path).expect("the file");
        let _ = std::fs::remove_file(&figures.path);
        let all: Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(all["figures"][0]["value"], Value::Null);
        assert_eq!(all["figures"][0]["reason"], "no kernel");
        assert_eq!(all["figures"][1]["value"], 1.1);
        assert_eq!(all["figures"][1]["better"], "higher");
        assert_eq!(all["figures"][1]["samples"], 3);
        assert!(figures.set("c", 1.0, 1).is_err());
    }

    #[test]
    fn a_part_left_out_keeps_what_an_earlier_run_said() {
        let mut earlier = figures();
        earlier.set_ratio("b.y", &[11.0, 12.0], &[10.0, 10.0]).expect("written");
        let mut later = Figures::new(earlier.path.clone(), earlier.figures.clone());
        later.figures[1] = Figure::higher("b.y", "ratio").goal(1.05);
        later.keep(&["b."]).expect("read");
        let _ = std::fs::remove_file(&later.path);
        assert_eq!((later.figures[1].value, later.figures[1].samples), (earlier.figures[1].value, 2));
        assert_eq!(later.figures[0].value, None);
    }

    #[test]
    fn goals() {
        let with = |figure: Figure, value| Figure { value, ..figure }.reached();
        assert_eq!(with(Figure::lower("a", "ns").goal(100.0), Some(99.0)), Some(true));
        assert_eq!(with(Figure::lower("a", "ns").goal(100.0), Some(101.0)), Some(false));
        assert_eq!(with(Figure::higher("a", "x").goal(1.0), Some(1.0)), Some(true));
        assert_eq!(with(Figure::higher("a", "x").goal(1.0), None), None);
        assert_eq!(with(Figure::higher("a", "x"), Some(1.0)), None);
    }
}
