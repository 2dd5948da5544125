//! From text to vectors. Text becomes tokens here, on the user's machine; the node sees token ids, sealed.

use crate::{
    config::{Pooling, Text},
    fault::Fault,
    tensors::{Outputs, Tensor},
};
use serde::Deserialize;
use std::path::PathBuf;
use tokenizers::Tokenizer;

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} is no tokenizer: {problem}")]
pub struct TextError {
    /// Where it was looked for.
    pub path: PathBuf,
    /// The reader's words.
    pub problem: String,
}

/// Tokenizer and pooling of one model.
pub(crate) struct Embedder {
    tokenizer: Tokenizer,
    how: Text,
}

/// What a model says of itself.
#[derive(Deserialize)]
pub(crate) struct Shape {
    pub(crate) inputs: Vec<Port>,
}

/// One of its inputs.
#[derive(Deserialize)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) datatype: String,
}

impl Embedder {
    pub(crate) fn open(how: &Text) -> Result<Self, TextError> {
        let broken = |problem: String| TextError { path: how.tokenizer.clone(), problem };
        let mut tokenizer = Tokenizer::from_file(&how.tokenizer).map_err(|error| broken(error.to_string()))?;
        // Files often say that text is cut; what was cut off would be missing from the answer, and nobody told.
        tokenizer.with_truncation(None).map_err(|error| broken(error.to_string()))?;
        tokenizer.with_padding(None);
        Ok(Self { tokenizer, how: how.clone() })
    }

    /// Token ids of a text, the special ones included.
    pub(crate) fn tokens(&self, text: &str) -> Result<Vec<i64>, Fault> {
        let encoding = self.tokenizer.encode(text, true);
        let encoding = encoding.map_err(|_| Fault::bad("the tokenizer cannot read the text"))?;
        self.bounded(encoding.get_ids().iter().map(|id| i64::from(*id)).collect())
    }

    /// Ids that the caller made, if they are not too many.
    pub(crate) fn bounded(&self, tokens: Vec<i64>) -> Result<Vec<i64>, Fault> {
        let max = self.how.max_tokens;
        match tokens.len() {
            0 => Err(Fault::bad("an input has no tokens")),
            n if n > max => {
                let message = format!("an input has {n} tokens, and the model is used with at most {max}");
                Err(Fault::new(400, "context_length_exceeded", message, "send shorter text"))
            }
            _ => Ok(tokens),
        }
    }

    /// Rows of tokens as the inputs that the model has.
    pub(crate) fn inputs(shape: &Shape, rows: &[Vec<i64>]) -> Result<Vec<Tensor>, Fault> {
        let longest = rows.iter().map(Vec::len).max().unwrap_or_default();
        let input = |port: &Port| {
            let value = |row: &[i64], at: usize| match port.name.as_str() {
                "input_ids" => Some(row.get(at).copied().unwrap_or_default()),
                "attention_mask" => Some(i64::from(at < row.len())),
                "token_type_ids" => Some(0),
                _ => None,
            };
            let mut data = Vec::new();
            for row in rows {
                for at in 0..longest {
                    put(&mut data, &port.datatype, value(row, at).ok_or_else(|| no_text_model(port))?)
                        .ok_or_else(|| no_text_model(port))?;
                }
            }
            let shape = [rows.len(), longest].into_iter().filter_map(|extent| i64::try_from(extent).ok()).collect();
            Ok(Tensor { name: port.name.clone(), datatype: port.datatype.clone(), shape, data: data.into() })
        };
        shape.inputs.iter().map(input).collect()
    }

    /// One vector for each row.
    pub(crate) fn vectors(&self, outputs: &Outputs, rows: &[Vec<i64>]) -> Result<Vec<Vec<f32>>, Fault> {
        let find = |name| outputs.tensors.iter().find(|tensor| tensor.name == name);
        let tensor =
            find("sentence_embedding").or_else(|| find("last_hidden_state")).or_else(|| outputs.tensors.first());
        let vectors = tensor.and_then(|tensor| pool(tensor, rows, self.how.pooling));
        let mut vectors = vectors.ok_or_else(|| {
            let message = "the model's output is no vector for each text or token";
            Fault::new(
                422,
                "not-an-embedding-model",
                message,
                "ask a sentence-embedding model, or use /v2 for this one",
            )
        })?;
        if self.how.normalise {
            vectors.iter_mut().for_each(|vector| normalise(vector));
        }
        Ok(vectors)
    }
}

fn no_text_model(port: &Port) -> Fault {
    let message = format!("the model has the input `{}` ({}), which text does not give", port.name, port.datatype);
    Fault::new(422, "not-an-embedding-model", message, "ask a sentence-embedding model, or use /v2 for this one")
}

