//! Models that stay loaded and answer many: the Open Inference Protocol inside the channel, each
//! answer with its Work Proof.

use crate::{
    error::{Error, Unproved},
    input::{InputError, oip_datatype},
    output::Results,
    session::{RequestError, Response, Session},
};
use bytes::Bytes;
use glacier_proof::{Bundle, ProofCheckId, ProofFault, SignedProof, WorkProof};
use glacier_wire::{
    Commitment, Dtype, ManifestHash, Nonce, SignedManifest, Tensor, Work,
    cbor::{self, CborError},
};
use hyper::Method;
use serde::{Deserialize, Serialize};

/// Header that gives the length of the JSON in front of binary tensors.
const JSON_LENGTH: &str = "inference-header-content-length";

/// What a served model takes and gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Model {
    /// Its name: the manifest's hash.
    pub name: String,
    /// The engine that runs it.
    pub platform: String,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    #[serde(default)]
    parameters: Parameters,
}

/// One input or output of a served model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type.
    pub datatype: Dtype,
    /// Extents, outermost first; -1 where the data decides.
    pub shape: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    features: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<Vec<String>>,
}

impl Model {
    /// The columns it wants, in its order; empty where it does not say.
    pub fn features(&self) -> &[String] {
        self.parameters.features.as_deref().unwrap_or_default()
    }

    /// The names of its classes; empty where it does not say.
    pub fn labels(&self) -> &[String] {
        self.parameters.labels.as_deref().unwrap_or_default()
    }

    /// Gives a tensor without name the name of the model's only input, and each tensor the element
    /// type its input has, where that changes no value beyond the type's precision.
    pub fn fit(&self, mut tensors: Vec<Tensor>) -> Result<Vec<Tensor>, InputError> {
        if let ([only], [tensor]) = (self.inputs.as_slice(), tensors.as_mut_slice())
            && tensor.name.is_empty()
        {
            tensor.name = only.name.clone();
        }
        tensors
            .into_iter()
            .map(|tensor| match self.inputs.iter().find(|port| port.name == tensor.name) {
                Some(port) if port.datatype != tensor.dtype => convert(tensor, port.datatype),
                _ => Ok(tensor),
            })
            .collect()
    }
}

/// A served model's answer, proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The outputs and the names of the classes.
    pub results: Results,
    /// Its proof.
    pub proof: AnswerProof,
}

/// A Work Proof of one answer: signed by the session's enclave, about exactly the request that was
/// sent and the answer that came. Made by [`Session::check_answer`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerProof {
    signed: SignedProof,
    input_salt: Nonce,
    output_salt: Nonce,
}

impl AnswerProof {
    /// The statement and its signature.
    pub fn signed(&self) -> &SignedProof {
        &self.signed
    }

    /// Opens the proof's commitment to the request's body, to whom its owner shows both.
    pub fn input_salt(&self) -> Nonce {
        self.input_salt
    }

    /// Opens the proof's commitment to the answer's body.
    pub fn output_salt(&self) -> Nonce {
        self.output_salt
    }

    /// The proof with what others need to check it: the evidence of the session that it came by, and what the owner of
    /// what was called had signed, as [`Session::served`] gives it. An application of one's own has nobody sign.
    pub fn bundle(&self, session: &Session, manifest: Option<SignedManifest>) -> Bundle {
        Bundle {
            proof: self.signed.clone(),
            evidence: session.evidence().clone(),
            manifest,
            logged: None,
            settled: None,
            training: None,
            federation: None,
        }
    }
}

#[derive(Serialize)]
struct InferRequest<'a> {
    inputs: Vec<InputTensor<'a>>,
    parameters: BinaryOutput,
}

#[derive(Serialize)]
struct BinaryOutput {
    binary_data_output: bool,
}

#[derive(Serialize)]
struct InputTensor<'a> {
    name: &'a str,
    shape: &'a [u64],
    datatype: &'static str,
    parameters: BinarySize,
}

#[derive(Serialize, Deserialize)]
struct BinarySize {
    binary_data_size: u64,
}

#[derive(Deserialize)]
struct InferResponse {
    #[serde(default)]
    parameters: Parameters,
    outputs: Vec<OutputTensor>,
}

#[derive(Deserialize)]
struct OutputTensor {
    name: String,
    shape: Vec<u64>,
    datatype: Dtype,
    parameters: Option<BinarySize>,
}

impl Session {
    /// What a served model takes and gives.
    pub async fn model(&self, deployment: &ManifestHash) -> Result<Model, Error> {
        let response = self.get(&format!("/v2/models/{deployment}")).await?;
        Ok(serde_json::from_slice(&response.body).map_err(|_| RequestError::Malformed(CborError::Malformed))?)
    }

