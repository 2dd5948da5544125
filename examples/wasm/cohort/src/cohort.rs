//! What a table says of its rows together, and of none of them alone: the arithmetic, without an interface.

use std::fmt::Write;

/// Fewest rows of a table, of a bin that is told, and of all bins together that are not.
const CROWD: usize = 5;
/// Bins of a histogram.
const BINS: usize = 10;

/// Mean, deviation and a histogram of each column of a CSV table of numbers, or of the column that `path` names, with
/// `_` for spaces.
/// Bins of fewer than five rows are told as `null`, and the smallest others with them where the rest would tell those.
///
/// # Errors
/// A sentence that names a place in the table, never a value.
pub(crate) fn answer(path: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the table is not UTF-8".to_owned())?;
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().ok_or("the table is empty")?.split(',').map(str::trim).collect();
    let mut columns = vec![Vec::new(); names.len()];
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let mut cells = line.split(',');
        for (column, name) in columns.iter_mut().zip(&names) {
            let cell = cells.next().and_then(|cell| cell.trim().parse::<f64>().ok()).filter(|cell| cell.is_finite());
            column.push(cell.ok_or_else(|| format!("row {} has no number in `{name}`", number + 1))?);
        }
        if cells.next().is_some() {
            return Err(format!("row {} has more cells than the header", number + 1));
        }
    }
    let rows = columns.first().map_or(0, Vec::len);
    if rows < CROWD {
        return Err(format!("a table of fewer than {CROWD} rows is not summarised"));
    }
    let wanted = path.trim_matches('/');
    let is_wanted = |name: &str| wanted.is_empty() || name.replace(' ', "_") == wanted;
    if !names.iter().any(|name| is_wanted(name)) {
        return Err("the table has no such column".to_owned());
    }
    let mut out = format!("{{\"rows\":{rows},\"columns\":{{");
    let told = names.iter().zip(&columns).filter(|(name, _)| is_wanted(name));
    for (at, (name, column)) in told.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let summary = summary(column).ok_or_else(|| format!("the numbers in `{name}` are too large"))?;
        let plain = name.replace(|c: char| c.is_control() || matches!(c, '"' | '\\'), "_");
        let _ = write!(out, "{comma}\"{plain}\":{summary}");
    }
    out.push_str("}}\n");
    Ok(out.into_bytes())
}

/// `None` where sums of the numbers are no numbers any more.
fn summary(column: &[f64]) -> Option<String> {
    let count = column.len() as f64;
    let mean = column.iter().sum::<f64>() / count;
    let variance = column.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    if !variance.is_finite() {
        return None;
    }
    let (low, high) = column
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let mut bins = [0usize; BINS];
    for value in column {
        let place = if high > low { (value - low) / (high - low) * BINS as f64 } else { 0.0 };
        bins[(place as usize).min(BINS - 1)] += 1;
    }
    let least = least_told(bins);
    let bins = bins.map(|rows| if rows < least { "null".to_owned() } else { rows.to_string() });
    let (deviation, bins) = (variance.sqrt(), bins.join(","));
    Some(format!("{{\"mean\":{mean:.6},\"deviation\":{deviation:.6},\"histogram\":[{bins}]}}"))
}

/// How many rows a bin must have to be told. All rows less those that are told are the others': so no bin is left out
/// alone, nor some that have fewer than [`CROWD`] rows together.
fn least_told(mut bins: [usize; BINS]) -> usize {
    bins.sort_unstable();
    let mut least = CROWD;
    loop {
        let hidden = bins.partition_point(|rows| *rows < least);
        let rows: usize = bins[..hidden].iter().sum();
        if hidden == 0 || hidden == BINS || (hidden > 1 && rows >= CROWD) {
            return least;
        }
        least = bins[hidden] + 1;
    }
}
