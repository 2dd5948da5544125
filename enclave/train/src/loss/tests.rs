#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;
use crate::seed::Stream;
use glacier_wire::training::Real;

fn team() -> Team {
    Team::new(2).unwrap()
}

fn real(value: f32) -> Real {
    Real::new(value).unwrap()
}

fn objective(loss: Loss) -> Objective {
    Objective::new(&TrainingPlan { loss, ..TrainingPlan::default() }, false, None)
}

fn batch(rows: u64, targets: Targets) -> Batch {
    Batch { inputs: Vec::new(), targets, rows, numbers: Vec::new() }
}

fn evaluate(objective: &Objective, output: &Tensor, batch: &Batch) -> Result<Evaluated, TrainError> {
    objective.evaluate(&team(), &Compared { output, name: "y", batch, before: 10 })
}

fn noise(shape: &[usize], scale: f64, seed: u8) -> Tensor {
    let mut stream = Stream::new(&[seed; 32]);
    let data = (0..volume(shape)).map(|_| (stream.normals()[0] * scale) as f32).collect();
    Tensor::new(shape.to_vec(), data).unwrap()
}

fn volume(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Central differences of the sum, element by element.
fn check_gradient(objective: &Objective, output: &Tensor, batch: &Batch) {
    let step = 1e-3f32;
    let found = evaluate(objective, output, batch).unwrap();
    assert_eq!(found.gradient.shape, output.shape);
    for place in 0..output.data.len() {
        let at = |value: f32| {
            let mut moved = output.clone();
            moved.data[place] = value;
            evaluate(objective, &moved, batch).unwrap().sum
        };
        let (low, high) = (output.data[place] - step, output.data[place] + step);
        let numeric = (at(high) - at(low)) / f64::from(high - low);
        let analytic = f64::from(found.gradient.data[place]);
        let tolerance = 2e-3 * analytic.abs().max(0.1);
        assert!((numeric - analytic).abs() < tolerance, "{place}: {numeric} and {analytic} of {:?}", objective.loss);
    }
}

#[test]
fn gradients_are_those_of_central_differences() {
    let classes = batch(4, Targets::Classes(vec![2, 0, 1, 2]));
    let weighted = Some(vec![0.5, 2.0, 1.25]);
    for (smoothing, weights) in [(0.0, None), (0.2, None), (0.0, weighted.clone()), (0.3, weighted)] {
        let plan = TrainingPlan { label_smoothing: real(smoothing), ..TrainingPlan::default() };
        check_gradient(&Objective::new(&plan, false, weights.clone()), &noise(&[4, 3], 2.0, 1), &classes);
        let mut probabilities = noise(&[4, 3], 0.1, 2);
        probabilities.data.iter_mut().for_each(|value| *value = value.abs() + 0.2);
        check_gradient(&Objective::new(&plan, true, weights), &probabilities, &classes);
    }
    let targets =
        [Targets::Classes(vec![0, 1, 1, 0]), Targets::Numbers(Tensor::new(vec![4], vec![0.0, 0.3, 1.0, 0.7]).unwrap())];
    for targets in targets {
        let plan = TrainingPlan { loss: Loss::Bce, label_smoothing: real(0.1), ..TrainingPlan::default() };
        let rows = batch(4, targets);
        check_gradient(&Objective::new(&plan, false, Some(vec![2.0, 0.5])), &noise(&[4, 1], 2.0, 3), &rows);
        let mut probabilities = noise(&[4, 1], 0.1, 4);
        probabilities.data.iter_mut().for_each(|value| *value = value.abs() + 0.3);
        check_gradient(&Objective::new(&plan, true, Some(vec![2.0, 0.5])), &probabilities, &rows);
    }
    let numbers = batch(5, Targets::Numbers(noise(&[5, 3], 1.0, 5)));
    for loss in [Loss::Mse, Loss::Mae, Loss::Cosine] {
        check_gradient(&objective(loss), &noise(&[5, 3], 1.0, 6), &numbers);
    }
    for scores in [None, Some(vec![0.1, 0.9, -0.5])] {
        check_gradient(&objective(Loss::Cosine), &noise(&[6, 4], 1.0, 7), &batch(3, Targets::Pairs(scores)));
    }
    let plan = TrainingPlan { loss: Loss::Contrastive, temperature: Some(real(0.5)), ..TrainingPlan::default() };
    let pairs = batch(3, Targets::Pairs(None));
    check_gradient(&Objective::new(&plan, false, None), &noise(&[6, 4], 1.0, 8), &pairs);
}

/// Through a softmax, the gradient over probabilities is that over logits.
#[test]
fn probabilities_and_logits_agree() {
    let logits = noise(&[64, 5], 4.0, 9);
    let rows = batch(64, Targets::Classes((0..64).map(|row| row % 5).collect()));
    let by_logits = evaluate(&objective(Loss::CrossEntropy), &logits, &rows).unwrap();
    let mut probabilities = logits.clone();
    crate::kernel::softmax(&team(), 5, &logits.data, &mut probabilities.data);
    let over = Objective::new(&TrainingPlan::default(), true, None);
    let by_probabilities = evaluate(&over, &probabilities, &rows).unwrap();
    assert!((by_logits.sum - by_probabilities.sum).abs() < 1e-3 * by_logits.sum);
    let mut through = logits.clone();
    crate::kernel::softmax_grad(&team(), 5, &probabilities.data, &by_probabilities.gradient.data, &mut through.data);
    for (a, b) in through.data.iter().zip(&by_logits.gradient.data) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}

#[test]
fn extreme_outputs_stay_finite() {
    let rows = batch(2, Targets::Classes(vec![0, 1]));
    let extreme = Tensor::new(vec![2, 2], vec![-1e30, 1e30, 1e30, -1e30]).unwrap();
    let found = evaluate(&objective(Loss::CrossEntropy), &extreme, &rows).unwrap();
    assert!(found.sum.is_finite() && found.gradient.data == [-1.0, 1.0, 1.0, -1.0]);
    let over = Objective::new(&TrainingPlan::default(), true, None);
    let certain = Tensor::new(vec![2, 2], vec![0.0, 1.0, 1.0, 0.0]).unwrap();
    let found = evaluate(&over, &certain, &rows).unwrap();
    assert!(found.sum.is_finite() && found.gradient.data.iter().all(|slope| slope.is_finite()));
    for probabilities in [false, true] {
        let plan = TrainingPlan { loss: Loss::Bce, ..TrainingPlan::default() };
        let ends = Tensor::new(vec![2], if probabilities { vec![1.0, 0.0] } else { vec![1e30, -1e30] }).unwrap();
        let found = evaluate(&Objective::new(&plan, probabilities, None), &ends, &rows).unwrap();
        assert!(found.sum.is_finite() && found.gradient.data.iter().all(|slope| slope.is_finite()));
    }
    let zero = Tensor::new(vec![4, 2], vec![0.0; 8]).unwrap();
    for loss in [Loss::Cosine, Loss::Contrastive] {
        let found = evaluate(&objective(loss), &zero, &batch(2, Targets::Pairs(None))).unwrap();
        assert!(found.sum.is_finite() && found.gradient.data.iter().all(|slope| *slope == 0.0));
    }
}

#[test]
fn what_is_not_a_number_is_not_hidden() {
    let rows = batch(1, Targets::Classes(vec![0]));
    for bad in [f32::NAN, f32::INFINITY] {
        for (loss, probabilities) in
            [(Loss::CrossEntropy, false), (Loss::CrossEntropy, true), (Loss::Bce, false), (Loss::Bce, true)]
        {
            if probabilities && bad.is_infinite() {
                continue;
            }
            let plan = TrainingPlan { loss, ..TrainingPlan::default() };
            let output = if loss == Loss::Bce { vec![bad] } else { vec![bad, 0.0] };
            let output = Tensor::new(vec![1, output.len()], output).unwrap();
            let found = evaluate(&Objective::new(&plan, probabilities, None), &output, &rows).unwrap();
            assert!(!found.sum.is_finite(), "{loss} {probabilities} {bad}");
        }
    }
}

#[test]
fn labels_out_of_range_are_named_by_row_alone() {
    let output = noise(&[2, 3], 1.0, 1);
    for label in [3, -1, i64::MAX, i64::MIN] {
        let error = evaluate(&objective(Loss::CrossEntropy), &output, &batch(2, Targets::Classes(vec![0, label])));
        assert_eq!(error, Err(TrainError::Label { row: 12, classes: 3 }));
        assert_eq!(
            TrainError::Label { row: 12, classes: 3 }.to_string(),
            "the label of row 12 is none of the 3 classes"
        );
    }
    let numbered = Batch { numbers: vec![501, 77], ..batch(2, Targets::Classes(vec![0, 9])) };
    assert_eq!(
        evaluate(&objective(Loss::CrossEntropy), &output, &numbered),
        Err(TrainError::Label { row: 77, classes: 3 })
    );
    let error = evaluate(&objective(Loss::Bce), &noise(&[2, 1], 1.0, 1), &batch(2, Targets::Classes(vec![1, 2])));
    assert_eq!(error, Err(TrainError::Label { row: 12, classes: 2 }));
    let half = Targets::Numbers(Tensor::new(vec![2], vec![0.5, 1.5]).unwrap());
    assert_eq!(
        evaluate(&objective(Loss::Bce), &noise(&[2, 1], 1.0, 1), &batch(2, half)),
        Err(TrainError::Target { row: 12 })
    );
    let nan = Targets::Numbers(Tensor::new(vec![2], vec![f32::NAN, 1.5]).unwrap());
    assert_eq!(
        evaluate(&objective(Loss::Mse), &noise(&[2, 1], 1.0, 1), &batch(2, nan)),
        Err(TrainError::Target { row: 11 })
    );
}

#[test]
fn ignored_elements_count_for_nothing() {
    let output = noise(&[2, 2, 3], 1.0, 1);
    let all = evaluate(&objective(Loss::CrossEntropy), &output, &batch(2, Targets::Classes(vec![0, 1, 2, 0]))).unwrap();
    let targets = Targets::Classes(vec![0, IGNORED, 2, 0]);
    let some = evaluate(&objective(Loss::CrossEntropy), &output, &batch(2, targets)).unwrap();
    assert_eq!((all.weight, some.weight), (4.0, 3.0));
    assert!(some.sum < all.sum);
    assert_eq!(some.gradient.data[3..6], [0.0; 3]);
    assert_eq!(some.gradient.data[6..], all.gradient.data[6..]);
}

#[test]
fn targets_of_another_kind_or_shape_are_refused() {
    let output = noise(&[2, 3], 1.0, 1);
    let cases = [
        (Loss::CrossEntropy, Targets::Numbers(noise(&[2, 3], 1.0, 1))),
        (Loss::CrossEntropy, Targets::Classes(vec![0])),
        (Loss::Bce, Targets::Classes(vec![0, 1])),
        (Loss::Bce, Targets::Pairs(None)),
        (Loss::Mse, Targets::Classes(vec![0, 1])),
        (Loss::Mse, Targets::Numbers(noise(&[3, 2], 1.0, 1))),
        (Loss::Cosine, Targets::Numbers(noise(&[2, 2], 1.0, 1))),
        (Loss::Contrastive, Targets::Classes(vec![0, 1])),
        (Loss::Cosine, Targets::Pairs(None)),
    ];
    for (loss, targets) in cases {
        let error = evaluate(&objective(loss), &output, &batch(2, targets)).unwrap_err();
        assert!(matches!(error, TrainError::Targets { .. }), "{error}");
    }
    let three = batch(3, Targets::Classes(vec![0, 1, 2]));
    assert!(matches!(evaluate(&objective(Loss::CrossEntropy), &output, &three), Err(TrainError::Targets { .. })));
    let column = noise(&[2, 1], 1.0, 1);
    let two = batch(2, Targets::Classes(vec![0, 0]));
    assert!(matches!(evaluate(&objective(Loss::CrossEntropy), &column, &two), Err(TrainError::Targets { .. })));
    let weighted = Objective::new(&TrainingPlan::default(), false, Some(vec![1.0; 2]));
    assert!(matches!(evaluate(&weighted, &output, &two), Err(TrainError::Unfit(_))));
}

#[test]
fn threads_change_no_bit() {
    let output = noise(&[5000, 3], 2.0, 1);
    let rows = batch(5000, Targets::Classes((0..5000).map(|row| row % 3).collect()));
    let of = |threads| {
        let compared = Compared { output: &output, name: "y", batch: &rows, before: 0 };
        objective(Loss::CrossEntropy).evaluate(&Team::new(threads).unwrap(), &compared).unwrap()
    };
    assert_eq!(of(1), of(2));
    assert_eq!(of(1).sum.to_bits(), of(3).sum.to_bits());
}

#[test]
fn shapes_of_classes_leave_out_trailing_ones() {
    assert_eq!(class_shape(&[4, 3]), Some((4, 3)));
    assert_eq!(class_shape(&[4, 3, 1, 1]), Some((4, 3)));
    assert_eq!(class_shape(&[4, 7, 3]), Some((28, 3)));
    assert_eq!(class_shape(&[4, 1]), Some((4, 1)));
    assert_eq!(class_shape(&[4]), None);
}

/// Made by `tests/oracle.py` with PyTorch: loss, shape, output, targets, mean loss and its gradient.
const PYTORCH: &str = include_str!("../../tests/fixtures/losses.txt");

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    let mut cases = 0;
    for block in PYTORCH.trim_end().split("\n\n") {
        let lines: Vec<&str> = block.split('\n').collect();
        let numbers = |line: usize| {
            let words = lines[line].split(' ').filter(|word| *word != "-");
            words.map(|word| word.parse().unwrap()).collect::<Vec<f32>>()
        };
        let shape: Vec<usize> = lines[1].split(' ').map(|extent| extent.parse().unwrap()).collect();
        let mut words = lines[0].split(' ');
        let mut plan = TrainingPlan { loss: words.next().unwrap().parse().unwrap(), ..TrainingPlan::default() };
        let (mut weights, mut probabilities, mut pairs) = (None, false, false);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("smoothing", share) => plan.label_smoothing = share.parse().unwrap(),
                ("temperature", value) => plan.temperature = Some(value.parse().unwrap()),
                ("weights", _) => weights = Some(vec![0.5, 2.0, 1.0, 1.5]),
                ("probabilities", _) => probabilities = true,
                ("pairs", _) => pairs = true,
                other => panic!("{other:?}"),
            }
        }
        let targets = numbers(3);
        let rows = if pairs { shape[0] / 2 } else { shape[0] };
        let targets = match plan.loss {
            Loss::CrossEntropy => Targets::Classes(targets.iter().map(|class| *class as i64).collect()),
            _ if pairs => Targets::Pairs((!targets.is_empty()).then_some(targets)),
            _ => Targets::Numbers(Tensor::new(vec![rows, targets.len() / rows], targets).unwrap()),
        };
        let output = Tensor::new(shape, numbers(2)).unwrap();
        let found = Objective::new(&plan, probabilities, weights);
        let found = evaluate(&found, &output, &batch(rows as u64, targets)).unwrap();
        let mean = found.sum / found.weight;
        let expected = f64::from(numbers(4)[0]);
        assert!((mean - expected).abs() < 2e-6 * expected.abs().max(1.0), "{}: {mean} {expected}", lines[0]);
        for (found_slope, expected) in found.gradient.data.iter().zip(numbers(5)) {
            let slope = f64::from(*found_slope) / found.weight;
            assert!((slope - f64::from(expected)).abs() < 3e-6, "{}: {slope} {expected}", lines[0]);
        }
        cases += 1;
    }
    assert_eq!(cases, 12);
}