    /// What the owner of a served model or app has signed: which file it is, on which chip, under which limits.
    ///
    /// # Errors
    /// [`Error::Unproved`], where what the enclave gives is not what `name` stands for.
    pub async fn served(&self, name: &ManifestHash) -> Result<SignedManifest, Error> {
        let response = self.get(&format!("/glacier/v1/jobs/{name}/manifest")).await?;
        let signed: SignedManifest = response.cbor(SignedManifest::MAX_BYTES)?;
        let fails = |check, fault| Unproved::Check { check, fault };
        match signed.verify() {
            Ok(hash) if hash == *name => Ok(signed),
            Ok(_) => Err(fails(ProofCheckId::ManifestBinding, ProofFault::OtherManifest).into()),
            Err(fault) => Err(fails(ProofCheckId::ManifestSignatures, ProofFault::Manifest(fault)).into()),
        }
    }

    /// Asks a served model. The answer comes out only when its proof holds: signed by this session's
    /// enclave, about this deployment, exactly this request and exactly this answer.
    pub async fn infer(&self, deployment: &ManifestHash, inputs: &[Tensor]) -> Result<Answer, Error> {
        let (body, json) = request_body(inputs);
        let headers = [("content-type", "application/octet-stream"), (JSON_LENGTH, json.as_str())];
        let path = format!("/v2/models/{deployment}/infer");
        let response = self.request(Method::POST, &path, &headers, body.clone()).await?;
        let proof = self.check_answer(Work::Deployment, deployment, &body, &response)?;
        Ok(Answer { results: read_response(&response)?, proof })
    }

    /// Checks the Work Proof that comes with an answer: a deployment's, or that of an application of
    /// one's own. `manifest` is zero where the application has none; `body` is the request's, to the byte.
    pub fn check_answer(
        &self,
        work: Work,
        manifest: &ManifestHash,
        body: &[u8],
        response: &Response,
    ) -> Result<AnswerProof, Unproved> {
        let missing = || Unproved::Unreadable(CborError::Malformed);
        let encoded = response.header("glacier-proof").and_then(|text| hex::decode(text).ok()).ok_or_else(missing)?;
        let signed: SignedProof = cbor::decode(&encoded, WorkProof::MAX_BYTES).map_err(Unproved::Unreadable)?;
        let salt = |name| response.header(name).and_then(|text| text.parse::<Nonce>().ok()).ok_or_else(missing);
        let (input_salt, output_salt) = (salt("glacier-input-salt")?, salt("glacier-output-salt")?);
        let salts = (input_salt, output_salt);
        let bodies = (Commitment::to_body(&input_salt, body), Commitment::to_body(&output_salt, &response.body));
        self.check_commitments(work, manifest, signed, salts, bodies)
    }

    /// The same for commitments to bodies that were seen piece by piece.
    pub(crate) fn check_commitments(
        &self,
        work: Work,
        manifest: &ManifestHash,
        signed: SignedProof,
        (input_salt, output_salt): (Nonce, Nonce),
        (input, output): (Commitment, Commitment),
    ) -> Result<AnswerProof, Unproved> {
        signed.verify().map_err(Unproved::Signature)?;
        let (proof, accepted) = (&signed.proof, self.accepted());
        let ours = proof.enclave_key == self.claims().enclave_key
            && accepted.enclave_id() == Some(proof.enclave_id)
            && proof.measurement == accepted.measurement()
            && proof.platform == accepted.platform();
        if !ours {
            return Err(Unproved::OtherEnclave);
        }
        if proof.manifest != *manifest || proof.work != work {
            return Err(Unproved::OtherJob);
        }
        if proof.input != input {
            return Err(Unproved::OtherInput);
        }
        if proof.output != output {
            return Err(Unproved::OtherOutput);
        }
        Ok(AnswerProof { signed, input_salt, output_salt })
    }
}

/// The body in the protocol's binary form, and the length of its JSON.
fn request_body(inputs: &[Tensor]) -> (Bytes, String) {
    let request = InferRequest {
        inputs: inputs
            .iter()
            .map(|tensor| InputTensor {
                name: &tensor.name,
                shape: &tensor.shape,
                datatype: oip_datatype(tensor.dtype),
                parameters: BinarySize { binary_data_size: tensor.data.len() as u64 },
            })
            .collect(),
        parameters: BinaryOutput { binary_data_output: true },
    };
    // Text and integers only: nothing in it can fail to be JSON.
    let mut body = serde_json::to_vec(&request).unwrap_or_default();
    let json = body.len().to_string();
    for tensor in inputs {
        body.extend_from_slice(&tensor.data);
    }
    (body.into(), json)
}

