//! The plots, written as SVG: legible on light and dark pages.

use super::{Scene, assumptions::Assumptions, format::number, summary::Summary};
use std::fmt::Write as _;

/// File name and text.
pub(super) fn all(scene: &Scene) -> Vec<(&'static str, String)> {
    let runs: Vec<Summary> = scene.runs.iter().map(|run| Summary::of(run, &scene.assumed, &scene.gas)).collect();
    let mut plots = vec![("gas.svg", gas(&runs, &scene.assumed))];
    if let (Some(run), Some(history)) = (runs.last(), scene.runs.last()) {
        let mut sum = 0.0;
        let slots: Vec<f64> = history
            .days
            .iter()
            .map(|day| {
                sum += day.slots() as f64;
                sum
            })
            .collect();
        plots.push(("year.svg", year(run, &slots)));
    }
    plots
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Left, right, top, bottom of the frame.
const FRAME: [f64; 4] = [70.0, 650.0, 40.0, 350.0];

/// Greys that stand out from white and from near-black alike; a page's own background shows through.
const STYLE: &str = "<style>\
text{font:13px system-ui,sans-serif;fill:#6b7280}.title{font-size:15px}\
.axis{stroke:#6b7280;stroke-width:1}.grid{stroke:#9ca3af;stroke-opacity:.3}\
.a{stroke:#2f81d6;fill:none;stroke-width:2}.b{stroke:#d9622b;fill:none;stroke-width:2}\
.at{fill:#2f81d6}.bt{fill:#d9622b}.limit{stroke:#8b5cc7;stroke-width:1.5;stroke-dasharray:6 4}.lt{fill:#8b5cc7}\
@media(prefers-color-scheme:dark){text{fill:#a8b0bd}.at{fill:#5aa5f0}.bt{fill:#f08a58}.lt{fill:#b794e6}}\
</style>";

/// Mean and peak epoch against the size, beside what the blocks of a day hold. Both axes logarithmic.
fn gas(runs: &[Summary], assumed: &Assumptions) -> String {
    let (left, right) = (1.0, 6.0);
    let (low, high) = (5.0, 14.0);
    let mut plot = Plot::new("Gas of an epoch against the number of nodes", (left, right), (low, high));
    for decade in left as i32..=right as i32 {
        plot.x_tick(f64::from(decade), &number(power(decade)));
    }
    for decade in low as i32..=high as i32 {
        plot.y_tick(f64::from(decade), &number(power(decade)), 0);
    }
    for (name, gas) in [
        ("all blocks of the L2", assumed.l2_day()),
        ("all blocks of L1", assumed.l1_day()),
        ("fair share of L1", assumed.l1_day() * assumed.fair_share),
    ] {
        plot.limit(log10(gas), name);
    }
    let line = |of: &dyn Fn(&Summary) -> f64| -> Vec<(f64, f64)> {
        runs.iter().map(|run| (log10(f64::from(run.nodes)), log10(of(run)))).collect()
    };
    plot.line("a", &line(&|run| run.mean_gas));
    plot.line("b", &line(&|run| run.peak_gas));
    plot.legend((420.0, 310.0), &[("a", "mean epoch"), ("b", "peak epoch")]);
    plot.end("nodes")
}

/// The largest network through its time: gas of each epoch, and storage slots.
fn year(run: &Summary, slots: &[f64]) -> String {
    let days = run.gas.len().max(2) as f64;
    let (most_gas, most_slots) = (round_up(run.peak_gas), round_up(slots.last().copied().unwrap_or(1.0)));
    let title = format!("{} nodes, day by day", number(f64::from(run.nodes)));
    let mut plot = Plot::new(&title, (0.0, days), (0.0, 1.0));
    for day in (0..run.gas.len()).step_by(60) {
        plot.x_tick(day as f64, &day.to_string());
    }
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        plot.y_tick(share, &number(most_gas * share), 0);
        plot.y_tick(share, &number(most_slots * share), 1);
    }
    // The first epoch is the deployment.
    plot.line(
        "a",
        &run.gas.iter().enumerate().skip(1).map(|(day, gas)| (day as f64, gas / most_gas)).collect::<Vec<_>>(),
    );
    plot.line("b", &slots.iter().enumerate().map(|(day, slots)| (day as f64, slots / most_slots)).collect::<Vec<_>>());
    plot.legend(
        (FRAME[0] + 14.0, FRAME[2] + 14.0),
        &[("a", "gas of the epoch (left)"), ("b", "storage slots so far (right)")],
    );
    plot.end("day")
}

struct Plot {
    svg: String,
    x: (f64, f64),
    y: (f64, f64),
}

