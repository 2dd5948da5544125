//! The same over gRPC, as Triton's clients speak it.

use crate::{
    fault::Fault,
    inference::{
        DataType, InferParameter, InferStatistics, InferTensorContents, ModelConfig, ModelConfigRequest,
        ModelConfigResponse, ModelInferRequest, ModelInferResponse, ModelInput, ModelMetadataRequest,
        ModelMetadataResponse, ModelOutput, ModelReadyRequest, ModelReadyResponse, ModelStatistics,
        ModelStatisticsRequest, ModelStatisticsResponse, ModelStreamInferResponse, RepositoryIndexRequest,
        RepositoryIndexResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse,
        ServerReadyRequest, ServerReadyResponse, StatisticDuration,
        grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer},
        infer_parameter::ParameterChoice,
        model_infer_response::InferOutputTensor,
        model_metadata_response::TensorMetadata,
        repository_index_response::ModelIndex,
    },
    oip::{EXTENSIONS, NAME, VERSION, require_version, unreadable},
    proxy::{Proxy, said_of, said_of_proved},
    tensors::{self, JSON_LENGTH, Tensor},
};
use axum::{Router, http::HeaderMap};
use bytes::Bytes;
use serde::Deserialize;
use std::sync::{Arc, atomic::Ordering};
use tokio::sync::mpsc::Sender;
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    codec::CompressionEncoding,
    metadata::{MetadataMap, MetadataValue},
};

/// Answers that wait for a slow client before its next request is taken.
const AHEAD: usize = 4;

pub(crate) fn routes(proxy: &Arc<Proxy>) -> Router {
    let service = GrpcInferenceServiceServer::new(Service(proxy.clone()))
        .max_decoding_message_size(proxy.config.max_body)
        .max_encoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate);
    Router::new().route_service("/inference.GRPCInferenceService/{method}", service)
}

struct Service(Arc<Proxy>);

