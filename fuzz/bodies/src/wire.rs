//! Documents of `glacier-wire`.

use glacier_wire::{
    Address, Claims, Contribution, Digest, Dtype, EnclaveId, Evidence, FileKey, Grant, Identity, Limits, Manifest,
    ManifestHash, Measurement, Outputs, Purpose, Recipient, Role, Settlement, SignedManifest, Tensor, UnixTime, Work,
    api::{
        HOST_FRAME, HostAnswer, HostCall, HostFault, HostOrder, HostReply, HostRequest, Join, OrderFault,
        RegistrationOrder, SettlementOrder,
    },
    app::AppResult,
    cbor,
    training::{Target, TrainingPlan},
};

pub(crate) fn manifest(bytes: &[u8]) {
    if let Ok(signed) = SignedManifest::decode(bytes) {
        assert_eq!(cbor::encode(&signed), bytes);
        // What verifies has a signature of each party, over this very document.
        if signed.verify().is_ok() {
            assert_eq!(signed.signatures.len(), signed.manifest.signers().len());
        }
    }
}

/// The same document as people keep it.
pub(crate) fn job_file(bytes: &[u8]) {
    if let Ok(signed) = serde_json::from_slice::<SignedManifest>(bytes) {
        let text = serde_json::to_vec(&signed).expect("what was read can be written");
        let again: SignedManifest = serde_json::from_slice(&text).expect("what was written can be read");
        assert_eq!(again, signed);
        assert_eq!(again.manifest.hash(), signed.manifest.hash());
    }
}

pub(crate) fn join(bytes: &[u8]) {
    if let Some(join) = canonical::<Join>(bytes, Join::MAX_BYTES) {
        let _ = join.grant.verify(&join.manifest.manifest.domain(), &join.manifest.manifest.data_provider);
    }
}

pub(crate) fn claims(bytes: &[u8]) {
    if let Ok(claims) = Claims::decode(bytes) {
        assert_eq!(claims.encode(), bytes);
        assert_eq!(claims.report_data()[32..], [0; 32]);
    }
}

pub(crate) fn evidence(bytes: &[u8]) {
    if let Some(evidence) = canonical::<Evidence>(bytes, Evidence::MAX_BYTES) {
        claims(&evidence.claims);
    }
}

pub(crate) fn host_call(bytes: &[u8]) {
    canonical::<HostCall>(bytes, HOST_FRAME);
}

pub(crate) fn host_answer(bytes: &[u8]) {
    canonical::<HostAnswer>(bytes, HOST_FRAME);
}

/// A tensor whose shape passes has exactly the bytes that the shape says.
pub(crate) fn outputs(bytes: &[u8]) {
    for tensor in canonical::<Outputs>(bytes, 1 << 20).iter().flat_map(|outputs| &outputs.tensors) {
        if tensor.check().is_ok() {
            assert_eq!(tensor.elements().map(|n| n as usize * tensor.dtype.size()), Some(tensor.data.len()));
        }
    }
}

/// A result file has one form.
pub(crate) fn app_result(bytes: &[u8]) {
    if let Ok(result) = AppResult::decode(bytes) {
        assert_eq!(result.encode(), bytes);
    }
}

pub(crate) fn app_result_seeds() -> Vec<Vec<u8>> {
    let results = [AppResult::Answer(vec![7; 20]), AppResult::Answer(vec![0; 1100]), AppResult::Refusal("no".into())];
    results.map(|result| result.encode()).into()
}

pub(crate) fn canonical<T>(bytes: &[u8], max: usize) -> Option<T>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    let value = cbor::decode(bytes, max).ok()?;
    assert_eq!(cbor::encode(&value), bytes);
    Some(value)
}

pub(crate) fn manifest_seeds() -> Vec<Vec<u8>> {
    [Work::Inference, Work::Deployment, Work::App, Work::Training].map(|work| cbor::encode(&signed(work))).into()
}

pub(crate) fn job_file_seeds() -> Vec<Vec<u8>> {
    [Work::Inference, Work::Deployment, Work::App, Work::Training]
        .iter()
        .filter_map(|work| serde_json::to_vec(&signed(*work)).ok())
        .collect()
}

pub(crate) fn join_seeds() -> Vec<Vec<u8>> {
    let manifest = signed(Work::Inference);
    let grant = Grant {
        manifest: manifest.manifest.hash(),
        role: Role::Data,
        enclave_key: Address([8; 20]),
        uses: 1,
        not_after: UnixTime(2_000_000_000),
        nonce: Digest([7; 32]),
    };
    let grant = grant.sign(&manifest.manifest.domain(), &party(1));
    vec![cbor::encode(&Join {
        manifest,
        grant,
        file_key: FileKey::new([9; 16]),
        now: UnixTime(1_800_000_000),
        checkpoint: 3,
        asset: Digest([4; 32]),
        membership: None,
    })]
}