fn put(data: &mut Vec<u8>, datatype: &str, value: i64) -> Option<()> {
    match datatype {
        "INT64" => data.extend(value.to_le_bytes()),
        "INT32" => data.extend(i32::try_from(value).ok()?.to_le_bytes()),
        _ => return None,
    }
    Some(())
}

/// `[rows, width]` is taken as it is; of `[rows, tokens, width]` the tokens of each row become one.
fn pool(tensor: &Tensor, rows: &[Vec<i64>], pooling: Pooling) -> Option<Vec<Vec<f32>>> {
    if tensor.datatype != "FP32" {
        return None;
    }
    let (chunks, []) = tensor.data.as_chunks::<4>() else { return None };
    let values: Vec<f32> = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
    let extents: Option<Vec<usize>> = tensor.shape.iter().map(|extent| usize::try_from(*extent).ok()).collect();
    let (tokens, width) = match extents?.as_slice() {
        [n, width] if *n == rows.len() => (1, *width),
        [n, tokens, width] if *n == rows.len() => (*tokens, *width),
        _ => return None,
    };
    let each = tokens.checked_mul(width)?;
    if each == 0 || each.checked_mul(rows.len()) != Some(values.len()) {
        return None;
    }
    let one = |(block, row): (&[f32], &Vec<i64>)| match pooling {
        Pooling::First => block.get(..width).map(<[f32]>::to_vec),
        Pooling::Mean => Some(mean(block.chunks_exact(width).take(row.len()), width)),
    };
    values.chunks_exact(each).zip(rows).map(one).collect()
}

fn mean<'a>(vectors: impl Iterator<Item = &'a [f32]>, width: usize) -> Vec<f32> {
    let mut sum = vec![0f32; width];
    let mut count = 0f32;
    for vector in vectors {
        sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        count += 1.0;
    }
    sum.iter_mut().for_each(|sum| *sum /= count.max(1.0));
    sum
}

fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    // As the models' makers do: a vector of zeros stays one.
    vector.iter_mut().for_each(|value| *value /= length.max(1e-12));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn floats(shape: Vec<i64>, values: &[f32]) -> Tensor {
        let data: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor { name: "last_hidden_state".into(), datatype: "FP32".into(), shape, data: data.into() }
    }

    #[test]
    fn padding_is_not_in_the_mean() {
        let hidden = floats(vec![2, 2, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0, 100.0]);
        let rows = [vec![7, 8], vec![9]];
        assert_eq!(pool(&hidden, &rows, Pooling::Mean).unwrap(), [[2.0, 3.0], [5.0, 6.0]]);
        assert_eq!(pool(&hidden, &rows, Pooling::First).unwrap(), [[1.0, 2.0], [5.0, 6.0]]);
    }

    #[test]
    fn what_is_pooled_already_is_taken_and_what_does_not_fit_is_not() {
        let rows = [vec![7, 8]];
        assert_eq!(pool(&floats(vec![1, 2], &[3.0, 4.0]), &rows, Pooling::Mean).unwrap(), [[3.0, 4.0]]);
        for wrong in [
            floats(vec![2, 1], &[3.0, 4.0]),
            floats(vec![1, 3], &[3.0, 4.0]),
            floats(vec![2], &[3.0, 4.0]),
            floats(vec![1, 0], &[]),
        ] {
            assert_eq!(pool(&wrong, &rows, Pooling::Mean), None);
        }
        let mut vector = [3.0, 4.0];
        normalise(&mut vector);
        assert_eq!(vector, [0.6, 0.8]);
    }

    #[test]
    fn rows_are_padded_and_masked() {
        let port = |name: &str, datatype: &str| Port { name: name.into(), datatype: datatype.into() };
        let shape = Shape { inputs: vec![port("input_ids", "INT32"), port("attention_mask", "INT32")] };
        let inputs = Embedder::inputs(&shape, &[vec![5, 6], vec![7]]).unwrap();
        let values = |tensor: &Tensor| -> Vec<i32> {
            tensor.data.as_chunks::<4>().0.iter().map(|c| i32::from_le_bytes(*c)).collect()
        };
        assert_eq!((values(&inputs[0]), values(&inputs[1])), (vec![5, 6, 7, 0], vec![1, 1, 1, 0]));
        assert_eq!(inputs[0].shape, [2, 2]);
        let other = Shape { inputs: vec![port("features", "FP32")] };
        assert_eq!(Embedder::inputs(&other, &[vec![5]]).unwrap_err().status, 422);
    }
}
