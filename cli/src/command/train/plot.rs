//! The course of a training as a picture.

use glacier_wire::training::{EpochMetrics, Metric, Point};
use plotters::prelude::*;
use std::collections::BTreeMap;

/// Width and height of each of the two panels.
const PANEL: (u32, u32) = (860, 300);
const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
];

/// A line of the picture.
type Series = (String, Vec<(f64, f64)>);

/// Loss over steps above, and below it what was measured after each epoch, as SVG.
pub(crate) fn draw(points: &[Point], epochs: &[EpochMetrics]) -> String {
    let mut svg = String::new();
    let (mut losses, metrics) = series(points, epochs);
    let panels = if metrics.is_empty() { 1 } else { 2 };
    {
        let root = SVGBackend::with_string(&mut svg, (PANEL.0, PANEL.1 * panels)).into_drawing_area();
        let _ = root.fill(&WHITE);
        let areas = root.split_evenly((panels as usize, 1));
        losses.retain(|(_, line)| !line.is_empty());
        // Writing into a string cannot fail; a picture that cannot be drawn (no points at all) stays white.
        if let Some(area) = areas.first() {
            let _ = panel(area, "step", "loss", &losses);
        }
        if let Some(area) = areas.get(1) {
            let _ = panel(area, "epoch", "held-out rows", &metrics);
        }
        let _ = root.present();
    }
    svg
}

/// Losses over steps; metrics over epochs.
fn series(points: &[Point], epochs: &[EpochMetrics]) -> (Vec<Series>, Vec<Series>) {
    let training = points.iter().map(|point| (point.step as f64, f64::from(point.loss.get()))).collect();
    let mut validation = Vec::new();
    let mut metrics: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for epoch in epochs {
        for measured in &epoch.validation {
            let value = f64::from(measured.value.get());
            match measured.metric {
                Metric::Loss => validation.push((epoch.steps as f64, value)),
                metric => metrics.entry(metric.as_str()).or_default().push((f64::from(epoch.epoch), value)),
            }
        }
    }
    let losses = vec![("training".to_owned(), training), ("held out".to_owned(), validation)];
    (losses, metrics.into_iter().map(|(name, line)| (name.to_owned(), line)).collect())
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    x: &str,
    y: &str,
    lines: &[Series],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let all = || lines.iter().flat_map(|(_, line)| line);
    let bounds = |place: fn(&(f64, f64)) -> f64| {
        let low = all().map(place).fold(f64::MAX, f64::min);
        let high = all().map(place).fold(f64::MIN, f64::max);
        let margin = ((high - low) * 0.05).max(1e-6);
        low - margin..high + margin
    };
    if all().next().is_none() {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(56)
        .build_cartesian_2d(bounds(|point| point.0), bounds(|point| point.1))?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw()?;
    for ((name, line), colour) in lines.iter().zip(COLOURS.into_iter().cycle()) {
        chart
            .draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.2)).draw()?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use glacier_wire::training::{Measured, Real};

    #[test]
    fn every_line_is_in_the_picture_and_no_points_are_no_fault() {
        let real = |value| Real::new(value).unwrap();
        let point = |step| Point { step, loss: real(1.0 / step as f32), rate: real(0.1), norm: real(1.0) };
        let points: Vec<_> = (1..50).map(point).collect();
        let validation = vec![
            Measured { metric: Metric::Loss, value: real(0.5) },
            Measured { metric: Metric::Accuracy, value: real(0.9) },
        ];
        let epochs: Vec<_> = (1..4)
            .map(|epoch| EpochMetrics { epoch, steps: 10, loss: real(0.3), validation: validation.clone() })
            .collect();
        let svg = draw(&points, &epochs);
        assert!(["training", "held out", "accuracy", "step", "epoch"].iter().all(|word| svg.contains(word)));
        assert!(draw(&[], &[]).starts_with("<svg"));
        assert!(draw(&points[..1], &[]).contains("loss"));
    }
}