type Answered<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GrpcInferenceService for Service {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answered<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answered<ServerReadyResponse> {
        let lease = self.0.pool.take().await.map_err(status)?;
        let headers = said_of(&lease.session());
        self.0.pool.give_back(lease);
        Ok(with(ServerReadyResponse { ready: true }, headers))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answered<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let (_, headers) = self.about(&name, &version).await?;
        Ok(with(ModelReadyResponse { ready: true }, headers))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answered<ServerMetadataResponse> {
        let extensions = EXTENSIONS.iter().map(|name| (*name).to_owned()).collect();
        Ok(Response::new(ServerMetadataResponse {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions,
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answered<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let (about, headers) = self.about(&name, &version).await?;
        let ports = |ports: Vec<Port>| {
            let port = |Port { name, datatype, shape }| TensorMetadata { name, datatype, shape };
            ports.into_iter().map(port).collect()
        };
        let said = ModelMetadataResponse {
            name,
            versions: vec![VERSION.to_owned()],
            platform: about.platform,
            inputs: ports(about.inputs),
            outputs: ports(about.outputs),
        };
        Ok(with(said, headers))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Answered<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let (about, headers) = self.about(&name, &version).await?;
        let kind = |port: &Port| {
            DataType::from_str_name(&format!("TYPE_{}", port.datatype)).unwrap_or(DataType::TypeInvalid).into()
        };
        let input = |port: Port| ModelInput { data_type: kind(&port), name: port.name, dims: port.shape };
        let output = |port: Port| ModelOutput { data_type: kind(&port), name: port.name, dims: port.shape };
        let config = ModelConfig {
            name,
            platform: about.platform,
            max_batch_size: 0,
            input: about.inputs.into_iter().map(input).collect(),
            output: about.outputs.into_iter().map(output).collect(),
            backend: "glacier".to_owned(),
        };
        Ok(with(ModelConfigResponse { config: Some(config) }, headers))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Answered<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let (_, headers) = self.about(&name, &version).await?;
        let counts = &self.0.counts;
        let answered = counts.answered.load(Ordering::Relaxed);
        let success = StatisticDuration { count: answered, ns: counts.nanoseconds.load(Ordering::Relaxed) };
        let fail = StatisticDuration { count: counts.failed.load(Ordering::Relaxed), ns: 0 };
        let stats = ModelStatistics {
            name,
            version: VERSION.to_owned(),
            inference_count: answered,
            execution_count: answered,
            inference_stats: Some(InferStatistics { success: Some(success), fail: Some(fail) }),
        };
        Ok(with(ModelStatisticsResponse { model_stats: vec![stats] }, headers))
    }

    async fn repository_index(&self, _: Request<RepositoryIndexRequest>) -> Answered<RepositoryIndexResponse> {
        let listed = self.0.models.list(&self.0.pool).await.map_err(status)?;
        let entry = |model: crate::ModelName| ModelIndex {
            name: model.name,
            version: VERSION.to_owned(),
            state: "READY".to_owned(),
            reason: String::new(),
        };
        Ok(Response::new(RepositoryIndexResponse { models: listed.into_iter().map(entry).collect() }))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answered<ModelInferResponse> {
        let (said, headers) = infer(&self.0, request.into_inner()).await.map_err(status)?;
        Ok(with(said, headers))
    }

    type ModelStreamInferStream = ReceiverStream<Result<ModelStreamInferResponse, Status>>;

    /// One answer for each request, in their order. A request that fails ends neither the stream nor the others.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answered<Self::ModelStreamInferStream> {
        let (sender, receiver) = tokio::sync::mpsc::channel(AHEAD);
        let (proxy, requests) = (self.0.clone(), request.into_inner());
        let answers = answer_each(requests, sender, async move |request| streamed(&proxy, request).await);
        tokio::spawn(answers);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Ends with the requests, or with their reader: for one who hung up no session is held.
async fn answer_each<R, A>(
    requests: impl Stream<Item = Result<R, Status>>,
    sender: Sender<Result<A, Status>>,
    answer: impl AsyncFn(R) -> A,
) {
    let answered = async {
        let mut requests = std::pin::pin!(requests);
        while let Some(request) = requests.next().await {
            let said = match request {
                Ok(request) => Ok(answer(request).await),
                Err(status) => Err(status),
            };
            let last = said.is_err();
            if sender.send(said).await.is_err() || last {
                return;
            }
        }
    };
    tokio::select! {
        () = answered => {}
        () = sender.closed() => {}
    }
}

/// An answer of a stream. It has no metadata of its own, so the proof is among its parameters.
async fn streamed(proxy: &Proxy, request: ModelInferRequest) -> ModelStreamInferResponse {
    let id = request.id.clone();
    match infer(proxy, request).await {
        Ok((mut said, headers)) => {
            let texts = headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?)));
            said.parameters.extend(texts.map(|(name, value)| (name, text(value))));
            ModelStreamInferResponse { error_message: String::new(), infer_response: Some(said) }
        }
        // Clients tell by the id which request it was.
        Err(fault) => ModelStreamInferResponse {
            error_message: fault.to_string(),
            infer_response: Some(ModelInferResponse { id, ..ModelInferResponse::default() }),
        },
    }
}

async fn infer(proxy: &Proxy, request: ModelInferRequest) -> Result<(ModelInferResponse, HeaderMap), Fault> {
    require_version(&request.model_version)?;
    let deployment = proxy.models.resolve(&proxy.pool, &request.model_name).await?;
    let (model_name, id) = (request.model_name.clone(), request.id.clone());
    let wanted: Vec<String> = request.outputs.iter().map(|output| output.name.clone()).collect();
    let (body, length) = tensors::write(&inputs(request)?, &wanted);
    let headers = [("content-type", "application/octet-stream"), (JSON_LENGTH, length.as_str())];
    let proved = proxy.infer(&deployment, &headers, body).await?;
    let read = tensors::read(&proved.response)?;
    let mut said = ModelInferResponse { model_name, model_version: VERSION.to_owned(), id, ..Default::default() };
    if let Some(labels) = read.labels.filter(|labels| !labels.is_null()) {
        said.parameters.insert("labels".to_owned(), text(&labels.to_string()));
    }
    for Tensor { name, datatype, shape, data } in read.tensors {
        said.outputs.push(InferOutputTensor { name, datatype, shape, ..Default::default() });
        said.raw_output_contents.push(data);
    }
    Ok((said, said_of_proved(std::slice::from_ref(&proved))))
}

/// The inputs, whose elements are all raw or all in lists.
fn inputs(request: ModelInferRequest) -> Result<Vec<Tensor>, Fault> {
    let raw = request.raw_input_contents;
    if !raw.is_empty() && raw.len() != request.inputs.len() {
        return Err(Fault::bad("there are not as many raw_input_contents as inputs"));
    }
    let mut raw = raw.into_iter();
    let tensor = |input: crate::inference::model_infer_request::InferInputTensor| {
        let data = match (raw.next(), input.contents) {
            (Some(data), None) => data,
            (None, Some(contents)) => listed(&input.datatype, contents)
                .ok_or_else(|| Fault::bad(format!("input `{}`: the contents are no {}", input.name, input.datatype)))?,
            _ => return Err(Fault::bad(format!("input `{}` needs either raw or listed contents", input.name))),
        };
        Ok(Tensor { name: input.name, datatype: input.datatype, shape: input.shape, data })
    };
    request.inputs.into_iter().map(tensor).collect()
}

/// Little-endian bytes of the list that goes with a datatype.
fn listed(datatype: &str, contents: InferTensorContents) -> Option<Bytes> {
    let mut data = Vec::new();
    match datatype {
        "BOOL" => data.extend(contents.bool_contents.into_iter().map(u8::from)),
        "INT8" => {
            for value in contents.int_contents {
                data.extend(i8::try_from(value).ok()?.to_le_bytes());
            }
        }
        "UINT8" => {
            for value in contents.uint_contents {
                data.push(u8::try_from(value).ok()?);
            }
        }
        "INT32" => data.extend(contents.int_contents.into_iter().flat_map(i32::to_le_bytes)),
        "INT64" => data.extend(contents.int64_contents.into_iter().flat_map(i64::to_le_bytes)),
        "FP32" => data.extend(contents.fp32_contents.into_iter().flat_map(f32::to_le_bytes)),
        "FP64" => data.extend(contents.fp64_contents.into_iter().flat_map(f64::to_le_bytes)),
        _ => return None,
    }
    Some(data.into())
}

/// What the enclave says of a model.
#[derive(Deserialize)]
struct About {
    platform: String,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

#[derive(Deserialize)]
struct Port {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

impl Service {
    async fn about(&self, name: &str, version: &str) -> Result<(About, HeaderMap), Status> {
        let found = async {
            require_version(version)?;
            let deployment = self.0.models.resolve(&self.0.pool, name).await?;
            let (session, metadata) = self.0.metadata(&deployment).await?;
            let about = serde_json::from_slice(&metadata.body).map_err(|_| unreadable())?;
            Ok((about, said_of(&session)))
        };
        found.await.map_err(status)
    }
}

fn text(value: &str) -> InferParameter {
    InferParameter { parameter_choice: Some(ParameterChoice::StringParam(value.to_owned())) }
}

fn with<T>(message: T, headers: HeaderMap) -> Response<T> {
    let mut response = Response::new(message);
    *response.metadata_mut() = MetadataMap::from_headers(headers);
    response
}

fn status(fault: Fault) -> Status {
    let code = match fault.status {
        400 | 415 | 422 => Code::InvalidArgument,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 | 424 => Code::FailedPrecondition,
        413 | 429 => Code::ResourceExhausted,
        502 => Code::DataLoss,
        503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        _ => Code::Internal,
    };
    let mut status = Status::new(code, fault.to_string());
    status.metadata_mut().insert("glacier-fault", MetadataValue::from_static(fault.code));
    status
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::inference::model_infer_request::InferInputTensor;

    fn request(datatype: &str, contents: Option<InferTensorContents>, raw: &[&'static [u8]]) -> ModelInferRequest {
        let input = InferInputTensor {
            name: "x".to_owned(),
            datatype: datatype.to_owned(),
            shape: vec![1],
            contents,
            ..Default::default()
        };
        let raw_input_contents = raw.iter().map(|bytes| Bytes::from_static(bytes)).collect();
        ModelInferRequest { inputs: vec![input], raw_input_contents, ..Default::default() }
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_reader() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(AHEAD);
        let requests = tokio_stream::iter([Ok(1), Ok(2)]).chain(tokio_stream::pending());
        let answers = answer_each(requests, sender, async |request: u32| {
            // The second has no answer, ever.
            if request > 1 {
                std::future::pending::<()>().await;
            }
            request
        });
        let reader = async {
            assert_eq!(receiver.recv().await.unwrap().unwrap(), 1);
            drop(receiver);
        };
        let both = async { tokio::join!(answers, reader) };
        tokio::time::timeout(std::time::Duration::from_secs(10), both).await.unwrap();
    }

    #[test]
    fn elements_are_raw_or_listed_and_never_both() {
        let listed = |value| Some(InferTensorContents { int_contents: vec![value], ..Default::default() });
        assert_eq!(inputs(request("INT8", listed(-2), &[])).unwrap()[0].data[..], [254]);
        assert_eq!(inputs(request("INT8", None, &[&[7]])).unwrap()[0].data[..], [7]);
        let wrong = [
            request("INT8", listed(300), &[]),
            request("BYTES", listed(1), &[]),
            request("INT8", listed(1), &[&[7]]),
            request("INT8", None, &[]),
            request("INT8", None, &[&[7], &[8]]),
        ];
        for wrong in wrong {
            assert_eq!(inputs(wrong).unwrap_err().status, 400);
        }
    }
}
