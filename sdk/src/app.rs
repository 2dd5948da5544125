//! Applications of one's own: typed requests and answers, and the proof beside an answer.

use crate::{
    deployment::AnswerProof,
    error::Error,
    session::{RequestError, Response, Session},
};
use glacier_wire::{ManifestHash, Work, cbor::CborError};
use hyper::Method;
use serde::{Serialize, de::DeserializeOwned};

/// An answer whose Work Proof was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved<T> {
    /// The answer.
    pub value: T,
    /// Its proof: of this session's enclave, about exactly what was sent and what came back.
    pub proof: AnswerProof,
}

impl Session {
    /// `POST path` with a JSON document, to an application that answers with one.
    ///
    /// # Errors
    /// The application's refusal; an answer that is not what the caller takes.
    pub async fn call<I: Serialize + ?Sized, O: DeserializeOwned>(&self, path: &str, input: &I) -> Result<O, Error> {
        let (_, response) = self.send(path, input).await?;
        read(&response)
    }

    /// The same, for an answer that must carry a Work Proof. It comes out only when the proof holds.
    ///
    /// # Errors
    /// Those of [`Session::call`], and [`Error::Unproved`].
    pub async fn call_proved<I, O>(&self, path: &str, input: &I) -> Result<Proved<O>, Error>
    where
        I: Serialize + ?Sized,
        O: DeserializeOwned,
    {
        let (body, response) = self.send(path, input).await?;
        let proof = self.check_answer(Work::App, &ManifestHash::ZERO, &body, &response)?;
        Ok(Proved { value: read(&response)?, proof })
    }

    async fn send<I: Serialize + ?Sized>(&self, path: &str, input: &I) -> Result<(Vec<u8>, Response), Error> {
        let body = serde_json::to_vec(input).map_err(|_| RequestError::Request)?;
        let headers = [("content-type", "application/json")];
        let response = self.request(Method::POST, path, &headers, body.clone().into()).await?;
        Ok((body, response))
    }
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<T, Error> {
    Ok(serde_json::from_slice(&response.body).map_err(|_| RequestError::Malformed(CborError::Malformed))?)
}
