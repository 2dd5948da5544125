//! The arithmetic of the sandboxed app: what it tells of a table, and what nobody can work out from that.

#[path = "../wasm/cohort/src/cohort.rs"]
mod cohort;

use serde_json::Value;

fn told(table: &str) -> Value {
    serde_json::from_slice(&cohort::answer("/", table.as_bytes()).expect("a summary")).expect("JSON")
}

/// A column that has so many rows in its first bin, its second, and so on.
fn column(bins: [usize; 10]) -> String {
    let rows = (0u32..).zip(bins).flat_map(|(bin, rows)| vec![format!("{bin}.5\n"); rows]);
    ["x\n", "0\n", "10\n"].map(str::to_owned).into_iter().chain(rows).collect()
}

#[test]
fn no_bin_of_fewer_than_five_rows_can_be_worked_out() {
    // With the two that span the range: one small bin among large ones; two with too few together; none; mostly small.
    for bins in [
        [9, 9, 9, 1, 9, 9, 9, 9, 9, 9],
        [9, 9, 9, 1, 9, 9, 0, 9, 9, 9],
        [9; 10],
        [30, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [4, 5, 5, 5, 5, 5, 5, 5, 5, 40],
        [100, 0, 0, 0, 0, 0, 0, 0, 0, 4],
    ] {
        let told = told(&column(bins));
        let bins = told["columns"]["x"]["histogram"].as_array().expect("bins").clone();
        let seen: Vec<u64> = bins.iter().filter_map(Value::as_u64).collect();
        let (hidden, rest) = (bins.len() - seen.len(), told["rows"].as_u64().expect("rows") - seen.iter().sum::<u64>());
        assert!(seen.iter().all(|rows| *rows >= 5), "{bins:?}");
        assert!(hidden == 0 || hidden == 10 || (hidden > 1 && rest >= 5), "{bins:?}");
    }
    assert_eq!(
        told(&column([9; 10]))["columns"]["x"]["histogram"],
        serde_json::json!([10, 9, 9, 9, 9, 9, 9, 9, 9, 10])
    );
}

#[test]
fn what_is_told_is_json_whatever_the_table_says() {
    let odd = "a\u{1}b\"c\\d\n1\n2\n3\n4\n5\n";
    assert!(told(odd)["columns"]["a_b_c_d"]["mean"].is_number());
    for large in ["1e308\n1e308\n1e308\n-1e308\n-1e308\n", "1e200\n1\n1\n1\n1\n"] {
        let refused = cohort::answer("/", format!("x\n{large}").as_bytes());
        assert_eq!(refused, Err("the numbers in `x` are too large".to_owned()));
    }
}