impl Plot {
    fn new(title: &str, x: (f64, f64), y: (f64, f64)) -> Self {
        let [left, right, top, bottom] = FRAME;
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n{STYLE}\n\
            <text class=\"title\" x=\"{left}\" y=\"22\">{title}</text>\n\
            <path class=\"axis\" fill=\"none\" d=\"M{left} {top}V{bottom}H{right}\"/>\n"
        );
        Self { svg, x, y }
    }

    fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [left, right, top, bottom] = FRAME;
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        let up = ((y - self.y.0) / (self.y.1 - self.y.0)).clamp(0.0, 1.0);
        (left + across * (right - left), bottom - up * (bottom - top))
    }

    fn x_tick(&mut self, x: f64, text: &str) {
        let (at, bottom) = self.at(x, self.y.0);
        let _ =
            writeln!(self.svg, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{text}</text>", bottom + 18.0);
    }

    /// `side` is 0 on the left, 1 on the right.
    fn y_tick(&mut self, y: f64, text: &str, side: usize) {
        let at = self.at(self.x.0, y).1;
        let edge = FRAME[side];
        let (shift, anchor) = if side == 0 { (-6.0, "end") } else { (6.0, "start") };
        if side == 0 {
            let _ = writeln!(self.svg, "<path class=\"grid\" d=\"M{:.1} {at:.1}H{:.1}\"/>", FRAME[0], FRAME[1]);
        }
        let _ = writeln!(
            self.svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{text}</text>",
            edge + shift,
            at + 4.0
        );
    }

    fn limit(&mut self, y: f64, text: &str) {
        let at = self.at(self.x.0, y).1;
        let _ = writeln!(self.svg, "<path class=\"limit\" d=\"M{:.1} {at:.1}H{:.1}\"/>", FRAME[0], FRAME[1]);
        let _ =
            writeln!(self.svg, "<text class=\"lt\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>", FRAME[0] + 170.0, at - 5.0);
    }

    fn line(&mut self, class: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let (x, y) = self.at(*x, *y);
            let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }

    fn legend(&mut self, (x, top): (f64, f64), entries: &[(&str, &str)]) {
        for (i, (class, text)) in entries.iter().enumerate() {
            let y = top + 18.0 * i as f64;
            let _ = writeln!(self.svg, "<path class=\"{class}\" d=\"M{x} {:.1}h22\"/>", y - 4.0);
            let _ = writeln!(self.svg, "<text class=\"{class}t\" x=\"{}\" y=\"{y}\">{text}</text>", x + 28.0);
        }
    }

    fn end(mut self, x_axis: &str) -> String {
        let _ = writeln!(
            self.svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{x_axis}</text>\n</svg>",
            FRAME[1],
            FRAME[3] + 38.0
        );
        self.svg
    }
}

fn log10(x: f64) -> f64 {
    super::random::ln(x.max(1.0)) / super::random::ln(10.0)
}

fn power(decade: i32) -> f64 {
    (0..decade).fold(1.0, |value, _| value * 10.0)
}

/// The next of 1, 2, 4, 8 times a power of ten.
fn round_up(x: f64) -> f64 {
    let mut decade = 1.0;
    while decade * 10.0 <= x {
        decade *= 10.0;
    }
    [1.0, 2.0, 4.0, 8.0, 10.0]
        .into_iter()
        .map(|times| times * decade)
        .find(|round| *round >= x)
        .unwrap_or(decade * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that a browser would refuse is no plot.
    #[test]
    fn plots_are_well_formed_and_within_their_frame() {
        let assumed = Assumptions { days: 60.0, growth_days: 30.0, ..Assumptions::default() };
        let scene = Scene::run(vec![10, 300], 1, assumed, super::super::Gas::committed().unwrap());
        let plots = all(&scene);
        assert_eq!(plots.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["gas.svg", "year.svg"]);
        for (name, svg) in plots {
            assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
            assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count(), "{name}");
            assert!(!svg.contains("NaN") && !svg.contains(" inf"), "{name}");
            assert!(svg.contains("prefers-color-scheme:dark"), "{name}");
            let lines = svg.lines().filter(|line| line.contains("class=\"a\"") || line.contains("class=\"b\""));
            for number in
                lines.flat_map(|line| line.split(['M', 'L', ' ', '"'])).filter_map(|word| word.parse::<f64>().ok())
            {
                assert!((0.0..=WIDTH).contains(&number), "{name}: {number}");
            }
        }
    }

    #[test]
    fn scales_end_on_round_numbers() {
        for (x, round) in [(1.0, 1.0), (3.1, 4.0), (70.0, 80.0), (81.0, 100.0), (1.2e11, 2e11)] {
            assert_eq!(round_up(x), round);
        }
        assert!((log10(1e9) - 9.0).abs() < 1e-9);
    }
}