fn read_response(response: &Response) -> Result<Results, RequestError> {
    let malformed = || RequestError::Malformed(CborError::Malformed);
    let (json, mut binary) = match response.header(JSON_LENGTH) {
        Some(length) => {
            let length: usize = length.parse().map_err(|_| malformed())?;
            response.body.split_at_checked(length).ok_or_else(malformed)?
        }
        None => (&response.body[..], &[][..]),
    };
    let parsed: InferResponse = serde_json::from_slice(json).map_err(|_| malformed())?;
    let mut tensors = Vec::with_capacity(parsed.outputs.len());
    for output in parsed.outputs {
        let size = output.parameters.map_or(0, |parameters| parameters.binary_data_size);
        let size = usize::try_from(size).map_err(|_| malformed())?;
        let (data, rest) = binary.split_at_checked(size).ok_or_else(malformed)?;
        binary = rest;
        tensors.push(Tensor::new(output.name, output.datatype, output.shape, data.to_vec()).map_err(|_| malformed())?);
    }
    if !binary.is_empty() {
        return Err(malformed());
    }
    Ok(Results { tensors, labels: parsed.parameters.labels })
}

/// Another element type. A float rounds, as that is its precision; whole numbers are what they were, or refused.
fn convert(tensor: Tensor, to: Dtype) -> Result<Tensor, InputError> {
    let data = match tensor.dtype {
        Dtype::Int64 => {
            let values = tensor.data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
            elements(values, to, |value| value as f64, Some)
        }
        _ => {
            let values = reals(&tensor).ok_or(InputError::Unfit(to))?;
            // From 2^53 on, a float may stand for a neighbour too: it was rounded before it came here.
            let whole =
                |value: f64| (value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0).then_some(value as i64);
            elements(values.into_iter(), to, |value| value, whole)
        }
    };
    Tensor::new(tensor.name, to, tensor.shape, data.ok_or(InputError::Unfit(to))?).map_err(InputError::Tensor)
}

/// Numbers as elements of a type; `None` where it cannot hold one.
fn elements<T: Copy>(
    mut values: impl Iterator<Item = T>,
    to: Dtype,
    real: impl Fn(T) -> f64,
    whole: impl Fn(T) -> Option<i64>,
) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    let pushed = values.try_for_each(|value| {
        match to {
            Dtype::Fp32 => {
                let (value, wide) = (real(value) as f32, real(value));
                // Too large for its range, and not merely between two of its steps.
                if value.is_infinite() && wide.is_finite() {
                    return None;
                }
                data.extend_from_slice(&value.to_le_bytes());
            }
            Dtype::Fp64 => data.extend_from_slice(&real(value).to_le_bytes()),
            Dtype::Int64 => data.extend_from_slice(&whole(value)?.to_le_bytes()),
            Dtype::Int32 => data.extend_from_slice(&i32::try_from(whole(value)?).ok()?.to_le_bytes()),
            _ => return None,
        }
        Some(())
    });
    pushed.map(|()| data)
}

