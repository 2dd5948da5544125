//! Models of one graph, merged: the average of their weights.
//!
//! The models of a federation are as foreign as any: they are read, and written, in a worker process, one
//! request after the other on its socket. What the enclave itself handles is flat lists of numbers.
//!
//! | from | bytes |
//! |---|---|
//! | enclave | lengths of a model, of values and of a name (`u64`, little-endian each), the model, the values, the name |
//! | worker | 0 and a length (`u64`), that many bytes; or 1, a length and a `Refusal` |
//!
//! Without values the worker reads: the answer is the layout's digest and the model's values. With values it
//! writes: the answer is the model with those. The name is that of the output that is trained, if the plan names
//! one: other outputs may be computed by what has no gradient, as at the sites.

use crate::{
    error::TrainError,
    network::{Network, Settings},
    weights::Weights,
};
use glacier_engine::{EngineError, onnx::patch};
use glacier_wire::{Digest, api::Refusal};
use std::{
    collections::HashMap,
    io::{self, Read, Write},
    os::unix::net::UnixStream as StdUnixStream,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use zeroize::Zeroizing;

/// The weights of a model, and which graph they are of.
#[derive(Debug, Clone, PartialEq)]
pub struct Flat {
    /// Over names, extents and kinds of all weights in their order. Models with one layout can be averaged.
    pub layout: Digest,
    /// All weights, statistics included, in the order of the file.
    pub values: Vec<f32>,
}

/// The average of lists of one length, each with what it counts; in double precision, in their order, so the
/// bits depend on nothing else. `None` where there is no list, no count, or one of another length.
pub fn average(lists: &[(u64, &[f32])]) -> Option<Vec<f32>> {
    let (_, first) = lists.first()?;
    let all: u64 = lists.iter().try_fold(0u64, |all, (count, _)| all.checked_add(*count))?;
    if all == 0 || lists.iter().any(|(_, list)| list.len() != first.len()) {
        return None;
    }
    let mut sums = vec![0f64; first.len()];
    for (count, list) in lists {
        let share = *count as f64 / all as f64;
        sums.iter_mut().zip(*list).for_each(|(sum, value)| *sum += share * f64::from(*value));
    }
    #[allow(clippy::cast_possible_truncation, reason = "rounded to what weights are kept in")]
    Some(sums.into_iter().map(|sum| sum as f32).collect())
}

/// The enclave's end of a worker that reads and writes models.
pub struct Mill {
    stream: UnixStream,
    /// Most bytes of an answer.
    memory: u64,
    /// The output that is trained, where the plan names it.
    output: String,
}

impl Mill {
    /// Over the socket of a worker that may hold `memory` bytes; `output` is the one that is trained, where the
    /// plan names it.
    pub fn new(stream: UnixStream, memory: u64, output: Option<&str>) -> Self {
        Self { stream, memory, output: output.unwrap_or_default().to_owned() }
    }

    /// The weights of a model.
    ///
    /// # Errors
    /// [`EngineError::Refused`] where it is no model that can be trained, others where the worker has ended.
    pub async fn read(&mut self, model: &[u8]) -> Result<Flat, EngineError> {
        let answer = self.ask(model, &[]).await?;
        let (layout, values) = answer.split_first_chunk::<32>().ok_or(EngineError::Protocol)?;
        let (values, rest) = values.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(EngineError::Protocol);
        }
        Ok(Flat { layout: Digest(*layout), values: values.iter().map(|value| f32::from_le_bytes(*value)).collect() })
    }

    /// The model with other weights, of its own layout.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub async fn write(&mut self, model: &[u8], values: &[f32]) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.ask(model, &Zeroizing::new(bytes)).await
    }

    async fn ask(&mut self, model: &[u8], values: &[u8]) -> Result<Zeroizing<Vec<u8>>, EngineError> {
        let gone = |_: io::Error| EngineError::Gone;
        let parts = [model, values, self.output.as_bytes()];
        for part in parts {
            self.stream.write_all(&(part.len() as u64).to_le_bytes()).await.map_err(gone)?;
        }
        for part in parts {
            self.stream.write_all(part).await.map_err(gone)?;
        }
        let refused = self.stream.read_u8().await.map_err(gone)? != 0;
        let len = self.stream.read_u64_le().await.map_err(gone)?;
        let most = if refused { MAX_REFUSAL } else { self.memory };
        let len = usize::try_from(len).ok().filter(|_| len <= most).ok_or(EngineError::Protocol)?;
        let mut answer = Zeroizing::new(Vec::new());
        // The enclave must not abort where the host gives it no memory.
        answer.try_reserve_exact(len).map_err(|_| EngineError::Protocol)?;
        answer.resize(len, 0);
        self.stream.read_exact(&mut answer).await.map_err(gone)?;
        if refused {
            return Err(minicbor::decode(&answer).map_or(EngineError::Protocol, EngineError::Refused));
        }
        Ok(answer)
    }
}

/// Serves one enclave over `stream` until it hangs up.
pub fn work(mut stream: StdUnixStream) {
    // Errors are the enclave's end of the stream: nobody is left to be told.
    while let Ok((model, values, output)) = receive(&mut stream) {
        let (refused, answer) = match answer(&model, &values, output) {
            Ok(answer) => (0, answer),
            Err(error) => {
                let mut refusal = Vec::new();
                let _ = minicbor::encode(Refusal::from(error), &mut refusal); // writing to a Vec is infallible
                (1, Zeroizing::new(refusal))
            }
        };
        let sent = stream
            .write_all(&[refused])
            .and_then(|()| stream.write_all(&(answer.len() as u64).to_le_bytes()))
            .and_then(|()| stream.write_all(&answer));
        if sent.is_err() {
            return;
        }
    }
}

