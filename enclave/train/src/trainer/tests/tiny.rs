//! The smallest network and source that have everything a run meets: two layers, dropout, a running
//! statistic, shuffled rows, and faults on demand.

use crate::{
    error::TrainError,
    kernel::Team,
    network::Mode,
    seed::{Purpose, Stream, key},
    source::{Batch, Source, Targets},
    tensor::{Tensor, Value},
    trainer::Differentiable,
    weights::{Span, SpanKind, Weights},
};
use glacier_engine::{Dim, Port};
use glacier_wire::{Digest, Dtype};

/// `tanh((x - mean) W1 + b1) [dropped out] W2 + b2`.
pub(super) struct Tiny {
    pub(super) width: usize,
    pub(super) hidden: usize,
    pub(super) outputs: usize,
    drops: bool,
    statistic: bool,
    /// The forward pass of this number, from 1, gives NaN.
    fails_at: u64,
    pub(super) ports: ([Port; 1], [Port; 1]),
    team: Team,
    passes: u64,
    frozen: Vec<bool>,
    kept: Option<Kept>,
    macs: u64,
}

struct Kept {
    input: Vec<f32>,
    hidden: Vec<f32>,
    mask: Vec<f32>,
    rows: usize,
}

impl Tiny {
    pub(super) fn new(width: usize, hidden: usize, outputs: usize) -> Self {
        Self::with_threads(width, hidden, outputs, 1)
    }

    pub(super) fn with_threads(width: usize, hidden: usize, outputs: usize, threads: usize) -> Self {
        let port = |name: &str, extent: usize| Port {
            name: name.into(),
            dtype: Dtype::Fp32,
            dims: Some(vec![Dim::Free { name: "rows".into() }, Dim::Fixed { extent: extent as u64 }]),
        };
        Self {
            width,
            hidden,
            outputs,
            drops: false,
            statistic: false,
            fails_at: 0,
            ports: ([port("x", width)], [port("y", outputs)]),
            team: Team::new(threads).unwrap(),
            passes: 0,
            frozen: Vec::new(),
            kept: None,
            macs: 0,
        }
    }

    pub(super) fn dropping(self) -> Self {
        Self { drops: true, ..self }
    }

    pub(super) fn with_statistic(self) -> Self {
        Self { statistic: true, ..self }
    }

    pub(super) fn failing_at(self, pass: u64) -> Self {
        Self { fails_at: pass, ..self }
    }

    pub(super) fn takes(mut self, rows: u64) -> Self {
        self.ports.0[0].dims.as_mut().unwrap()[0] = Dim::Fixed { extent: rows };
        self
    }

    pub(super) fn weights(&self) -> Weights {
        let mut stream = Stream::new(&[3; 32]);
        let mut spans: Vec<Span> = Vec::new();
        let mut values = Vec::new();
        let statistic = self.statistic.then_some(("mean", vec![self.width], SpanKind::Statistic));
        let parameters = [
            ("first.weight", vec![self.width, self.hidden]),
            ("first.bias", vec![self.hidden]),
            ("second.weight", vec![self.hidden, self.outputs]),
            ("second.bias", vec![self.outputs]),
        ];
        let parameters = parameters.into_iter().map(|(name, shape)| (name, shape, SpanKind::Parameter));
        for (name, shape, kind) in parameters.chain(statistic) {
            let start = values.len();
            let scale = if shape.len() == 2 { 0.5 } else { 0.0 };
            values.extend((0..shape.iter().product()).map(|_| (stream.normals()[0] * scale) as f32));
            spans.push(Span { name: name.into(), shape, range: start..values.len(), kind });
        }
        Weights::new(spans, values).unwrap()
    }

    fn frozen(&self, place: usize) -> bool {
        self.frozen.get(place).copied().unwrap_or(false)
    }
}

fn span(weights: &Weights, place: usize) -> &[f32] {
    weights.slice(&weights.spans()[place])
}

impl Differentiable for Tiny {
    fn inputs(&self) -> &[Port] {
        &self.ports.0
    }

    fn outputs(&self) -> &[Port] {
        &self.ports.1
    }

    fn team(&self) -> &Team {
        &self.team
    }

    fn freeze(&mut self, frozen: &[bool]) -> Result<(), TrainError> {
        self.frozen = frozen.to_vec();
        Ok(())
    }

