//! Patterns that exporters write where one kernel does the work.
//!
//! The last step of a pattern is replaced by one that computes the same from the pattern's inputs; the
//! others fall away where nothing else needs them.

use super::{
    program::{Plan, Program, Step},
    state::{Slot, Source},
};
use crate::{
    kernel::Activation,
    op::{Binary, LayerNorm, MatMul, Op, Pattern, Unary},
};

/// Replaces what it finds. Constants have been folded.
pub(super) fn fuse(program: &mut Program) {
    let mut uses = vec![0usize; program.sources.len()];
    let read = program.steps.iter().flat_map(|step| step.inputs.iter().flatten());
    for id in read.chain(&program.outputs) {
        if let Some(uses) = uses.get_mut(*id) {
            *uses = uses.saturating_add(1);
        }
    }
    for at in 0..program.steps.len() {
        let found = Finder::new(program, &uses, at).and_then(|finder| finder.find());
        let Some((op, inputs)) = found else { continue };
        let Some(step) = program.steps.get_mut(at) else { continue };
        *step = Step {
            node: step.node.clone(),
            code: step.code.clone(),
            place: step.place,
            op,
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: std::mem::take(&mut step.outputs),
            plan: Plan::default(),
        };
    }
}

type Found = (Box<dyn Op>, Vec<usize>);

struct Finder<'a> {
    program: &'a Program,
    root: &'a Step,
    before: &'a [Step],
    uses: &'a [usize],
}

impl<'a> Finder<'a> {
    fn new(program: &'a Program, uses: &'a [usize], at: usize) -> Option<Self> {
        let (before, rest) = program.steps.split_at_checked(at)?;
        Some(Self { program, root: rest.first()?, before, uses })
    }

