//! The Open Inference Protocol, version 2 (REST), with its binary tensor extension.

use crate::deployment::{Deployment, Deployments};
use glacier_app::{Context, Refusal, RefusalCode, Request, Response};
use glacier_engine::{Dim, Inference, Port};
use glacier_wire::{Dtype, Tensor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Header that gives the length of the JSON in front of binary tensors, in requests and responses.
const JSON_LENGTH: &str = "inference-header-content-length";

/// Most tensors of one request.
const MAX_TENSORS: usize = 64;

/// Answers everything below `/v2`. Refusals take the protocol's own form, `{"error": …}`.
pub(crate) async fn answer(deployments: &Deployments, cx: &Context, request: &Request) -> Response {
    try_answer(deployments, cx, request).await.unwrap_or_else(|refusal| error(&refusal))
}

async fn try_answer(deployments: &Deployments, cx: &Context, request: &Request) -> Result<Response, Refusal> {
    match (request.method(), request.segments().as_slice()) {
        ("GET", ["v2"]) => Response::json(&json!({
            "name": "glacier",
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": ["binary_tensor_data"],
            "platform": cx.platform().as_str(),
        })),
        ("GET", ["v2", "health", "live"]) => Response::json(&json!({"live": true})),
        ("GET", ["v2", "health", "ready"]) => Response::json(&json!({"ready": true})),
        ("GET", ["v2", "models", name]) => metadata(&*deployments.live(name)?),
        ("GET", ["v2", "models", name, "ready"]) => {
            Response::json(&json!({"name": deployments.live(name)?.name(), "ready": true}))
        }
        // Whoever knows a deployment's name may call it: of others' nobody learns the names here.
        ("POST", ["v2", "repository", "index"]) => {
            let entry = |name| json!({"name": name, "version": "1", "state": "READY", "reason": ""});
            Response::json(&deployments.of(request.peer()).into_iter().map(entry).collect::<Vec<_>>())
        }
        ("POST", ["v2", "models", name, "infer"]) => {
            let deployment = deployments.get(name)?;
            let (head, inputs) = read(request)?;
            let (inference, worked) = deployments.infer(cx, &deployment, inputs).await?;
            Ok(write(&deployment, head, inference)?.proved_as(worked))
        }
        _ => Err(Refusal::new(RefusalCode::NotFound, "there is nothing at this path")),
    }
}

fn error(refusal: &Refusal) -> Response {
    let body = json!({"error": refusal.to_string()});
    let response = Response::json(&body).unwrap_or_else(|_| Response::bytes(Vec::new()));
    response.with_status(refusal.code.status()).with_header("glacier-refusal", refusal.code.as_str().to_owned())
}

#[derive(Deserialize)]
struct InferRequest {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<InputTensor>,
    #[serde(default)]
    outputs: Vec<RequestedOutput>,
}

#[derive(Deserialize)]
struct InputTensor {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct RequestedOutput {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Deserialize, Default)]
struct Parameters {
    binary_data_size: Option<u64>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
}

/// What of the request shapes the response.
struct Head {
    id: Option<String>,
    binary: bool,
    outputs: Vec<RequestedOutput>,
}

fn read(request: &Request) -> Result<(Head, Vec<Tensor>), Refusal> {
    let (json, mut binary) = split(request)?;
    let parsed: InferRequest = serde_json::from_slice(json).map_err(|fault| {
        bad(format!("the body is not an inference request (line {}, column {})", fault.line(), fault.column()))
    })?;
    if parsed.inputs.len() > MAX_TENSORS {
        return Err(bad(format!("a request has at most {MAX_TENSORS} inputs")));
    }
    let mut inputs = Vec::with_capacity(parsed.inputs.len());
    for input in parsed.inputs {
        inputs.push(tensor(input, &mut binary)?);
    }
    if !binary.is_empty() {
        return Err(bad("there are more binary bytes than the inputs announce"));
    }
    let binary = parsed.parameters.binary_data_output.unwrap_or(false);
    Ok((Head { id: parsed.id, binary, outputs: parsed.outputs }, inputs))
}

/// JSON and binary part of the body.
fn split(request: &Request) -> Result<(&[u8], &[u8]), Refusal> {
    let body = request.body();
    let Some(header) = request.header(JSON_LENGTH) else { return Ok((body, &[])) };
    let parts = header.parse().ok().and_then(|length: usize| body.split_at_checked(length));
    parts.ok_or_else(|| bad(format!("the header {JSON_LENGTH} does not fit the body")))
}

fn tensor(input: InputTensor, binary: &mut &[u8]) -> Result<Tensor, Refusal> {
    let dtype = dtype(&input)?;
    let data = match (input.parameters.binary_data_size, &input.data) {
        (Some(size), None) => {
            let parts = usize::try_from(size).ok().and_then(|size| binary.split_at_checked(size));
            let (data, rest) = parts.ok_or_else(|| bad(format!("the binary data of `{}` ends early", input.name)))?;
            *binary = rest;
            data.to_vec()
        }
        (None, Some(data)) => {
            let mut bytes = Vec::new();
            flatten(data, dtype, &mut bytes)
                .ok_or_else(|| bad(format!("`{}` holds a value that is no {}", input.name, input.datatype)))?;
            bytes
        }
        _ => return Err(bad(format!("`{}` needs either data or binary_data_size", input.name))),
    };
    let name = input.name.clone();
    Tensor::new(input.name, dtype, input.shape, data)
        .map_err(|fault| Refusal::new(RefusalCode::DataInvalid, format!("input `{name}`: {fault}")))
}

fn dtype(input: &InputTensor) -> Result<Dtype, Refusal> {
    serde_json::from_value(Value::String(input.datatype.clone())).map_err(|_| {
        let detail = format!("input `{}`: the datatype {} is not supported", input.name, input.datatype);
        Refusal::new(RefusalCode::DataInvalid, detail)
    })
}

/// Row-major little-endian bytes of a flat or nested JSON array. `None` where a value does not fit.
fn flatten(value: &Value, dtype: Dtype, out: &mut Vec<u8>) -> Option<()> {
    if let Value::Array(values) = value {
        return values.iter().try_for_each(|value| flatten(value, dtype, out));
    }
    match dtype {
        // Narrowing to the model's own precision is what the datatype asks for.
        Dtype::Fp32 => out.extend((value.as_f64()? as f32).to_le_bytes()),
        Dtype::Fp64 => out.extend(value.as_f64()?.to_le_bytes()),
        Dtype::Int32 => out.extend(i32::try_from(value.as_i64()?).ok()?.to_le_bytes()),
        Dtype::Int64 => out.extend(value.as_i64()?.to_le_bytes()),
        Dtype::Int8 => out.extend(i8::try_from(value.as_i64()?).ok()?.to_le_bytes()),
        Dtype::Uint8 => out.push(u8::try_from(value.as_u64()?).ok()?),
        Dtype::Bool => out.push(u8::from(value.as_bool()?)),
        _ => return None,
    }
    Some(())
}

#[derive(Serialize)]
struct InferResponse<'a> {
    model_name: String,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    outputs: Vec<OutputTensor<'a>>,
}