    fn forward(&mut self, weights: &mut Weights, inputs: &[Value], mode: Mode) -> Result<Vec<Value>, TrainError> {
        let input = inputs[0].float().unwrap();
        let rows = input.shape[0];
        let mut input = input.data.clone();
        if self.statistic {
            let seen = input.clone();
            let mean = span(weights, 4).to_vec();
            for row in input.chunks_mut(self.width) {
                row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
            }
            if matches!(mode, Mode::Train { .. }) && !self.frozen(4) {
                let range = weights.spans()[4].range.clone();
                for (column, mean) in weights.values_mut()[range].iter_mut().enumerate() {
                    let sum: f32 = seen.iter().skip(column).step_by(self.width).sum();
                    *mean = 0.9 * *mean + 0.1 * sum / rows as f32;
                }
            }
        }
        let mut hidden = vec![0.0; rows * self.hidden];
        for row in 0..rows {
            for unit in 0..self.hidden {
                let sum: f32 = (0..self.width)
                    .map(|column| input[row * self.width + column] * span(weights, 0)[column * self.hidden + unit])
                    .sum();
                hidden[row * self.hidden + unit] = libm::tanhf(sum + span(weights, 1)[unit]);
            }
        }
        let mask: Vec<f32> = match mode {
            Mode::Train { dropout } if self.drops => {
                let mut stream = Stream::new(&dropout);
                hidden.iter().map(|_| if stream.below(4) == 0 { 0.0 } else { 4.0 / 3.0 }).collect()
            }
            _ => vec![1.0; hidden.len()],
        };
        let mut output = vec![0.0; rows * self.outputs];
        for row in 0..rows {
            for unit in 0..self.outputs {
                let sum: f32 = (0..self.hidden)
                    .map(|h| {
                        let place = row * self.hidden + h;
                        hidden[place] * mask[place] * span(weights, 2)[h * self.outputs + unit]
                    })
                    .sum();
                output[row * self.outputs + unit] = sum + span(weights, 3)[unit];
            }
        }
        self.passes += 1;
        if self.passes == self.fails_at {
            output[1] = f32::NAN;
        }
        self.macs = (rows * self.hidden * (self.width + self.outputs)) as u64;
        self.kept = Some(Kept { input, hidden, mask, rows });
        Ok(vec![Value::Float(Tensor::new(vec![rows, self.outputs], output).unwrap())])
    }

    fn backward(
        &mut self,
        weights: &Weights,
        seeds: Vec<Option<Tensor>>,
        gradient: &mut [f32],
    ) -> Result<(), TrainError> {
        let Kept { input, hidden, mask, rows } = self.kept.take().ok_or(TrainError::Backward)?;
        let seed = seeds[0].as_ref().unwrap();
        let range = |place: usize| weights.spans()[place].range.clone();
        for row in 0..rows {
            let mut by_hidden = vec![0.0; self.hidden];
            for unit in 0..self.outputs {
                let slope = seed.data[row * self.outputs + unit];
                if !self.frozen(3) {
                    gradient[range(3).start + unit] += slope;
                }
                for h in 0..self.hidden {
                    let place = row * self.hidden + h;
                    if !self.frozen(2) {
                        gradient[range(2).start + h * self.outputs + unit] += slope * hidden[place] * mask[place];
                    }
                    by_hidden[h] += slope * span(weights, 2)[h * self.outputs + unit] * mask[place];
                }
            }
            for (h, by_hidden) in by_hidden.iter().enumerate() {
                let value = hidden[row * self.hidden + h];
                let slope = by_hidden * (1.0 - value * value);
                if !self.frozen(1) {
                    gradient[range(1).start + h] += slope;
                }
                for column in 0..self.width {
                    if !self.frozen(0) {
                        gradient[range(0).start + column * self.hidden + h] += slope * input[row * self.width + column];
                    }
                }
            }
        }
        Ok(())
    }

    fn macs(&self) -> u64 {
        self.macs
    }

    fn cost(&mut self, inputs: &[Vec<u64>]) -> Result<u64, TrainError> {
        Ok(inputs[0][0] * (self.hidden * (self.width + self.outputs)) as u64)
    }

    fn gives_probabilities(&self, _: usize) -> bool {
        false
    }
}

