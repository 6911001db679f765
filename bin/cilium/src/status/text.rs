//! The text form.

use super::model::{Installation, PodState};
use api::table::{Columns, layout_as};
use std::fmt::Write;

const COLUMNS: Columns = Columns { least: 0, gap: 4 };

/// Escape sequences, or nothing.
struct Colours {
    red: &'static str,
    green: &'static str,
    yellow: &'static str,
    blue: &'static str,
    magenta: &'static str,
    cyan: &'static str,
    off: &'static str,
}

const COLOURED: Colours = Colours {
    red: "\x1b[31m",
    green: "\x1b[32m",
    yellow: "\x1b[33m",
    blue: "\x1b[34m",
    magenta: "\x1b[35m",
    cyan: "\x1b[36m",
    off: "\x1b[0m",
};
const PLAIN: Colours = Colours { red: "", green: "", yellow: "", blue: "", magenta: "", cyan: "", off: "" };

/// The logo with the state of each part, and the tables.
pub(crate) fn summary(seen: &Installation, colours: bool) -> String {
    let c = if colours { COLOURED } else { PLAIN };
    let mut text = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = logo(seen, &c, &mut text);
    let _ = tables(seen, &c, &mut text);
    layout_as(&text, COLUMNS)
}

fn logo(seen: &Installation, c: &Colours, w: &mut String) -> std::fmt::Result {
    let Colours { red, green, yellow, blue, magenta, cyan, off } = c;
    let part = |name: &str, absent: &str| state(seen, name, absent, c);
    let (agent, operator) = (part("cilium", "disabled"), part("cilium-operator", "disabled"));
    let envoy = part("cilium-envoy", "disabled (using embedded mode)");
    let (relay, mesh) = (part("hubble-relay", "disabled"), part("clustermesh-apiserver", "disabled"));
    writeln!(w, "{yellow}    /¯¯\\{off}")?;
    writeln!(w, "{cyan} /¯¯{yellow}\\__/{green}¯¯\\{off}\tCilium:\t{agent}")?;
    writeln!(w, "{cyan} \\__{red}/¯¯\\{green}__/{off}\tOperator:\t{operator}")?;
    writeln!(w, "{green} /¯¯{red}\\__/{magenta}¯¯\\{off}\tEnvoy DaemonSet:\t{envoy}")?;
    writeln!(w, "{green} \\__{blue}/¯¯\\{magenta}__/{off}\tHubble Relay:\t{relay}")?;
    writeln!(w, "{blue}    \\__/{off}\tClusterMesh:\t{mesh}")?;
    writeln!(w)
}

/// `OK`, what is wrong, or that the part is not there.
fn state(seen: &Installation, part: &str, absent: &str, c: &Colours) -> String {
    let (errors, warnings) = seen.count(part);
    let mut words = Vec::new();
    if errors > 0 {
        words.push(format!("{}{errors} errors{}", c.red, c.off));
    }
    if warnings > 0 {
        words.push(format!("{}{warnings} warnings{}", c.yellow, c.off));
    }
    match seen.pod_state.get(part) {
        _ if !words.is_empty() => words.join(", "),
        Some(PodState { disabled: false, .. }) => format!("{}OK{}", c.green, c.off),
        _ => format!("{}{absent}{}", c.cyan, c.off),
    }
}

fn tables(seen: &Installation, c: &Colours, w: &mut String) -> std::fmt::Result {
    for kind in ["DaemonSet", "Deployment"] {
        for (name, state) in seen.pod_state.iter().filter(|(_, state)| state.kind == kind && !state.disabled)
        {
            writeln!(w, "{kind}\t{name}\t{}", numbers(state, c))?;
        }
    }
    list(w, "Containers:", &seen.phase_count)?;
    let count = &seen.pods_count;
    writeln!(w, "Cluster Pods:\t{}/{} managed by Cilium", count.by_cilium, count.all)?;
    if !seen.helm_chart_version.is_empty() {
        writeln!(w, "Helm chart version:\t{}", seen.helm_chart_version)?;
    }
    list(w, "Image versions", &seen.image_count)?;
    let mut header = "Configuration:";
    for error in &seen.config_errors {
        writeln!(w, "{header}\t \t{error}")?;
        header = "";
    }
    faults(seen, w)
}

fn numbers(state: &PodState, c: &Colours) -> String {
    let PodState { desired, ready, available, unavailable, .. } = state;
    let of = |number: &u64| {
        let colour = if number < desired { c.yellow } else { c.green };
        format!("{colour}{number}/{desired}{}", c.off)
    };
    let mut text = format!("Desired: {desired}, Ready: {}, Available: {}", of(ready), of(available));
    if *unavailable > 0 {
        // Writing to a String cannot fail.
        let _ = write!(text, ", Unavailable: {}{unavailable}/{desired}{}", c.red, c.off);
    }
    text
}

type Counts = std::collections::BTreeMap<String, std::collections::BTreeMap<String, usize>>;

fn list(w: &mut String, title: &str, counts: &Counts) -> std::fmt::Result {
    let mut title = title;
    for (name, kinds) in counts {
        for (kind, count) in kinds {
            writeln!(w, "{title}\t{name}\t{kind}: {count}")?;
            title = "";
        }
    }
    Ok(())
}

fn faults(seen: &Installation, w: &mut String) -> std::fmt::Result {
    let mut title = "Errors:";
    for error in &seen.collection_errors {
        writeln!(w, "{title}\t \t \t{error}")?;
        title = "";
    }
    for (part, pods) in &seen.errors {
        for (pod, faults) in pods {
            for error in &faults.errors {
                writeln!(w, "{title}\t{part}\t{pod}\t{error}")?;
                title = "";
            }
        }
    }
    let mut title = "Warnings:";
    for (part, pods) in &seen.errors {
        for (pod, faults) in pods {
            for warning in &faults.warnings {
                writeln!(w, "{title}\t{part}\t{pod}\t{warning}")?;
                title = "";
            }
        }
    }
    Ok(())
}
