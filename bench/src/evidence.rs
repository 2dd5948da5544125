//! Recorded evidence of real chips: verified by us, with endorsements checked before and cold, beside
//! dcap-qvl where that can judge it.

use crate::row::{Row, pair};
use dcap_qvl::{QuoteCollateralV3, verify::QuoteVerifier};
use glacier_attest::{Anchors, CheckedEndorsements, Collateral, Endorsements, appraise, appraise_checked};
use glacier_wire::UnixTime;
use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const ROUNDS: usize = 500;

/// One recorded piece of evidence.
struct Case {
    what: &'static str,
    evidence: Vec<u8>,
    endorsements: Endorsements,
    /// Where dcap-qvl judges it: its collateral.
    oracle: Option<QuoteCollateralV3>,
    at: UnixTime,
    aims: (&'static str, &'static str),
}

pub(crate) fn run() -> Result<Vec<Row>, Box<dyn Error>> {
    let Some(vectors) = vectors() else {
        eprintln!("evidence: skipped: no vectors (GLACIER_VECTORS names their folder)");
        return Ok(Vec::new());
    };
    let root = fs::read(vectors.join("sgx/roots/intel-sgx-root-ca.der"))?;
    let verifier = QuoteVerifier::new(root);
    let mut rows = Vec::new();
    let mut shared = None;
    for case in cases(&vectors)? {
        let checked = case.endorsements.check(&Anchors::vendor(), case.at);
        appraise_checked(&case.evidence, &checked, case.at)
            .into_result()
            .map_err(|fault| format!("{}: {fault}", case.what))?;
        rows.push(case.row("endorsements checked before", case.aims.0, &verifier, || {
            appraise_checked(&case.evidence, &checked, case.at).into_result().is_ok()
        }));
        rows.push(case.row("everything from bytes", case.aims.1, &verifier, || {
            appraise(&case.evidence, &case.endorsements, &Anchors::vendor(), case.at).into_result().is_ok()
        }));
        shared.get_or_insert((case, checked));
    }
    if let Some((case, checked)) = shared {
        rows.push(Row {
            what: format!("{}: each, two threads at once", case.what),
            ours: throughput(2, &case, &checked),
            beside: Some(("one thread".to_owned(), throughput(1, &case, &checked))),
            aim: "",
        });
    }
    Ok(rows)
}

impl Case {
    fn row(&self, how: &str, aim: &'static str, verifier: &QuoteVerifier, ours: impl FnMut() -> bool) -> Row {
        let theirs = || self.oracle.as_ref().map(|oracle| verifier.verify(&self.evidence, oracle, self.at.0).is_ok());
        let (ours, theirs) = pair(ROUNDS, ours, theirs);
        let beside = self.oracle.as_ref().map(|_| ("dcap-qvl".to_owned(), theirs));
        Row { what: format!("{}: {how}", self.what), ours, beside, aim }
    }
}

/// Microseconds for each, over a second.
fn throughput(threads: u32, case: &Case, checked: &CheckedEndorsements) -> f64 {
    let end = Instant::now() + Duration::from_secs(1);
    let count = || {
        let mut done = 0u32;
        while Instant::now() < end {
            done += u32::from(appraise_checked(&case.evidence, checked, case.at).into_result().is_ok());
        }
        done
    };
    let done: u32 = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    1e6 / f64::from(done.max(1))
}

fn cases(vectors: &Path) -> Result<Vec<Case>, Box<dyn Error>> {
    let intel = |what, quote: &str, collateral: &str, at| -> Result<Case, Box<dyn Error>> {
        let json = fs::read(vectors.join(collateral))?;
        Ok(Case {
            what,
            evidence: fs::read(vectors.join(quote))?,
            endorsements: Collateral::parse(&json)?.into(),
            oracle: Some(serde_json::from_slice(&json)?),
            at: UnixTime(at),
            aims: ("<= 200 µs, <= 0.33", ""),
        })
    };
    let read = |files: &[&str]| -> io::Result<Vec<Vec<u8>>> {
        files.iter().map(|file| fs::read(vectors.join(file))).collect()
    };
    let h100 = "nvidia/h100-nvtrust-550.90.07";
    let rims = read(&[&format!("{h100}/driver-rim.xml"), &format!("{h100}/vbios-rim.xml")])?;
    Ok(vec![
        intel(
            "SGX v3",
            "sgx/sgx-606a-svr2-2026/quote.bin",
            "sgx/sgx-606a-svr2-2026/collateral-2026-07-30-eval21.json",
            1_786_432_758,
        )?,
        intel(
            "TDX v4",
            "tdx/tdx4-b0c0-phala/quote.bin",
            "tdx/tdx4-b0c0-phala/collateral-2025-06-19-eval17.json",
            1_751_624_191,
        )?,
        intel(
            "TDX v5",
            "tdx/tdx5-90c0-google/quote.bin",
            "tdx/tdx5-90c0-google/collateral-2026-03-16-eval18.json",
            1_774_995_607,
        )?,
        Case {
            what: "SEV-SNP",
            evidence: fs::read(vectors.join("snp/snp-genoa-ms/report.bin"))?,
            endorsements: Endorsements {
                vek: Some(fs::read(vectors.join("snp/snp-genoa-ms/vek.der"))?),
                ..Endorsements::default()
            },
            oracle: None,
            at: UnixTime(1_785_805_473),
            aims: ("", ""),
        },
        Case {
            what: "H100",
            evidence: fs::read(vectors.join(h100).join("report.bin"))?,
            endorsements: Endorsements {
                gpu_chain: Some(fs::read(vectors.join(h100).join("chain.pem"))?),
                rims,
                ..Endorsements::default()
            },
            oracle: None,
            at: UnixTime(1_761_307_200),
            aims: ("<= 1 ms", ""),
        },
    ])
}

/// The folder of the vectors: named, or beside the repository.
fn vectors() -> Option<PathBuf> {
    let named = std::env::var_os("GLACIER_VECTORS").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"));
    folder.is_dir().then_some(folder)
}
