//! The built-in engine: the pure Rust runtime `rten`.

use crate::{
    data::DataError,
    engine::{Engine, Session},
    info::Port,
    onnx::{Graph, ModelError, Name},
};
use glacier_wire::{Dtype, Tensor};
use rten::{ModelOptions, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::{AsView, Layout};
use std::sync::{Arc, Mutex};

/// Runs models with `rten`. It computes integers and bools in 32 bits and doubles in single
/// precision; what does not fit is refused, and outputs come back in the declared types.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rten;

impl Engine for Rten {
    fn name(&self) -> &'static str {
        "rten"
    }

    fn load(&self, graph: &Graph, bytes: Vec<u8>, threads: u32) -> Result<Arc<dyn Session>, ModelError> {
        let pool = Arc::new(ThreadPool::with_num_threads(threads.max(1) as usize));
        let loaded = ModelOptions::with_all_ops().load(bytes);
        let model = loaded.map_err(|error| ModelError::Engine { node: error.node().map(Name::new) })?;
        let find =
            |port: &Port| model.find_node(&port.name).ok_or(ModelError::Engine { node: Some(Name::new(&port.name)) });
        let inputs = graph.inputs.iter().map(|(_, port)| find(port)).collect::<Result<_, _>>()?;
        let outputs = graph.outputs.iter().map(|(_, port)| find(port)).collect::<Result<_, _>>()?;
        let ports = graph.outputs.iter().map(|(_, port)| port.clone()).collect();
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
        Ok(Arc::new(Loaded { model, inputs, outputs, ports, pool, options }))
    }
}

struct Loaded {
    model: rten::Model,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    ports: Vec<Port>,
    pool: Arc<ThreadPool>,
    options: RunOptions,
}

impl Session for Loaded {
    fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, DataError> {
        let mut values: Vec<(NodeId, ValueOrView<'_>)> = Vec::with_capacity(inputs.len());
        for (node, tensor) in self.inputs.iter().zip(inputs) {
            values.push((*node, value(tensor)?.into()));
        }
        let run = self.model.run(values, &self.outputs, Some(self.options.clone()));
        let made = run.map_err(|_| DataError::Incomputable)?;
        self.ports.iter().zip(made).map(|(port, value)| tensor(port, value)).collect()
    }

    fn enter(&self, work: &mut (dyn FnMut() + Send)) {
        // A run that starts on a thread of the pool needs no hand-over between threads, which would
        // cost more than a small model itself.
        let work = Mutex::new(work);
        self.pool.run(|| {
            if let Ok(mut work) = work.lock() {
                work();
            }
        });
    }
}

fn value(tensor: Tensor) -> Result<Value, DataError> {
    let odd = || DataError::Length(Name::new(&tensor.name));
    let shape = tensor.shape.iter().map(|extent| usize::try_from(*extent)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| odd())?;
    let data = &tensor.data;
    let (words, _) = data.as_chunks::<4>();
    let (longs, _) = data.as_chunks::<8>();
    let value = match tensor.dtype {
        Dtype::Fp32 => {
            let values = words.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect::<Vec<_>>();
            Value::from_shape(&shape, values).map_err(|_| odd())?
        }
        #[allow(clippy::cast_possible_truncation)]
        Dtype::Fp64 => {
            let values = longs.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect::<Vec<_>>();
            Value::from_shape(&shape, values).map_err(|_| odd())?
        }
        Dtype::Int32 => {
            let values = words.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect::<Vec<_>>();
            Value::from_shape(&shape, values).map_err(|_| odd())?
        }
        Dtype::Int64 => {
            let narrow = longs.iter().map(|bytes| i32::try_from(i64::from_le_bytes(*bytes)));
            let values = narrow.collect::<Result<Vec<_>, _>>();
            let values = values.map_err(|_| DataError::Range(Name::new(&tensor.name)))?;
            Value::from_shape(&shape, values).map_err(|_| odd())?
        }
        Dtype::Bool => {
            let values = data.iter().map(|byte| i32::from(*byte != 0)).collect::<Vec<_>>();
            Value::from_shape(&shape, values).map_err(|_| odd())?
        }
        Dtype::Int8 => {
            let values = data.iter().map(|byte| byte.cast_signed()).collect::<Vec<_>>();
            Value::from_shape(&shape, values).map_err(|_| odd())?
        }
        Dtype::Uint8 => Value::from_shape(&shape, data.clone()).map_err(|_| odd())?,
        _ => return Err(odd()),
    };
    Ok(value)
}

fn tensor(port: &Port, value: Value) -> Result<Tensor, DataError> {
    let (shape, data) = match (&value, port.dtype) {
        (Value::FloatTensor(t), Dtype::Fp32) => (t.shape().to_vec(), bytes(&t.to_vec(), |x| x.to_le_bytes())),
        (Value::FloatTensor(t), Dtype::Fp64) => {
            (t.shape().to_vec(), bytes(&t.to_vec(), |x| f64::from(x).to_le_bytes()))
        }
        (Value::Int32Tensor(t), Dtype::Int32) => (t.shape().to_vec(), bytes(&t.to_vec(), |x| x.to_le_bytes())),
        (Value::Int32Tensor(t), Dtype::Int64) => {
            (t.shape().to_vec(), bytes(&t.to_vec(), |x| i64::from(x).to_le_bytes()))
        }
        (Value::Int32Tensor(t), Dtype::Bool) => (t.shape().to_vec(), bytes(&t.to_vec(), |x| [u8::from(x != 0)])),
        (Value::Int8Tensor(t), Dtype::Int8) => (t.shape().to_vec(), bytes(&t.to_vec(), |x| x.to_le_bytes())),
        (Value::UInt8Tensor(t), Dtype::Uint8) => (t.shape().to_vec(), t.to_vec()),
        // The model's declaration of its output was wrong.
        _ => return Err(DataError::Incomputable),
    };
    let shape = shape.into_iter().map(|extent| extent as u64).collect();
    Tensor::new(port.name.clone(), port.dtype, shape, data).map_err(|_| DataError::Incomputable)
}

fn bytes<T: Copy, const N: usize>(values: &[T], le: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|value| le(*value)).collect()
}