/// Rows in memory, shuffled by epoch.
#[derive(Clone)]
pub(super) struct Rows {
    pub(super) inputs: Vec<Vec<f32>>,
    pub(super) targets: Wanted,
    pub(super) order: Vec<usize>,
    pub(super) next: usize,
    /// It says that it has so many rows.
    pub(super) claims: u64,
    pub(super) shuffles: bool,
    /// For pairs: the second half of each row.
    pub(super) seconds: Option<Vec<Vec<f32>>>,
}

#[derive(Clone)]
pub(super) enum Wanted {
    Classes(Vec<i64>),
    Numbers(Vec<Vec<f32>>),
    Nothing,
}

impl Rows {
    pub(super) fn new(inputs: Vec<Vec<f32>>, targets: Wanted) -> Self {
        let rows = inputs.len();
        Self {
            inputs,
            targets,
            order: (0..rows).collect(),
            next: 0,
            claims: rows as u64,
            shuffles: true,
            seconds: None,
        }
    }

    /// Points inside and outside of a ring, which no line divides.
    pub(super) fn rings(count: usize, seed: u8) -> Self {
        let mut stream = Stream::new(&[seed; 32]);
        let inputs: Vec<Vec<f32>> = (0..count).map(|_| stream.normals().map(|value| value as f32).to_vec()).collect();
        let inside = |row: &Vec<f32>| i64::from(row[0] * row[0] + row[1] * row[1] < 1.4);
        let targets = inputs.iter().map(inside).collect();
        Self::new(inputs, Wanted::Classes(targets))
    }

    /// `y = 2a - b + a·b/2`.
    pub(super) fn surface(count: usize, seed: u8) -> Self {
        let mut stream = Stream::new(&[seed; 32]);
        let inputs: Vec<Vec<f32>> = (0..count).map(|_| stream.normals().map(|value| value as f32).to_vec()).collect();
        let targets = inputs.iter().map(|row| vec![2.0 * row[0] - row[1] + 0.5 * row[0] * row[1]]).collect();
        Self::new(inputs, Wanted::Numbers(targets))
    }

    fn batch(&self, places: &[usize]) -> Batch {
        let mut chosen: Vec<&Vec<f32>> = places.iter().map(|place| &self.inputs[*place]).collect();
        if let Some(seconds) = &self.seconds {
            chosen.extend(places.iter().map(|place| &seconds[*place]));
        }
        let width = self.inputs[0].len();
        let data = chosen.iter().flat_map(|row| row.iter().copied()).collect();
        let inputs = vec![Value::Float(Tensor::new(vec![chosen.len(), width], data).unwrap())];
        let targets = match &self.targets {
            Wanted::Classes(classes) => Targets::Classes(places.iter().map(|place| classes[*place]).collect()),
            Wanted::Numbers(numbers) => {
                let data: Vec<f32> = places.iter().flat_map(|place| numbers[*place].iter().copied()).collect();
                Targets::Numbers(Tensor::new(vec![places.len(), data.len() / places.len()], data).unwrap())
            }
            Wanted::Nothing => Targets::Pairs(None),
        };
        let numbers = places.iter().map(|place| *place as u64 + 1).collect();
        Batch { inputs, targets, rows: places.len() as u64, numbers }
    }
}

impl Source for Rows {
    fn rows(&self) -> u64 {
        self.claims
    }

    fn begin(&mut self, epoch: u32) -> Result<(), TrainError> {
        self.next = 0;
        self.order = (0..self.inputs.len()).collect();
        if self.shuffles {
            let mut stream = Stream::new(&key(&[1; 32], Purpose::Shuffle, u64::from(epoch)));
            for place in (1..self.order.len()).rev() {
                self.order.swap(place, stream.below(place as u64 + 1) as usize);
            }
        }
        Ok(())
    }

    fn next(&mut self, rows: usize) -> Result<Option<Batch>, TrainError> {
        let end = (self.next + rows).min(self.order.len());
        let places = self.order[self.next..end].to_vec();
        self.next = end;
        Ok((!places.is_empty()).then(|| self.batch(&places)))
    }

    fn content(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        for value in self.inputs.iter().flatten() {
            hasher.update(&value.to_le_bytes());
        }
        Digest(*hasher.finalize().as_bytes())
    }

    fn passed(&self) -> Digest {
        Digest::ZERO
    }

    fn pick(&mut self, places: &[u64]) -> Result<Option<Batch>, TrainError> {
        let places: Vec<usize> = places.iter().map(|place| *place as usize).collect();
        Ok(Some(self.batch(&places)))
    }
}
