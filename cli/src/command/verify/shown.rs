//! What evidence says, as documents and people read it.

use crate::output::field;
use glacier_attest::{Architecture, Exposure, Fingerprint, Format, Genuine, Gpu, GpuMode, Registers, SnpTcb, Tcb};
use glacier_wire::{EnclaveId, Measurement, PlatformKind, ReportData};
use serde::Serialize;
use std::io::{self, Write};

/// What evidence says. `genuine` tells whether it is believed.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Shown {
    pub(crate) platform: Option<PlatformKind>,
    genuine: bool,
    tcb_status: Option<&'static str>,
    advisories: Option<Vec<String>>,
    /// As the platform shows it: a string, or an object of registers.
    measurement: Option<Registers>,
    /// The one name of the code, for policies and manifests.
    code: Option<Measurement>,
    signer: Option<String>,
    report_data: Option<String>,
    hardware_id: Option<String>,
    enclave_id: Option<EnclaveId>,
    debug: Option<bool>,
    exposures: Vec<Exposure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snp_tcb: Option<SnpTcb>,
    tcb_evaluation: Option<u32>,
    root: Option<Fingerprint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<Device>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    devices: Vec<Device>,
}

/// A GPU or switch.
#[derive(Debug, Serialize)]
struct Device {
    architecture: Architecture,
    driver: Option<String>,
    vbios: String,
    ueid: String,
    device_id: String,
    mode: Option<GpuMode>,
    nonce: String,
    revocation_checked: bool,
}

impl From<&Gpu> for Device {
    fn from(gpu: &Gpu) -> Self {
        Self {
            architecture: gpu.architecture,
            driver: gpu.driver.clone(),
            vbios: gpu.vbios.clone(),
            ueid: gpu.ueid.clone(),
            device_id: hex::encode(&gpu.device_id),
            mode: gpu.mode,
            nonce: hex::encode(gpu.nonce),
            revocation_checked: gpu.revocation_checked,
        }
    }
}

impl Shown {
    /// Of genuine evidence.
    pub(crate) fn believed(genuine: &Genuine) -> Self {
        let alone = matches!(genuine.registers(), Registers::Gpu(_));
        let mut devices: Vec<_> = genuine.gpus().iter().map(Device::from).collect();
        Self {
            platform: Some(genuine.platform()),
            genuine: true,
            tcb_status: genuine.tcb_status().map(|status| status.as_str()),
            advisories: matches!(genuine.tcb(), Tcb::Intel(_)).then(|| genuine.advisories().to_vec()),
            measurement: Some(genuine.registers().clone()),
            code: Some(genuine.measurement()),
            signer: genuine.signer().map(|signer| signer.to_string()),
            report_data: Some(report_data(alone, genuine.report_data())),
            hardware_id: genuine.hardware_id().map(hex::encode),
            enclave_id: genuine.enclave_id(),
            debug: Some(genuine.debug()),
            exposures: genuine.exposures().to_vec(),
            snp_tcb: match genuine.tcb() {
                Tcb::Amd(tcb) => Some(tcb.reported),
                _ => None,
            },
            tcb_evaluation: match genuine.tcb() {
                Tcb::Intel(tcb) => Some(tcb.evaluation),
                _ => None,
            },
            root: Some(genuine.anchor()),
            gpu: if alone { devices.pop() } else { None },
            devices,
        }
    }