    /// The step that makes a value. Patterns are short: it is not far.
    fn maker(&self, id: usize) -> Option<&'a Step> {
        self.before.iter().rev().take(64).find(|step| step.outputs.first() == Some(&Some(id)))
    }

    fn pattern(&self, id: usize) -> Option<(&'a Step, Pattern)> {
        self.maker(id).map(|step| (step, step.op.pattern()))
    }

    /// Operands, if the value is made by that operator.
    fn operands(&self, id: usize, op: Binary) -> Option<[usize; 2]> {
        let (step, pattern) = self.pattern(id)?;
        (pattern == Pattern::Binary(op)).then(|| two(step)).flatten()
    }

    fn scalar(&self, id: usize) -> Option<f32> {
        match self.program.constants.get(id)? {
            Slot::Float(held) if held.shape.is_empty() => held.data.first().copied(),
            _ => None,
        }
    }

    fn is(&self, id: usize, value: f32) -> bool {
        self.scalar(id).is_some_and(|found| (found - value).abs() <= 1e-6 * value)
    }

    /// Extents of a weight.
    fn weight(&self, id: usize) -> Option<&'a [usize]> {
        match self.program.sources.get(id)? {
            Source::Weight { shape, .. } => Some(shape),
            Source::Slot => None,
        }
    }

    fn find(&self) -> Option<Found> {
        let Pattern::Binary(op) = self.root.op.pattern() else { return None };
        let [a, b] = two(self.root)?;
        match op {
            Binary::Mul => self.gelu(a, b).or_else(|| self.silu(a, b)).or_else(|| self.scaled(a, b, false)),
            Binary::Div => self.scaled(a, b, true),
            Binary::Add => self.layer_norm(a, b).or_else(|| self.biased(a, b)).or_else(|| self.biased(b, a)),
            _ => None,
        }
    }

    /// `x * 0.5 * (1 + erf(x / sqrt(2)))`, in any order of the factors.
    fn gelu(&self, a: usize, b: usize) -> Option<Found> {
        for (outer, inner) in [(a, b), (b, a)] {
            let Some([c, d]) = self.operands(inner, Binary::Mul) else { continue };
            for [x, half, sum] in
                [[outer, c, d], [outer, d, c], [c, outer, d], [d, outer, c], [c, d, outer], [d, c, outer]]
            {
                if self.is(half, 0.5) && self.one_plus_erf(sum) == Some(x) {
                    return Some((Box::new(Unary::Activation(Activation::Gelu)), vec![x]));
                }
            }
        }
        None
    }

    /// `x`, of `1 + erf(x / sqrt(2))`.
    fn one_plus_erf(&self, id: usize) -> Option<usize> {
        let [a, b] = self.operands(id, Binary::Add)?;
        let erf = if self.is(b, 1.0) {
            a
        } else if self.is(a, 1.0) {
            b
        } else {
            return None;
        };
        let (step, pattern) = self.pattern(erf)?;
        if pattern != Pattern::Unary(Unary::Activation(Activation::Erf)) {
            return None;
        }
        let inner = one(step)?;
        if let Some([x, divisor]) = self.operands(inner, Binary::Div) {
            return self.is(divisor, std::f32::consts::SQRT_2).then_some(x);
        }
        let [x, factor] = self.operands(inner, Binary::Mul)?;
        self.is(factor, std::f32::consts::FRAC_1_SQRT_2).then_some(x)
    }

    /// `x * sigmoid(x)`.
    fn silu(&self, a: usize, b: usize) -> Option<Found> {
        for (x, gate) in [(a, b), (b, a)] {
            let Some((step, Pattern::Unary(Unary::Activation(Activation::Sigmoid)))) = self.pattern(gate) else {
                continue;
            };
            if one(step) == Some(x) {
                return Some((Box::new(Unary::Activation(Activation::Silu)), vec![x]));
            }
        }
        None
    }

    /// A matrix product that nothing else uses: it is not computed twice.
    fn product(&self, id: usize) -> Option<(MatMul, [usize; 2])> {
        let (step, Pattern::MatMul(matmul)) = self.pattern(id)? else { return None };
        let alone = !matmul.bias && self.uses.get(id) == Some(&1);
        alone.then(|| two(step)).flatten().map(|factors| (matmul, factors))
    }

    /// A product times a number, or over one.
    fn scaled(&self, a: usize, b: usize, over: bool) -> Option<Found> {
        let factor = self.scalar(b).filter(|factor| *factor != 0.0)?;
        let (matmul, factors) = self.product(a)?;
        let alpha = matmul.alpha * if over { 1.0 / factor } else { factor };
        Some((Box::new(MatMul { alpha, ..matmul }), factors.to_vec()))
    }

    /// A product with a matrix of weights, plus one number for each column.
    fn biased(&self, product: usize, bias: usize) -> Option<Found> {
        let [columns] = self.weight(bias)? else { return None };
        let (matmul, [a, b]) = self.product(product)?;
        let [_, n] = self.weight(b)? else { return None };
        if n != columns {
            return None;
        }
        Some((Box::new(MatMul { bias: true, ..matmul }), vec![a, b, bias]))
    }

    /// `(x - mean) / sqrt(mean of squares + epsilon) * scale + shift` over the last dimension.
    fn layer_norm(&self, a: usize, b: usize) -> Option<Found> {
        let (scaled, shift) = if self.weight(b).is_some() { (a, b) } else { (b, a) };
        let [c, d] = self.operands(scaled, Binary::Mul)?;
        let (normal, scale) = if self.weight(d).is_some() { (c, d) } else { (d, c) };
        let (shapes, [width]) = ((self.weight(shift)?, self.weight(scale)?), self.weight(scale)?) else { return None };
        if shapes.0 != shapes.1 || *width < 2 {
            return None;
        }
        let [centred, deviation] = self.operands(normal, Binary::Div)?;
        let (root, Pattern::Unary(Unary::Sqrt)) = self.pattern(deviation)? else { return None };
        let [variance, epsilon] = self.operands(one(root)?, Binary::Add)?;
        let epsilon = self.scalar(epsilon)?;
        let squares = self.mean(variance)?;
        let squared = match self.operands(squares, Binary::Pow) {
            Some([base, two]) => base == centred && self.is(two, 2.0),
            None => self.operands(squares, Binary::Mul)? == [centred; 2],
        };
        let [x, mean] = self.operands(centred, Binary::Sub)?;
        if !squared || self.mean(mean)? != x {
            return None;
        }
        Some((Box::new(LayerNorm { axis: -1, epsilon }), vec![x, scale, shift]))
    }

    /// What a value is the mean of, over the last dimension, which stays.
    fn mean(&self, id: usize) -> Option<usize> {
        let (step, pattern) = self.pattern(id)?;
        let last = match pattern {
            Pattern::MeanOfLast => true,
            Pattern::MeanOfGiven => {
                let axes = step.inputs.get(1).copied().flatten()?;
                matches!(self.program.constants.get(axes)?, Slot::Int(axes) if axes.data == [-1])
            }
            _ => false,
        };
        last.then(|| step.inputs.first().copied().flatten()).flatten()
    }
}

fn one(step: &Step) -> Option<usize> {
    step.inputs.first().copied().flatten()
}

fn two(step: &Step) -> Option<[usize; 2]> {
    match step.inputs.as_slice() {
        [Some(a), Some(b)] => Some([*a, *b]),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::Network;

    fn steps(model: &[u8]) -> Vec<String> {
        let (network, _) = Network::read(model).unwrap();
        network.program.steps.iter().map(|step| format!("{:?}", step.op)).collect()
    }

    #[test]
    fn an_encoder_of_an_old_operator_set_becomes_what_a_new_one_says() {
        let old = steps(include_bytes!("../../tests/fixtures/encoder-14.onnx"));
        let new = steps(include_bytes!("../../tests/fixtures/encoder.onnx"));
        let count = |steps: &[String], part: &str| steps.iter().filter(|step| step.contains(part)).count();
        for steps in [&old, &new] {
            assert_eq!(count(steps, "LayerNorm"), 5);
            assert_eq!(count(steps, "Gelu"), 2);
            assert_eq!(count(steps, "Erf") + count(steps, "Sqrt"), 0);
        }
        assert_eq!(old.len(), new.len());
    }

    #[test]
    fn a_gate_that_is_its_own_input_is_silu() {
        let steps = steps(include_bytes!("../../tests/fixtures/perceptron.onnx"));
        assert!(steps.iter().any(|step| step.contains("Silu")), "{steps:?}");
        assert!(steps.iter().any(|step| step.contains("Gelu")), "{steps:?}");
    }
}