pub(crate) fn claims_seeds() -> Vec<Vec<u8>> {
    let cached = Claims {
        purpose: Purpose::Channel,
        channel_key: [1; 32],
        enclave_key: Address([2; 20]),
        issued_at: UnixTime(1_800_000_000),
        nonce: None,
        devices: None,
    };
    let composite = Claims { devices: Some([4; 32]), ..cached.clone() };
    vec![composite.encode(), cached.encode(), Claims { nonce: Some([3; 32]), purpose: Purpose::App, ..cached }.encode()]
}

pub(crate) fn evidence_seeds() -> Vec<Vec<u8>> {
    let evidence = |claims| Evidence::new(vec![3; 64], claims, b"{}".to_vec());
    claims_seeds().into_iter().map(|claims| cbor::encode(&evidence(claims))).collect()
}

const REGISTRATION: RegistrationOrder =
    RegistrationOrder { chain_id: 1, registry: Address([1; 20]), owner: Address([2; 20]), number: 7 };

pub(crate) fn host_call_seeds() -> Vec<Vec<u8>> {
    let asset = Digest([4; 32]);
    let order = REGISTRATION;
    let requests = [
        HostRequest::Size { asset },
        HostRequest::Read { asset, offset: 1 << 40, len: 1 << 20 },
        HostRequest::Create,
        HostRequest::Append { upload: 5, data: vec![6; 100] },
        HostRequest::Commit { upload: 5, asset },
        HostRequest::Abort { upload: 5 },
        HostRequest::Publish { proof: vec![7; 100], checkpoint: None },
        HostRequest::Publish { proof: vec![7; 100], checkpoint: Some(vec![8; 100]) },
        HostRequest::Head { checkpoint: vec![8; 100] },
        HostRequest::Orders,
        HostRequest::Registered { order, enclave_key: Address([3; 20]), quote: vec![9; 100], collateral: None },
        HostRequest::Registered {
            order,
            enclave_key: Address([3; 20]),
            quote: vec![9; 100],
            collateral: Some(b"{}".to_vec()),
        },
        HostRequest::Refused { order: HostOrder::Register(order), fault: OrderFault::Platform },
        HostRequest::Keep { job: ManifestHash([1; 32]), asset },
        HostRequest::Recall { job: ManifestHash([1; 32]) },
        HostRequest::Forget { job: ManifestHash([1; 32]) },
        HostRequest::Show { evidence: vec![9; 100] },
    ];
    requests.into_iter().map(|request| cbor::encode(&HostCall { id: 1, request })).collect()
}

pub(crate) fn host_answer_seeds() -> Vec<Vec<u8>> {
    let replies = [
        HostReply::Size { bytes: 1 << 33 },
        HostReply::Data { data: vec![8; 100] },
        HostReply::Created { upload: 5 },
        HostReply::Done,
        HostReply::Failed { fault: HostFault::Missing },
        HostReply::Order { order: HostOrder::Register(REGISTRATION) },
        HostReply::Order { order: HostOrder::Settle(SettlementOrder { chain_id: 1, ledger: Address([4; 20]) }) },
    ];
    replies.into_iter().map(|reply| cbor::encode(&HostAnswer { id: 1, reply })).collect()
}

pub(crate) fn outputs_seeds() -> Vec<Vec<u8>> {
    let tensor = Tensor { name: "label".into(), dtype: Dtype::Int64, shape: vec![2, 1], data: vec![1; 16] };
    let labels = Some(vec!["benign".into(), "malignant".into()]);
    vec![cbor::encode(&Outputs { tensors: vec![tensor], labels })]
}

pub(crate) fn signed(work: Work) -> SignedManifest {
    let deployment = work == Work::Deployment;
    let plan = (work == Work::Training)
        .then(|| TrainingPlan { target: vec![Target::from("diagnosis")], ..TrainingPlan::default() });
    let manifest = Manifest {
        work,
        data_provider: if deployment { Address::ZERO } else { party(1).address() },
        model_provider: party(2).address(),
        data: if deployment { Digest::ZERO } else { Digest([1; 32]) },
        model: Digest([2; 32]),
        measurement: Measurement([3; 32]),
        enclave_id: EnclaveId([4; 32]),
        recipients: if deployment { vec![] } else { vec![Recipient([5; 32])] },
        limits: Limits { memory: 1 << 28, units: 1 << 40, runs: 1, not_after: UnixTime(2_000_000_000) },
        settlement: Settlement { chain_id: 1, ledger: Address::ZERO, payer: party(2).address(), price: 6 },
        salt: Digest([6; 32]),
        plan: match work {
            Work::App => Digest([9; 32]),
            _ => plan.as_ref().map_or(Digest::ZERO, TrainingPlan::digest),
        },
        contributions: plan
            .iter()
            .map(|_| Contribution { provider: party(1).address(), data: Digest([8; 32]) })
            .collect(),
    };
    let hash = manifest.hash();
    let signers = manifest.signers();
    let parties = [party(1), party(2)];
    let signatures = parties.iter().filter(|party| signers.contains(&party.address()));
    SignedManifest {
        signatures: signatures.map(|party| party.sign(&hash.0)).collect(),
        manifest,
        plan,
        federation: None,
    }
}

pub(crate) fn party(secret: u8) -> Identity {
    Identity::from_secret(&[secret; 32]).expect("a small number is a secret key")
}
