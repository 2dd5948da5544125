//! Tensors between this proxy and the enclave: the binary form of the Open Inference Protocol.

use crate::fault::Fault;
use bytes::Bytes;
use glacier::session::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Header that gives the length of the JSON in front of binary tensors.
pub(crate) const JSON_LENGTH: &str = "inference-header-content-length";

/// Elements row by row, little-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) datatype: String,
    pub(crate) shape: Vec<i64>,
    pub(crate) data: Bytes,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outputs {
    pub(crate) tensors: Vec<Tensor>,
    /// Names of the rows' classes, where the model has such.
    pub(crate) labels: Option<Value>,
}

#[derive(Serialize)]
struct Head<'a> {
    inputs: Vec<Input<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<Wanted<'a>>,
    parameters: BinaryOutput,
}

#[derive(Serialize)]
struct Input<'a> {
    name: &'a str,
    shape: &'a [i64],
    datatype: &'a str,
    parameters: BinarySize,
}

#[derive(Serialize)]
struct Wanted<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct BinaryOutput {
    binary_data_output: bool,
}

#[derive(Serialize, Deserialize)]
struct BinarySize {
    binary_data_size: usize,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    parameters: Option<Labels>,
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Labels {
    labels: Option<Value>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    parameters: Option<BinarySize>,
}

/// The body of a request, and the length of the JSON at its front.
pub(crate) fn write(inputs: &[Tensor], wanted: &[String]) -> (Bytes, String) {
    let head = Head {
        inputs: inputs
            .iter()
            .map(|tensor| Input {
                name: &tensor.name,
                shape: &tensor.shape,
                datatype: &tensor.datatype,
                parameters: BinarySize { binary_data_size: tensor.data.len() },
            })
            .collect(),
        outputs: wanted.iter().map(|name| Wanted { name }).collect(),
        parameters: BinaryOutput { binary_data_output: true },
    };
    // Text and integers only: nothing in it can fail to be JSON.
    let mut body = serde_json::to_vec(&head).unwrap_or_default();
    let json = body.len().to_string();
    for tensor in inputs {
        body.extend_from_slice(&tensor.data);
    }
    (body.into(), json)
}

/// The outputs in an answer to such a request.
pub(crate) fn read(response: &Response) -> Result<Outputs, Fault> {
    try_read(response)
        .ok_or_else(|| Fault::new(502, "node", "the enclave's answer cannot be read", "compare `glacier --version`"))
}

fn try_read(response: &Response) -> Option<Outputs> {
    let json = match response.header(JSON_LENGTH) {
        Some(length) => length.parse().ok()?,
        None => response.body.len(),
    };
    let answer: Answer = serde_json::from_slice(response.body.get(..json)?).ok()?;
    let mut at = json;
    let mut tensors = Vec::with_capacity(answer.outputs.len());
    for Output { name, shape, datatype, parameters } in answer.outputs {
        let end = at.checked_add(parameters.map_or(0, |parameters| parameters.binary_data_size))?;
        response.body.get(at..end)?;
        tensors.push(Tensor { name, datatype, shape, data: response.body.slice(at..end) });
        at = end;
    }
    let labels = answer.parameters.and_then(|parameters| parameters.labels);
    (at == response.body.len()).then_some(Outputs { tensors, labels })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn response(length: usize, body: &[u8]) -> Response {
        let mut headers = hyper::HeaderMap::new();
        headers.insert(JSON_LENGTH, length.into());
        Response { status: 200, headers, body: Bytes::copy_from_slice(body) }
    }

    #[test]
    fn a_request_is_json_and_then_the_tensors() {
        let tensor =
            Tensor { name: "x".into(), datatype: "UINT8".into(), shape: vec![2], data: Bytes::from_static(&[1, 2]) };
        let (body, json) = write(&[tensor], &["y".to_owned()]);
        let (head, tail) = body.split_at(json.parse().unwrap());
        let head: Value = serde_json::from_slice(head).unwrap();
        assert_eq!((head["inputs"][0]["parameters"]["binary_data_size"].as_u64(), tail), (Some(2), &[1, 2][..]));
        assert_eq!(head["outputs"][0]["name"], "y");
    }

    #[test]
    fn an_answer_is_exactly_as_long_as_it_says() {
        let json = br#"{"parameters":{"labels":["a"]},"outputs":[{"name":"y","shape":[2],"datatype":"UINT8","parameters":{"binary_data_size":2}}]}"#;
        let mut body = json.to_vec();
        body.extend([7, 8]);
        let outputs = read(&response(json.len(), &body)).unwrap();
        assert_eq!(&outputs.tensors[0].data[..], [7, 8]);
        assert_eq!(outputs.labels, Some(serde_json::json!(["a"])));
        for wrong in [&body[..body.len() - 1], &[&body[..], &[0]].concat()] {
            assert_eq!(read(&response(json.len(), wrong)).unwrap_err().code, "node");
        }
        assert_eq!(read(&response(body.len() + 1, &body)).unwrap_err().code, "node");
    }
}
