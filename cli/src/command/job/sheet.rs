//! A job as people read it before they sign.

use crate::{
    output::{DIM, GOOD, Report, WARN, field, paint},
    units::{Size, grouped, rfc3339},
};
use glacier::Job;
use glacier_wire::{
    Address, Contribution, Digest, EnclaveId, ManifestHash, Measurement, Work, federation::FederationPlan,
    training::TrainingPlan,
};
use serde::Serialize;
use std::{
    io::{self, Write},
    path::PathBuf,
};

/// What a job says, and who has signed it.
#[derive(Debug, Serialize)]
pub(crate) struct Sheet {
    job: ManifestHash,
    file: PathBuf,
    work: Work,
    data_provider: Option<Address>,
    data: Option<Digest>,
    /// Further data sets.
    contributions: Vec<Contribution>,
    model_provider: Address,
    model: Digest,
    /// The component, of an app.
    app: Option<Digest>,
    /// How to train.
    plan: Option<TrainingPlan>,
    /// How sites train together.
    federation: Option<FederationPlan>,
    payer: Address,
    price: u64,
    chain_id: u64,
    ledger: Option<Address>,
    measurement: Measurement,
    enclave_id: EnclaveId,
    recipients: Vec<String>,
    memory: u64,
    units: u64,
    runs: u64,
    expires: String,
    signed_by: Vec<Address>,
    waiting_for: Vec<Address>,
    #[serde(skip)]
    me: Option<Address>,
}

impl Sheet {
    /// `me` is marked where it stands.
    pub(crate) fn new(job: &Job, file: PathBuf, me: Option<Address>) -> Self {
        let manifest = job.manifest();
        let waiting_for = job.missing();
        let mut signed_by = manifest.signers();
        signed_by.retain(|party| !waiting_for.contains(party));
        Self {
            job: job.hash(),
            file,
            work: manifest.work,
            data_provider: Some(manifest.data_provider).filter(|party| !party.is_zero()),
            data: Some(manifest.data).filter(|asset| !asset.is_zero()),
            contributions: manifest.contributions.clone(),
            model_provider: manifest.model_provider,
            model: manifest.model,
            app: (manifest.work == Work::App).then_some(manifest.plan),
            plan: job.signed().plan.clone(),
            federation: job.signed().federation.clone(),
            payer: manifest.settlement.payer,
            price: manifest.settlement.price,
            chain_id: manifest.settlement.chain_id,
            ledger: Some(manifest.settlement.ledger).filter(|ledger| !ledger.is_zero()),
            measurement: manifest.measurement,
            enclave_id: manifest.enclave_id,
            recipients: manifest.recipients.iter().map(glacier::asset::print_recipient).collect(),
            memory: manifest.limits.memory,
            units: manifest.limits.units,
            runs: manifest.limits.runs,
            expires: rfc3339(manifest.limits.not_after),
            signed_by,
            waiting_for,
            me,
        }
    }

    fn who(&self, party: &Address) -> String {
        if self.me == Some(*party) { format!("{party} (you)") } else { party.to_string() }
    }
}

impl Report for Sheet {
    fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        writeln!(page, "job {}", self.job)?;
        field(page, "work", self.work.as_str())?;
        if let (Some(party), Some(data)) = (&self.data_provider, &self.data) {
            field(page, "data", data)?;
            field(page, "  from", self.who(party))?;
        }
        for Contribution { provider, data } in &self.contributions {
            field(page, "data", data)?;
            field(page, "  from", self.who(provider))?;
        }
        field(page, if self.app.is_some() { "app" } else { "model" }, self.model)?;
        field(page, "  from", self.who(&self.model_provider))?;
        if let Some(code) = &self.app {
            field(page, "component", format_args!("{code} {DIM}(glacier measure app.wasm){DIM:#}"))?;
        }
        if let Some(plan) = &self.plan {
            field(page, "plan", plan.digest())?;
            whole(page, plan)?;
        }
        if let Some(plan) = &self.federation {
            field(page, "federation", plan.digest())?;
            whole(page, plan)?;
        }
        field(page, "code", self.measurement)?;
        field(page, "on chip", self.enclave_id)?;
        for recipient in &self.recipients {
            field(page, "result for", recipient)?;
        }
        field(page, "memory", Size(self.memory))?;
        let unit = if self.app.is_some() { "of fuel" } else { "multiply-accumulates" };
        field(page, "units", format_args!("{} {unit}", grouped(self.units)))?;
        field(page, "runs", grouped(self.runs))?;
        field(page, "start before", &self.expires)?;
        field(page, "paid by", self.who(&self.payer))?;
        match &self.ledger {
            Some(ledger) => field(page, "price", format_args!("{} on {ledger}, chain {}", self.price, self.chain_id))?,
            None => field(page, "price", format_args!("{} {DIM}(no ledger named){DIM:#}", self.price))?,
        }
        for party in &self.signed_by {
            field(page, "signed", paint(GOOD, format_args!("✓ {}", self.who(party))))?;
        }
        for party in &self.waiting_for {
            field(page, "unsigned", paint(WARN, format_args!("– {}", self.who(party))))?;
        }
        Ok(())
    }
}

/// All that is signed is shown: a plan may say what its reader would not agree to.
fn whole(page: &mut dyn Write, plan: &impl Serialize) -> io::Result<()> {
    let text = toml::to_string(plan).map_err(io::Error::other)?;
    text.lines().try_for_each(|line| writeln!(page, "  {DIM}|{DIM:#} {line}"))
}