    /// Of evidence that is not, or not known to be, genuine: what its bytes say of themselves.
    pub(crate) fn unbelieved(evidence: &[u8], gpu_chain: Option<&[u8]>) -> Self {
        let Some(shown) = glacier_attest::look(evidence, gpu_chain) else {
            return Self { platform: Format::detect(evidence).map(kind), ..Self::default() };
        };
        let alone = shown.platform == PlatformKind::Nvidia;
        Self {
            platform: Some(shown.platform),
            genuine: false,
            tcb_status: None,
            advisories: None,
            measurement: shown.registers.clone().filter(|_| !alone),
            code: shown.registers.as_ref().filter(|_| !alone).map(Registers::name),
            signer: shown.registers.as_ref().and_then(Registers::signer).map(|signer| signer.to_string()),
            report_data: Some(report_data(alone, &shown.report_data)),
            hardware_id: shown.hardware_id.as_ref().map(hex::encode),
            enclave_id: shown.hardware_id.as_ref().map(|chip| glacier_attest::enclave_id(shown.platform, chip)),
            debug: Some(shown.exposures.contains(&Exposure::Debug)).filter(|_| !alone),
            exposures: shown.exposures,
            snp_tcb: None,
            tcb_evaluation: None,
            root: None,
            gpu: shown.gpu.as_ref().map(Device::from),
            devices: Vec::new(),
        }
    }

    /// The fields, one on a line.
    pub(crate) fn human(&self, page: &mut dyn Write) -> io::Result<()> {
        if !self.genuine && self.report_data.is_none() {
            return Ok(());
        }
        if !self.genuine {
            writeln!(page, "\nwhat it says of itself, which nothing vouches for:")?;
        }
        match &self.measurement {
            Some(Registers::Tdx(td)) => {
                field(page, "mrtd", td.mrtd)?;
                for (name, register) in ["rtmr0", "rtmr1", "rtmr2", "rtmr3"].into_iter().zip(td.rtmr) {
                    field(page, name, register)?;
                }
                field(page, "mrseam", td.mrseam)?;
            }
            Some(Registers::Snp(snp)) => field(page, "measurement", snp.measurement)?,
            Some(Registers::Sgx(sgx)) => field(page, "measurement", sgx.mrenclave)?,
            _ => {}
        }
        if let (Some(Registers::Tdx(_) | Registers::Snp(_)), Some(code)) = (&self.measurement, &self.code) {
            field(page, "code", code)?;
        }
        let texts = [("signer", &self.signer), ("hardware id", &self.hardware_id), ("report data", &self.report_data)];
        if let Some(id) = &self.enclave_id {
            field(page, "enclave id", id)?;
        }
        for (name, text) in texts {
            if let Some(text) = text {
                field(page, name, text)?;
            }
        }
        if let Some(status) = self.tcb_status {
            field(page, "tcb status", status)?;
        }
        if let Some(tcb) = &self.snp_tcb {
            let fmc = tcb.fmc.map(|fmc| format!("fmc {fmc}, ")).unwrap_or_default();
            let SnpTcb { bootloader, tee, snp, microcode, .. } = tcb;
            field(
                page,
                "firmware",
                format!("{fmc}boot loader {bootloader}, tee {tee}, snp {snp}, microcode {microcode}"),
            )?;
        }
        if let Some(advisories) = self.advisories.as_deref().filter(|list| !list.is_empty()) {
            field(page, "advisories", advisories.join(" "))?;
        }
        for exposure in &self.exposures {
            field(page, "exposed", exposure)?;
        }
        for device in self.gpu.iter().chain(&self.devices) {
            let driver = device.driver.as_deref().unwrap_or("none");
            field(page, "device", format!("{:?}, driver {driver}, vbios {}", device.architecture, device.vbios))?;
            field(page, "ueid", &device.ueid)?;
        }
        Ok(())
    }
}

/// What evidence claims to be by its first bytes.
fn kind(format: Format) -> PlatformKind {
    match format {
        Format::SgxQuoteV3 => PlatformKind::Sgx,
        Format::TdxQuoteV4 | Format::TdxQuoteV5 => PlatformKind::Tdx,
        Format::SnpReport => PlatformKind::Snp,
        _ => PlatformKind::Nvidia,
    }
}

/// A device carries a nonce of 32 bytes, where quotes carry 64 of report data.
fn report_data(alone: bool, data: &ReportData) -> String {
    hex::encode(if alone { &data[..32] } else { &data[..] })
}