/// The elements of a type whose every value a binary64 holds exactly.
fn reals(tensor: &Tensor) -> Option<Vec<f64>> {
    fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        data.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
    }
    match tensor.dtype {
        Dtype::Fp32 => Some(each(&tensor.data, |bytes| f32::from_le_bytes(bytes).into())),
        Dtype::Fp64 => Some(each(&tensor.data, f64::from_le_bytes)),
        Dtype::Int32 => Some(each(&tensor.data, |bytes| i32::from_le_bytes(bytes).into())),
        Dtype::Int8 => Some(each(&tensor.data, |bytes| i8::from_le_bytes(bytes).into())),
        Dtype::Uint8 => Some(each(&tensor.data, |[byte]: [u8; 1]| byte.into())),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::{input::tensors_from, output::Format};

    fn model(datatype: &str) -> Model {
        serde_json::from_value(serde_json::json!({
            "name": "m", "versions": ["1"], "platform": "onnx_rten",
            "inputs": [{"name": "features", "datatype": datatype, "shape": [-1, 2]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
            "parameters": {"features": ["a", "b"], "labels": null},
        }))
        .unwrap()
    }

    fn matrix(values: &[f32]) -> Vec<Tensor> {
        vec![Tensor::from_f32("", vec![1, values.len() as u64], values).unwrap()]
    }

    fn response(length: Option<usize>, body: &[u8]) -> Response {
        let mut headers = hyper::HeaderMap::new();
        if let Some(length) = length {
            headers.insert(JSON_LENGTH, length.to_string().parse().unwrap());
        }
        Response { status: 200, headers, body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn a_nameless_table_becomes_the_only_input() {
        let fitted = model("FP32").fit(matrix(&[1.0, 2.0])).unwrap();
        assert_eq!(fitted[0].name, "features");
        assert_eq!(model("FP32").features(), ["a", "b"]);
        assert!(model("FP32").labels().is_empty());
    }

    #[test]
    fn whole_numbers_become_integers_and_others_do_not() {
        let fitted = model("INT64").fit(matrix(&[1.0, -2.0])).unwrap();
        assert_eq!(fitted[0].data, [1i64, -2].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
        assert_eq!(model("INT64").fit(matrix(&[1.5])), Err(InputError::Unfit(Dtype::Int64)));
        assert_eq!(model("INT32").fit(matrix(&[4e9])), Err(InputError::Unfit(Dtype::Int32)));
        assert_eq!(model("BOOL").fit(matrix(&[1.0])), Err(InputError::Unfit(Dtype::Bool)));
    }

    #[test]
    fn a_table_comes_to_the_model_with_every_digit_that_its_type_holds() {
        let fit = |datatype: &str, text: &str| {
            let table = tensors_from(Format::Csv, text.as_bytes(), &[]).unwrap();
            model(datatype).fit(table).map(|tensors| tensors[0].data.clone())
        };
        let ids = [16_777_217i64, 9_007_199_254_740_993];
        let bytes = |values: [i64; 2]| values.map(i64::to_le_bytes).concat();
        assert_eq!(fit("INT64", "16777217,9007199254740993"), Ok(bytes(ids)));
        assert_eq!(fit("INT64", "16777217,2.0"), Ok(bytes([16_777_217, 2])));
        assert_eq!(fit("FP64", "0.1,16777217"), Ok([0.1f64, 16_777_217.0].map(f64::to_le_bytes).concat()));
        assert_eq!(fit("FP32", "0.1,16777217"), Ok([0.1f32, 16_777_216.0].map(f32::to_le_bytes).concat()));
        assert_eq!(
            fit("FP32", "1,9007199254740993"),
            Ok([1.0f32, 9_007_199_254_740_992.0].map(f32::to_le_bytes).concat())
        );
        // Beside a fraction it was rounded already, and is not passed off as what it was.
        assert_eq!(fit("INT64", "2.0,9007199254740993"), Err(InputError::Unfit(Dtype::Int64)));
        assert_eq!(fit("INT64", "1,0.5"), Err(InputError::Unfit(Dtype::Int64)));
        assert_eq!(fit("INT32", "1,4000000000"), Err(InputError::Unfit(Dtype::Int32)));
        assert_eq!(fit("FP32", "1,1e300"), Err(InputError::Unfit(Dtype::Fp32)));
    }

    #[test]
    fn the_request_is_json_and_then_the_tensors() {
        let (body, json) = request_body(&model("FP32").fit(matrix(&[1.0, 2.0])).unwrap());
        let (head, tail) = body.split_at(json.parse().unwrap());
        let head: serde_json::Value = serde_json::from_slice(head).unwrap();
        assert_eq!(head["inputs"][0]["parameters"]["binary_data_size"], 8);
        assert_eq!(head["inputs"][0]["datatype"], "FP32");
        assert_eq!(tail, [1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>());
    }

    #[test]
    fn a_response_must_be_exactly_as_long_as_it_says() {
        let json = br#"{"model_name":"m","parameters":{"labels":["x"]},"outputs":[
            {"name":"p","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}"#;
        let mut body = json.to_vec();
        body.extend(0.5f32.to_le_bytes());
        let results = read_response(&response(Some(json.len()), &body)).unwrap();
        assert_eq!(results.tensors[0].to_f32().unwrap(), [0.5]);
        assert_eq!(results.labels.unwrap(), ["x"]);
        let wrong = Err(RequestError::Malformed(CborError::Malformed));
        assert_eq!(read_response(&response(Some(json.len()), &body[..body.len() - 1])), wrong);
        body.push(0);
        assert_eq!(read_response(&response(Some(json.len()), &body)), wrong);
        assert_eq!(read_response(&response(Some(body.len() + 1), &body)), wrong);
    }

    proptest::proptest! {
        #[test]
        fn any_response_is_read_without_a_crash(
            length in proptest::option::of(0usize..64),
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        ) {
            let _ = read_response(&response(length, &body));
        }
    }
}