#[derive(Serialize)]
struct OutputTensor<'a> {
    name: &'a str,
    shape: &'a [u64],
    datatype: Dtype,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<Value>>,
}

fn write(deployment: &Deployment, head: Head, inference: Inference) -> Result<Response, Refusal> {
    let mut outputs = Vec::new();
    let mut binary = Vec::new();
    for tensor in wanted(&head, &inference)? {
        let as_binary = head
            .outputs
            .iter()
            .find(|wanted| wanted.name == tensor.name)
            .and_then(|wanted| wanted.parameters.binary_data)
            .unwrap_or(head.binary);
        let (parameters, data) = if as_binary {
            binary.extend_from_slice(&tensor.data);
            (Some(json!({"binary_data_size": tensor.data.len()})), None)
        } else {
            (None, Some(values(tensor)))
        };
        let (name, shape) = (tensor.name.as_str(), tensor.shape.as_slice());
        outputs.push(OutputTensor { name, shape, datatype: tensor.dtype, parameters, data });
    }
    let response = InferResponse {
        model_name: deployment.name(),
        model_version: "1",
        id: head.id,
        parameters: inference.labels.as_ref().map(|labels| json!({"labels": labels})),
        outputs,
    };
    if binary.is_empty() {
        return Response::json(&response);
    }
    let mut body = serde_json::to_vec(&response)
        .map_err(|_| Refusal::new(RefusalCode::App, "the answer cannot be written as JSON"))?;
    let length = body.len().to_string();
    body.append(&mut binary);
    Ok(Response::bytes(body).with_header(JSON_LENGTH, length))
}

/// The outputs that were asked for; all of them when none was named.
fn wanted<'a>(head: &Head, inference: &'a Inference) -> Result<Vec<&'a Tensor>, Refusal> {
    if head.outputs.is_empty() {
        return Ok(inference.tensors.iter().collect());
    }
    let find = |wanted: &RequestedOutput| {
        let tensor = inference.tensors.iter().find(|tensor| tensor.name == wanted.name);
        tensor
            .ok_or_else(|| Refusal::new(RefusalCode::DataInvalid, format!("the model has no output `{}`", wanted.name)))
    };
    head.outputs.iter().map(find).collect()
}

/// JSON values of a tensor's elements. JSON has no NaN or infinity: they become null.
fn values(tensor: &Tensor) -> Vec<Value> {
    fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> Value) -> Vec<Value> {
        data.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect()
    }
    match tensor.dtype {
        Dtype::Fp32 => each(&tensor.data, |bytes| json!(f32::from_le_bytes(bytes))),
        Dtype::Fp64 => each(&tensor.data, |bytes| json!(f64::from_le_bytes(bytes))),
        Dtype::Int32 => each(&tensor.data, |bytes| json!(i32::from_le_bytes(bytes))),
        Dtype::Int64 => each(&tensor.data, |bytes| json!(i64::from_le_bytes(bytes))),
        Dtype::Int8 => each(&tensor.data, |bytes| json!(i8::from_le_bytes(bytes))),
        Dtype::Bool => each(&tensor.data, |[byte]: [u8; 1]| json!(byte != 0)),
        _ => each(&tensor.data, |[byte]: [u8; 1]| json!(byte)),
    }
}

fn metadata(deployment: &Deployment) -> Result<Response, Refusal> {
    let info = deployment.info();
    let ports = |ports: &[Port]| -> Vec<Value> {
        ports.iter().map(|port| json!({"name": port.name, "datatype": port.dtype, "shape": shape(port)})).collect()
    };
    Response::json(&json!({
        "name": deployment.name(),
        "versions": ["1"],
        "platform": format!("onnx_{}", info.engine),
        "inputs": ports(&info.inputs),
        "outputs": ports(&info.outputs),
        "parameters": {"features": info.features, "labels": info.labels},
    }))
}

/// The protocol writes -1 for an extent that the data decides.
fn shape(port: &Port) -> Vec<i64> {
    let extent = |dim: &Dim| dim.fixed().and_then(|extent| i64::try_from(extent).ok()).unwrap_or(-1);
    port.dims.iter().flatten().map(extent).collect()
}

fn bad(detail: impl Into<String>) -> Refusal {
    Refusal::new(RefusalCode::BadRequest, detail)
}
