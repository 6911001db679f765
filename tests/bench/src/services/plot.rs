//! The plot: latency over the number of services, as an SVG of its own making. Nothing here touches the system.

use std::fmt::Write;

/// A line of the plot.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) color: &'static str,
    /// Number of services, microseconds.
    pub(super) points: Vec<(u32, f64)>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
/// Around the axes: for their texts, and on the right for the lines' names.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// The whole file.
pub(super) fn svg(lines: &[Line]) -> String {
    let scale = Scale::of(lines);
    let mut out = String::new();
    scale.frame(&mut out);
    let mut names: Vec<(f64, &Line)> = Vec::new();
    for line in lines {
        scale.line(&mut out, line);
        if let Some((_, last)) = line.points.last() {
            names.push((scale.y(*last), line));
        }
    }
    // Names beside the lines' ends, pushed apart where ends lie together.
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut lowest = TOP - 16.0;
    for (y, line) in names {
        lowest = (lowest + 16.0).max(y);
        let x = WIDTH - RIGHT + 10.0;
        let value = line.points.last().map_or(0.0, |(_, value)| *value);
        text(&mut out, x, lowest + 4.0, "start", line.color, &format!("{} ({value:.0} µs)", line.name));
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{out}</svg>\n"
    )
}

/// From numbers to places.
struct Scale {
    counts: Vec<u32>,
    top: f64,
    step: f64,
}

impl Scale {
    fn of(lines: &[Line]) -> Scale {
        let mut counts: Vec<u32> = lines.iter().flat_map(|line| line.points.iter().map(|p| p.0)).collect();
        counts.sort_unstable();
        counts.dedup();
        let highest = lines.iter().flat_map(|line| line.points.iter().map(|p| p.1)).fold(10.0, f64::max);
        let step = step(highest);
        Scale { counts, top: (highest / step).ceil() * step, step }
    }

    fn x(&self, count: u32) -> f64 {
        let log = |count: u32| f64::from(count.max(1)).log10();
        let (first, last) =
            (self.counts.first().map_or(0.0, |c| log(*c)), self.counts.last().map_or(1.0, |c| log(*c)));
        let width = WIDTH - LEFT - RIGHT;
        LEFT + if last > first { (log(count) - first) / (last - first) * width } else { width / 2.0 }
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - value / self.top * (HEIGHT - TOP - BOTTOM)
    }

    fn frame(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        text(
            out,
            LEFT,
            26.0,
            "start",
            "#24292f",
            "New connections from pod to pod through a service: p50 of connect()",
        );
        let mut value = 0.0;
        while value <= self.top + self.step / 2.0 {
            let y = self.y(value);
            let _ = writeln!(out, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#d0d7de\"/>");
            text(out, LEFT - 8.0, y + 4.0, "end", "#57606a", &format!("{value:.0}"));
            value += self.step;
        }
        for count in &self.counts {
            let x = self.x(*count);
            let _ = writeln!(out, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#eaeef2\"/>");
            text(out, x, bottom + 18.0, "middle", "#57606a", &thousands(*count));
        }
        text(out, (LEFT + right) / 2.0, HEIGHT - 16.0, "middle", "#24292f", "services (logarithmic)");
        text(out, LEFT - 8.0, TOP - 8.0, "end", "#24292f", "µs");
    }

    fn line(&self, out: &mut String, line: &Line) {
        let places: Vec<(f64, f64)> = line.points.iter().map(|(c, v)| (self.x(*c), self.y(*v))).collect();
        let joined: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let color = line.color;
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            joined.join(" ")
        );
        for (x, y) in places {
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{color}\"/>");
        }
    }
}

/// A round number of which five to ten make `highest`.
fn step(highest: f64) -> f64 {
    let mut unit = 1.0;
    while highest / unit > 100.0 {
        unit *= 10.0;
    }
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * unit)
        .into_iter()
        .find(|step| highest / step <= 10.0)
        .unwrap_or(unit)
}

fn thousands(count: u32) -> String {
    if count < 1000 { count.to_string() } else { format!("{},{:03}", count / 1000, count % 1000) }
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, color: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{text}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(u32, f64)]) -> Line {
        Line { name: "ours", color: "#000", points: points.to_vec() }
    }

    #[test]
    fn places_follow_numbers() {
        let scale = Scale::of(&[line(&[(1, 60.0), (1000, 61.0), (30_000, 640.0)])]);
        assert!(scale.x(1) < scale.x(1000) && scale.x(1000) < scale.x(30_000));
        assert_eq!((scale.x(1), scale.x(30_000)), (LEFT, WIDTH - RIGHT));
        assert!(scale.y(640.0) < scale.y(60.0) && scale.y(640.0) >= TOP);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([10.0, 64.0, 99.0, 101.0, 640.0, 4500.0].map(step), [1.0, 10.0, 10.0, 20.0, 100.0, 500.0]);
    }

    #[test]
    fn every_line_is_drawn() {
        let svg = svg(&[line(&[(1, 60.0), (1000, 61.0)]), line(&[(1, 50.0)]), line(&[])]);
        assert_eq!(svg.matches("<polyline").count(), 3);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.ends_with("</svg>\n") && svg.contains("1,000"));
    }
}
