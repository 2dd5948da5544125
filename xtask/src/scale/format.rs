//! Figures and tables, as people read them.

use std::fmt::Write as _;

/// Three digits and a prefix: 1.23 k, 45.6 M.
pub(super) fn number(value: f64) -> String {
    let prefixes = ["", " k", " M", " G", " T", " P", " E"];
    let mut scaled = value;
    let mut prefix = 0;
    // 999.5 would be rounded to four digits.
    while scaled.abs() >= 999.5 && prefix + 1 < prefixes.len() {
        scaled /= 1000.0;
        prefix += 1;
    }
    // Rounding may carry, so the powers are those below which three digits would be four.
    let mut digits: usize = if scaled == 0.0 { 0 } else { 2 };
    let mut bound = 9.995;
    while digits > 0 && scaled.abs() >= bound {
        digits -= 1;
        bound *= 10.0;
    }
    let mut bound = 0.9995;
    while (2..12).contains(&digits) && scaled.abs() < bound {
        digits += 1;
        bound /= 10.0;
    }
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    text + prefixes[prefix]
}

/// US dollars, three digits.
pub(super) fn dollars(value: f64) -> String {
    format!("${}", number(value))
}

/// A share, in hundredths.
pub(super) fn percent(share: f64) -> String {
    if share > 0.0 && share < 0.0001 {
        return "< 0.01 %".into();
    }
    format!("{} %", number(share * 100.0))
}

/// Bytes, three digits.
pub(super) fn bytes(value: f64) -> String {
    let text = number(value);
    if text.contains(' ') { format!("{text}B") } else { format!("{text} B") }
}

/// Head of a table in Markdown.
pub(super) fn table(heads: &[&str], rule: &str) -> String {
    format!("| {} |\n{rule}\n", heads.join(" | "))
}

/// One line of it.
pub(super) fn row(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// Head of a table that holds figures alone.
pub(super) fn figures(heads: &[&str]) -> String {
    table(heads, &format!("|{}", "---:|".repeat(heads.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_prefix() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_674_3, "0.000674"),
            (0.01234, "0.0123"),
            (0.09996, "0.1"),
            (9.996, "10"),
            (0.5, "0.5"),
            (7.0, "7"),
            (100.0, "100"),
            (999.4, "999"),
            (999.6, "1 k"),
            (45_678.0, "45.7 k"),
            (1_250_000.0, "1.25 M"),
            (4.32e11, "432 G"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(bytes(52.0), "52 B");
        assert_eq!(bytes(5200.0), "5.2 kB");
    }
}