type Bytes = Zeroizing<Vec<u8>>;

fn receive(stream: &mut StdUnixStream) -> io::Result<(Bytes, Bytes, Option<String>)> {
    let mut lens = [[0u8; 8]; 3];
    for len in &mut lens {
        stream.read_exact(len)?;
    }
    let mut content = |len: [u8; 8]| {
        let len = usize::try_from(u64::from_le_bytes(len)).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Zeroizing::new(vec![0; len]);
        stream.read_exact(&mut bytes)?;
        Ok::<_, io::Error>(bytes)
    };
    let [model, values, output] = lens;
    let (model, values, output) = (content(model)?, content(values)?, content(output)?);
    let output = String::from_utf8(output.to_vec()).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((model, values, Some(output).filter(|output| !output.is_empty())))
}

fn answer(model: &[u8], values: &[u8], output: Option<String>) -> Result<Bytes, TrainError> {
    let settings = Settings { trained: output.map(|name| vec![name]), ..Settings::default() };
    let (_, weights) = Network::with(model, &settings)?;
    if values.is_empty() {
        let mut out = Zeroizing::new(Vec::with_capacity(weights.len().saturating_mul(4).saturating_add(32)));
        out.extend_from_slice(&layout(&weights).0);
        weights.values().iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        return Ok(out);
    }
    let (values, rest) = values.as_chunks::<4>();
    if !rest.is_empty() || values.len() != weights.len() {
        return Err(TrainError::Layout);
    }
    let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let weights = Weights::new(weights.spans().to_vec(), values)?;
    let named: HashMap<&str, &[f32]> =
        weights.spans().iter().map(|span| (span.name.as_str(), weights.slice(span))).collect();
    Ok(Zeroizing::new(patch(model, &named)?))
}

/// Names every weight's place.
fn layout(weights: &Weights) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"glacier/layout/v1\0");
    for span in weights.spans() {
        hasher.update(&(span.name.len() as u64).to_le_bytes());
        hasher.update(span.name.as_bytes());
        hasher.update(&(span.shape.len() as u64).to_le_bytes());
        for extent in &span.shape {
            hasher.update(&(*extent as u64).to_le_bytes());
        }
        hasher.update(&[span.kind as u8]);
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Largest refusal that is read.
const MAX_REFUSAL: u64 = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::build::{Columns, Task, mlp};
    use glacier_wire::api::RefusalCode;

    fn model(seed: u8, hidden: u64) -> Vec<u8> {
        mlp(Columns::Count(3), &[hidden], Task::Classes(2), &[seed; 32]).unwrap()
    }

    fn mill() -> Mill {
        trained(None)
    }

    fn trained(output: Option<&str>) -> Mill {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        std::thread::spawn(|| work(theirs));
        ours.set_nonblocking(true).unwrap();
        Mill::new(UnixStream::from_std(ours).unwrap(), 1 << 20, output)
    }

    #[test]
    fn an_average_counts_each_list_as_much_as_it_says() {
        let (one, other) = ([1.0, 2.0], [4.0, -1.0]);
        assert_eq!(average(&[(1, &one), (1, &other)]).unwrap(), [2.5, 0.5]);
        assert_eq!(average(&[(2, &one), (1, &other)]).unwrap(), [2.0, 1.0]);
        assert_eq!(average(&[(0, &one), (7, &other)]).unwrap(), other);
        assert_eq!(average(&[(5, &one)]).unwrap(), one);
    }

    #[test]
    fn what_cannot_be_averaged_is_no_average() {
        let (one, other) = ([1.0, 2.0], [4.0]);
        assert_eq!(average(&[]), None);
        assert_eq!(average(&[(0, &one)]), None);
        assert_eq!(average(&[(1, &one), (1, &other)]), None);
        assert_eq!(average(&[(u64::MAX, &one), (1, &one)]), None);
    }

    #[test]
    fn an_average_has_the_same_bits_each_time() {
        let lists: Vec<Vec<f32>> =
            (0..5).map(|list| (0..1000).map(|at| ((list * 1000 + at) as f32).sin() / 3.0).collect()).collect();
        let parts: Vec<(u64, &[f32])> = (3..).zip(&lists).map(|(count, list)| (count, list.as_slice())).collect();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(average(&parts).unwrap()), bits(average(&parts).unwrap()));
    }

    #[tokio::test]
    async fn a_model_is_read_and_written_in_the_worker() {
        let (mut mill, model, other) = (mill(), model(1, 4), model(2, 4));
        let (flat, wanted) = (mill.read(&model).await.unwrap(), mill.read(&other).await.unwrap());
        assert_eq!(flat.layout, wanted.layout);
        assert_ne!(flat.values, wanted.values);
        assert_eq!(flat.values.len(), 3 * 4 + 4 + 4 * 2 + 2);
        let written = mill.write(&model, &wanted.values).await.unwrap();
        assert_eq!(mill.read(&written).await.unwrap(), wanted);
    }

    #[tokio::test]
    async fn models_of_other_graphs_have_other_layouts() {
        let mut mill = mill();
        let (one, other) = (mill.read(&model(1, 4)).await.unwrap(), mill.read(&model(1, 5)).await.unwrap());
        assert_ne!(one.layout, other.layout);
        let refused = mill.write(&model(1, 4), &other.values).await;
        assert!(matches!(refused, Err(EngineError::Refused(refusal)) if refusal.code == RefusalCode::ModelInvalid));
    }

    #[tokio::test]
    async fn what_is_no_model_is_refused_and_the_worker_goes_on() {
        let mut mill = mill();
        assert!(matches!(mill.read(b"no model").await, Err(EngineError::Refused(_))));
        assert!(mill.read(&model(1, 4)).await.is_ok());
    }
}
