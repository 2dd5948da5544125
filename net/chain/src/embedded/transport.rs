//! alloy's transport to a chain in this process.

use std::task::{Context, Poll};

use alloy::{
    rpc::json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload, SerializedRequest},
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use serde_json::value::to_raw_value;
use tower::Service;

use super::Embedded;

/// Hands requests of an alloy provider to the chain.
#[derive(Clone, Debug)]
pub struct Transport(Embedded);

impl Transport {
    /// To this chain.
    pub fn new(chain: Embedded) -> Self {
        Self(chain)
    }

    async fn one(&self, request: &SerializedRequest) -> Result<Response, TransportError> {
        let params = request.params().map(|params| params.get());
        let payload = match self.0.request(request.method(), params).await {
            Ok(value) => ResponsePayload::Success(to_raw_value(&value).map_err(TransportErrorKind::custom)?),
            Err(error) => ResponsePayload::Failure(ErrorPayload {
                code: error.code,
                message: error.message.into(),
                data: error.data.map(|data| to_raw_value(&data)).transpose().map_err(TransportErrorKind::custom)?,
            }),
        };
        Ok(Response { id: request.id().clone(), payload })
    }
}

impl Service<RequestPacket> for Transport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            match packet {
                RequestPacket::Single(request) => Ok(ResponsePacket::Single(this.one(&request).await?)),
                RequestPacket::Batch(requests) => {
                    let mut responses = Vec::with_capacity(requests.len());
                    for request in &requests {
                        responses.push(this.one(request).await?);
                    }
                    Ok(ResponsePacket::Batch(responses))
                }
            }
        })
    }
}
