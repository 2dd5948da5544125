//! The tables.

use super::{
    Scene, assumptions,
    assumptions::Assumptions,
    day::Purpose,
    format::{bytes, dollars, figures, number, percent, row, table},
    formula,
    gas::Op,
    limits,
    random::ln,
    simulation,
    summary::Summary,
};
use serde_json::json;

/// Name of a table and its text, in the order of the document.
pub(super) type Tables = Vec<(&'static str, String)>;

/// For a terminal.
pub(super) fn text(scene: &Scene) -> String {
    tables(scene).into_iter().fold(String::new(), |out, (name, table)| format!("{out}{name}\n\n{table}\n"))
}

/// For programs.
pub(super) fn json(scene: &Scene) -> String {
    let assumed: serde_json::Map<_, _> =
        scene.assumed.rows().into_iter().map(|(name, value, ..)| (name.to_owned(), json!(value))).collect();
    let gas: serde_json::Map<_, _> = Op::ALL.iter().map(|op| (op.key().to_owned(), json!(scene.gas.of(*op)))).collect();
    json!({ "seed": scene.seed, "assumed": assumed, "gas": gas, "runs": summaries(scene) }).to_string()
}

/// All tables of the document.
pub(super) fn tables(scene: &Scene) -> Tables {
    let runs = summaries(scene);
    let mut tables = vec![
        ("assumptions", assumed(&scene.assumed)),
        ("operations", operations(scene)),
        ("gas", gas(&runs, &scene.assumed)),
        ("purposes", purposes(&runs)),
        ("cost", cost(&runs, &scene.assumed)),
        ("transactions", transactions(&runs)),
        ("ledger", ledger(&runs, &scene.assumed)),
        ("collateral", collateral(&runs)),
        ("watchman", watchman(&runs, &scene.assumed)),
        ("logs", logs(scene)),
        ("epoch", epoch(&runs, &scene.assumed)),
    ];
    if let (Some(run), Some(history)) = (runs.last(), scene.runs.last()) {
        let mut limits_ = table(&["bound", "met at", "then"], "|---|---|---|");
        for limit in limits::all(run, &scene.assumed, &scene.gas) {
            row(&mut limits_, &[limit.what.into(), limit.met_at, limit.follows.into()]);
        }
        tables.push(("limits", limits_));
        tables.push(("choices", choices(scene)));
        tables.push(("formula", on_paper(&scene.assumed, &formula::simulated(history))));
    }
    tables
}

/// The document with its tables: each stands between `<!-- scale:NAME -->` and `<!-- /scale -->`.
pub(super) fn fill(document: &str, tables: &[(&'static str, String)]) -> Result<String, String> {
    let mut out = document.to_owned();
    for (name, table) in tables {
        let (open, close) = (format!("<!-- scale:{name} -->\n"), "<!-- /scale -->");
        let mut parts = out.split(&open);
        let (Some(before), Some(rest), None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(format!("docs/scale.md must have one `{}`", open.trim_end()));
        };
        let (_, after) = rest.split_once(close).ok_or_else(|| format!("table {name} of docs/scale.md has no end"))?;
        out = format!("{before}{open}{table}{close}{after}");
    }
    let marked = out.matches("<!-- scale:").count();
    if marked != tables.len() {
        return Err(format!("docs/scale.md marks {marked} tables, and there are {}", tables.len()));
    }
    Ok(out)
}

fn nodes(run: &Summary) -> String {
    let digits = run.nodes.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn summaries(scene: &Scene) -> Vec<Summary> {
    scene.runs.iter().map(|run| Summary::of(run, &scene.assumed, &scene.gas)).collect()
}

fn assumed(assumed: &Assumptions) -> String {
    let mut out = format!("Set down on {}.\n\n", assumptions::DATE);
    out += &table(&["flag", "value", "unit", "why"], "|---|---:|---|---|");
    for (name, value, unit, why) in assumed.rows() {
        row(&mut out, &[format!("`--{}`", name.replace('_', "-")), value.to_string(), unit.into(), why.into()]);
    }
    out
}

fn operations(scene: &Scene) -> String {
    let mut out =
        table(&["operation", "gas", "new slots", "event bytes", "calldata bytes"], "|---|---:|---:|---:|---:|");
    for op in Op::ALL {
        let left = op.footprint();
        let each = if *op == Op::CheckpointBatch100 { " (each)" } else { "" };
        row(
            &mut out,
            &[
                format!("`{}`", op.key()),
                scene.gas.of(*op).to_string(),
                left.slots.to_string(),
                format!("{}{each}", left.event),
                format!("{}{each}", left.calldata),
            ],
        );
    }
    out
}

fn gas(runs: &[Summary], assumed: &Assumptions) -> String {
    let mut out = figures(&[
        "nodes",
        "mean gas",
        "peak gas",
        "peak without a recovery",
        "peak / mean",
        "L1, mean",
        "L1, peak",
        "L2, mean",
        "L2, peak",
    ]);
    for run in runs {
        row(
            &mut out,
            &[
                nodes(run),
                number(run.mean_gas),
                number(run.peak_gas),
                number(run.calm_peak),
                number(run.peak_gas / run.mean_gas),
                percent(run.mean_gas / assumed.l1_day()),
                percent(run.peak_gas / assumed.l1_day()),
                percent(run.mean_gas / assumed.l2_day()),
                percent(run.peak_gas / assumed.l2_day()),
            ],
        );
    }
    out
}

fn purposes(runs: &[Summary]) -> String {
    let mut heads = vec!["nodes", "epoch"];
    heads.extend(Purpose::ALL.iter().map(|purpose| purpose.name()));
    let mut out = figures(&heads);
    for run in runs {
        for (which, gas, sum) in [("mean", &run.mean_for, run.mean_gas), ("peak", &run.peak_for, run.peak_gas)] {
            let mut cells = vec![nodes(run), which.to_owned()];
            cells.extend(gas.iter().map(|gas| format!("{:.0} %", gas / sum * 100.0)));
            row(&mut out, &cells);
        }
    }
    out
}

fn cost(runs: &[Summary], assumed: &Assumptions) -> String {
    let mut out = figures(&[
        "nodes",
        "L1, epoch",
        "L1, peak epoch",
        "L1, node and day",
        "of its earnings",
        "L2, epoch",
        "L2, node and day",
        "of its earnings",
    ]);
    for run in runs {
        let size = f64::from(run.nodes);
        let l1 = assumed.l1_usd(run.mean_gas);
        let l2 = assumed.l2_usd(run.mean_gas, run.transaction_bytes);
        row(
            &mut out,
            &[
                nodes(run),
                dollars(l1),
                dollars(assumed.l1_usd(run.peak_gas)),
                dollars(l1 / size),
                percent(l1 / size / assumed.earnings_usd),
                dollars(l2),
                dollars(l2 / size),
                percent(l2 / size / assumed.earnings_usd),
            ],
        );
    }
    out
}

fn transactions(runs: &[Summary]) -> String {
    let mut out = figures(&[
        "nodes",
        "transactions",
        "registrations",
        "most in one epoch",
        "renewals, full",
        "with a proven key",
        "checkpoints",
        "calls of aggregators",
        "claims",
        "lapsed in all",
        "ran out while away",
    ]);
    for run in runs {
        row(
            &mut out,
            &[
                nodes(run),
                number(run.transactions),
                number(run.registrations),
                number(run.peak_registrations as f64),
                number(run.renewals),
                number(run.kept_renewals),
                number(run.checkpoints),
                number(run.batches),
                number(run.claims),
                run.lapsed.to_string(),
                run.died_away.to_string(),
            ],
        );
    }
    out
}

fn ledger(runs: &[Summary], assumed: &Assumptions) -> String {
    let mut out = figures(&[
        "nodes",
        "slots, first year",
        "state",
        "events",
        "calldata",
        "slots of a node in a full year",
        "state of a full year",
    ]);
    for run in runs {
        row(
            &mut out,
            &[
                nodes(run),
                number(run.slots as f64),
                bytes(run.slots as f64 * assumed.slot_bytes),
                bytes(run.all_event_bytes as f64),
                bytes(run.all_calldata_bytes as f64),
                number(run.slots_per_year / f64::from(run.nodes)),
                bytes(run.slots_per_year * assumed.slot_bytes),
            ],
        );
    }
    out
}

fn collateral(runs: &[Summary]) -> String {
    let mut out = figures(&[
        "nodes",
        "TCB infos in use",
        "serials at the end",
        "gas of an epoch, mean",
        "a node's part",
        "of all gas",
    ]);
    for run in runs {
        let gas = run.mean_for(Purpose::Collateral);
        row(
            &mut out,
            &[
                nodes(run),
                run.tcb_infos.to_string(),
                run.serials.to_string(),
                number(gas),
                number(gas / f64::from(run.nodes)),
                percent(gas / run.mean_gas),
            ],
        );
    }
    out
}

fn watchman(runs: &[Summary], assumed: &Assumptions) -> String {
    let mut out = figures(&[
        "nodes",
        "chain, an epoch",
        "quotes kept",
        "re-appraising all",
        "Work Proofs, an epoch",
        "their signatures",
        "all logs, an epoch",
        "line for all logs",
        "share that one reads",
        "watchmen for 99 %",
    ]);
    for run in runs {
        let log = run.proofs * assumed.proof_bytes;
        let share = (assumed.watchman_proofs() / run.proofs.max(1.0)).min(1.0);
        row(
            &mut out,
            &[
                nodes(run),
                bytes(run.transaction_bytes + run.event_bytes),
                bytes(run.live * assumed.quote_bytes),
                format!("{} s", number(run.live * assumed.quote_us * 1e-6)),
                number(run.proofs),
                format!("{} core s", number(run.proofs * assumed.signature_us * 1e-6)),
                bytes(log),
                format!("{} Mbit/s", number(log * 8.0 / 86_400.0 / 1e6)),
                percent(share),
                watchmen(share).to_string(),
            ],
        );
    }
    out
}

/// How many that draw independently, until one of them sees a given Work Proof with 99 %.
fn watchmen(share: f64) -> u64 {
    if share >= 0.99 { 1 } else { (ln(0.01) / ln(1.0 - share)).ceil() as u64 }
}

fn logs(scene: &Scene) -> String {
    let mut out = table(
        &["node", "Work Proofs a day", "log after a year", "audit path then", "checkpoints a day"],
        "|---|---:|---:|---:|---:|",
    );
    let Some(run) = scene.runs.last() else { return out };
    let assumed = &scene.assumed;
    let at = |share: f64| f64::from(run.rates[((run.rates.len() - 1) as f64 * share) as usize]);
    let mean = run.rates.iter().map(|rate| f64::from(*rate)).sum::<f64>() / run.rates.len() as f64;
    for (name, rate) in [
        ("median", at(0.5)),
        ("mean", mean),
        ("99th of 100", at(0.99)),
        ("999th of 1,000", at(0.999)),
        ("busiest", at(1.0)),
    ] {
        let path = (ln((rate * 365.0).max(1.0)) / ln(2.0)).ceil() * 32.0;
        row(
            &mut out,
            &[
                name.into(),
                number(rate),
                bytes(rate * 365.0 * assumed.proof_bytes),
                bytes(path),
                number((rate / assumed.checkpoint_proofs).floor() + 1.0 / assumed.checkpoint_days),
            ],
        );
    }
    out
}

fn epoch(runs: &[Summary], assumed: &Assumptions) -> String {
    let mut out = figures(&[
        "nodes",
        "leaves",
        "events to read",
        "queries of 10,000",
        "bytes of events",
        "hashing",
        "published leaves",
        "a claim's proof",
    ]);
    for run in runs {
        let leaves = run.claimants.max(1) as f64;
        row(
            &mut out,
            &[
                nodes(run),
                number(leaves),
                number(run.checkpoints),
                number((run.checkpoints / 10_000.0).ceil()),
                bytes(run.checkpoints * Op::CheckpointBatch100.footprint().event as f64),
                format!("{} ms", number(leaves * 2.0 * assumed.hash_ns * 1e-6)),
                bytes(leaves * 52.0),
                bytes((ln(leaves) / ln(2.0)).ceil() * 32.0),
            ],
        );
    }
    out
}

fn on_paper(assumed: &Assumptions, found: &formula::Rates) -> String {
    let paper = formula::expected(assumed);
    let mut out = table(&["of a node in a day", "formula", "simulated"], "|---|---:|---:|");
    for (name, paper, found) in [
        ("works", paper.live, found.live),
        ("registrations", paper.registrations, found.registrations),
        ("renewals", paper.renewals, found.renewals),
        ("checkpoints", paper.checkpoints, found.checkpoints),
    ] {
        row(&mut out, &[name.into(), number(paper), number(found)]);
    }
    out
}

/// The same network under other decisions, one at a time.
fn choices(scene: &Scene) -> String {
    let size = scene.runs.last().map_or(1, |run| run.nodes).min(20_000);
    let mut out = format!("{size} nodes.\n\n");
    out += &table(
        &["what is different", "mean gas", "peak gas", "peak without a recovery", "slots of a full year", "lapsed"],
        "|---|---:|---:|---:|---:|---:|",
    );
    let cases: &[(&str, &[(&str, f64)])] = &[
        ("nothing", &[]),
        ("every node settles alone", &[("aggregated_share", 0.0)]),
        ("all through aggregators", &[("aggregated_share", 1.0)]),
        ("checkpoints by week, not by day", &[("checkpoint_days", 7.0)]),
        ("claims by month", &[("claim_days", 30.0)]),
        ("keys that outlive a restart", &[("restarts_per_year", 0.0)]),
        ("all renewals by a kept attestation key", &[("kept_share", 1.0)]),
        ("all renew on the last day", &[("renew_window_days", 1.0)]),
        ("collateral brought daily", &[("refresh_days", 1.0)]),
        ("collateral brought every three weeks", &[("refresh_days", 21.0)]),
        ("a month for new firmware after a recovery", &[("rush_days", 15.0)]),
        ("all new firmware within a day", &[("rush_days", 0.3)]),
        ("every recovery hits every family", &[("recovery_share", 1.0)]),
    ];
    for (name, changes) in cases {
        let mut assumed = scene.assumed.clone();
        let set: Result<(), String> = changes.iter().try_for_each(|(key, value)| assumed.set(key, *value));
        if set.and_then(|()| assumed.check()).is_err() {
            continue; // does not go with the other assumptions
        }
        let run = simulation::run(size, scene.seed, &assumed, &scene.gas);
        let run = Summary::of(&run, &assumed, &scene.gas);
        row(
            &mut out,
            &[
                (*name).to_owned(),
                number(run.mean_gas),
                number(run.peak_gas),
                number(run.calm_peak),
                number(run.slots_per_year),
                run.lapsed.to_string(),
            ],
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_as_many_cells_as_its_table() {
        let assumed = Assumptions { days: 60.0, growth_days: 30.0, ..Assumptions::default() };
        let scene = Scene::run(vec![10, 300], 1, assumed, super::super::Gas::committed().unwrap());
        for (name, table) in tables(&scene) {
            let cells: Vec<usize> =
                table.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
            assert!(cells.len() > 2 && cells.iter().all(|count| *count == cells[0]), "{name}\n{table}");
            assert!(!table.contains("NaN") && !table.contains("inf "), "{name}\n{table}");
        }
    }

    #[test]
    fn tables_stand_between_their_marks_and_nothing_else_changes() {
        let tables = [("a", "new\n".to_owned()), ("b", "two\n".to_owned())];
        let document =
            "Prose.\n<!-- scale:a -->\nold\n<!-- /scale -->\nMore.\n<!-- scale:b -->\n<!-- /scale -->\nEnd.\n";
        let filled = fill(document, &tables).unwrap();
        assert_eq!(
            filled,
            "Prose.\n<!-- scale:a -->\nnew\n<!-- /scale -->\nMore.\n<!-- scale:b -->\ntwo\n<!-- /scale -->\nEnd.\n"
        );
        assert_eq!(fill(&filled, &tables).unwrap(), filled);
    }

    #[test]
    fn a_missing_doubled_open_or_unknown_mark_is_refused() {
        let tables = [("a", "new\n".to_owned())];
        let good = "<!-- scale:a -->\n<!-- /scale -->\n";
        assert!(fill(good, &tables).is_ok());
        for wrong in ["", "<!-- scale:a -->\n", &good.repeat(2), &format!("{good}<!-- scale:z -->\n<!-- /scale -->\n")]
        {
            assert!(fill(wrong, &tables).is_err(), "{wrong}");
        }
    }

    #[test]
    fn enough_watchmen_see_what_one_may_miss() {
        assert_eq!(watchmen(1.0), 1);
        for share in [0.9_f64, 0.5, 0.1, 0.01] {
            let missed = |many: u64| (1.0 - share).powi(many as i32);
            let many = watchmen(share);
            assert!(missed(many) <= 0.01 && missed(many - 1) > 0.01, "{share}: {many}");
        }
    }
}
