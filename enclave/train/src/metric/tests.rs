#![allow(clippy::unwrap_used)]

use super::*;
use crate::{kernel::Team, seed::Stream, source::Batch, tensor::Tensor};
use glacier_wire::training::TrainingPlan;

const ALL: [Metric; 3] = [Metric::Accuracy, Metric::F1, Metric::Auc];

fn measure(loss: Loss, metrics: &[Metric], probabilities: bool, batches: &[(Tensor, Targets)]) -> Vec<(Metric, f32)> {
    let objective = Objective::new(&TrainingPlan { loss, ..TrainingPlan::default() }, probabilities, None);
    let mut meter = Meter::new(&objective, metrics);
    for (output, targets) in batches {
        let rows = output.shape[0] as u64;
        let batch = Batch { inputs: Vec::new(), targets: targets.clone(), rows, numbers: Vec::new() };
        let compared = Compared { output, name: "y", batch: &batch, before: 0 };
        let evaluated = objective.evaluate(&Team::new(1).unwrap(), &compared).unwrap();
        meter.add(&compared, evaluated.sum, evaluated.weight).unwrap();
    }
    meter.read().into_iter().skip(1).map(|measured| (measured.metric, measured.value.get())).collect()
}

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), data.to_vec()).unwrap()
}

/// By definition: each positive against each negative.
fn auc_by_pairs(rows: &[(f32, bool)]) -> f64 {
    let mut wins = 0.0;
    let mut pairs = 0.0;
    for (yes, _) in rows.iter().filter(|row| row.1) {
        for (no, _) in rows.iter().filter(|row| !row.1) {
            pairs += 1.0;
            wins += if yes > no {
                1.0
            } else if yes == no {
                0.5
            } else {
                0.0
            };
        }
    }
    wins / pairs
}

#[test]
fn auc_is_that_of_all_pairs() {
    let mut stream = Stream::new(&[3; 32]);
    for levels in [3, 10, 1000] {
        let rows: Vec<(f32, bool)> =
            (0..300).map(|_| (stream.below(levels) as f32 - 1.0, stream.below(3) == 0)).collect();
        let found = auc(rows.iter().copied()).unwrap();
        assert!((found - auc_by_pairs(&rows)).abs() < 1e-12);
    }
    assert_eq!(auc([(1.0, true), (2.0, true)].into_iter()), None);
    assert_eq!(auc([(0.0, true), (-0.0, false)].into_iter()), Some(0.5));
    assert_eq!(auc(std::iter::empty()), None);
}

/// Figures that scikit-learn gives: accuracy 0.75, F1 of class 1 0.75, AUC 0.9375.
#[test]
fn two_classes_by_logits_probabilities_or_one_column() {
    let margins = [-2.0f32, -1.0, 0.5, -0.5, 1.0, 2.0, -0.25, 3.0];
    let truths = [0i64, 0, 0, 0, 1, 1, 1, 1];
    let expected = [(Metric::Accuracy, 0.75), (Metric::F1, 0.75), (Metric::Auc, 0.9375)];
    let logits: Vec<f32> = margins.iter().flat_map(|margin| [1.0, 1.0 + margin]).collect();
    let targets = Targets::Classes(truths.to_vec());
    let whole = [(tensor(&[8, 2], &logits), targets.clone())];
    assert_eq!(measure(Loss::CrossEntropy, &ALL, false, &whole), expected);
    let halves = [
        (tensor(&[3, 2], &logits[..6]), Targets::Classes(truths[..3].to_vec())),
        (tensor(&[5, 2], &logits[6..]), Targets::Classes(truths[3..].to_vec())),
    ];
    assert_eq!(measure(Loss::CrossEntropy, &ALL, false, &halves), expected);
    assert_eq!(measure(Loss::Bce, &ALL, false, &[(tensor(&[8, 1], &margins), targets.clone())]), expected);
    let sigmoid: Vec<f32> = margins.iter().map(|margin| 1.0 / (1.0 + (-margin).exp())).collect();
    assert_eq!(measure(Loss::Bce, &ALL, true, &[(tensor(&[8], &sigmoid), targets.clone())]), expected);
    let both: Vec<f32> = sigmoid.iter().flat_map(|yes| [1.0 - yes, *yes]).collect();
    assert_eq!(measure(Loss::CrossEntropy, &ALL, true, &[(tensor(&[8, 2], &both), targets)]), expected);
}

/// Of classes 0, 1 and 2 the F1s are 0.8, 2/3 and 1; each is alone against the rest in the AUC.
#[test]
fn more_classes_are_averaged() {
    let logits = [
        3.0, 0.0, 0.0, //
        2.0, 1.0, 0.0, //
        1.0, 2.0, 0.0, //
        1.5, 1.0, 0.0, //
        0.0, 0.0, 4.0, //
        0.0, 1.0, 3.0,
    ];
    let batches = [(tensor(&[6, 3], &logits), Targets::Classes(vec![0, 0, 1, 1, 2, 2]))];
    let found = measure(Loss::CrossEntropy, &ALL, false, &batches);
    assert!((found[0].1 - 5.0 / 6.0).abs() < 1e-6);
    assert!((found[1].1 - (0.8 + 2.0 / 3.0 + 1.0) / 3.0).abs() < 1e-6);
    // Class 1 against the rest: (0.665, 0.274) against (0.045, 0.245, 0.018, 0.114).
    assert_eq!(found[2].1, 1.0);
}

#[test]
fn ignored_and_undefined_are_left_out() {
    let batches = [(tensor(&[3, 2], &[1.0, 0.0, 0.0, 1.0, 0.0, 1.0]), Targets::Classes(vec![0, IGNORED, 0]))];
    let found = measure(Loss::CrossEntropy, &ALL, false, &batches);
    // One class alone defines no AUC, and no F1 of the other beyond its false positive.
    assert_eq!(found, [(Metric::Accuracy, 0.5), (Metric::F1, 0.0)]);
}

/// Figures of scikit-learn for these columns: R2 0.948..., RMSE 0.6123...
#[test]
fn numbers_are_measured_by_column() {
    let targets = Targets::Numbers(tensor(&[4, 1], &[3.0, -0.5, 2.0, 7.0]));
    let batches = [(tensor(&[4, 1], &[2.5, 0.0, 2.0, 8.0]), targets)];
    let found = measure(Loss::Mse, &[Metric::R2, Metric::Rmse], false, &batches);
    assert!((found[0].1 - 0.948_608_1).abs() < 1e-6);
    assert!((found[1].1 - 0.612_372_4).abs() < 1e-6);
    let two = Targets::Numbers(tensor(&[3, 2], &[0.5, 1.0, -1.0, 1.0, 7.0, -6.0]));
    let batches = [(tensor(&[3, 2], &[0.0, 2.0, -1.0, 2.0, 8.0, -5.0]), two)];
    // scikit-learn's uniform average.
    assert!((measure(Loss::Mse, &[Metric::R2], false, &batches)[0].1 - 0.936_800_6).abs() < 1e-6);
    let constant = [(tensor(&[2, 1], &[1.0, 2.0]), Targets::Numbers(tensor(&[2, 1], &[5.0, 5.0])))];
    assert_eq!(measure(Loss::Mse, &[Metric::R2], false, &constant), []);
    let far = [(
        tensor(&[3, 1], &[1e6, 1e6 + 1.0, 1e6 + 2.0]),
        Targets::Numbers(tensor(&[3, 1], &[1e6, 1e6 + 1.0, 1e6 + 3.0])),
    )];
    let expected = 1.0 - 1.0 / (14.0 / 3.0);
    assert!((measure(Loss::Mse, &[Metric::R2], false, &far)[0].1 - expected as f32).abs() < 1e-6);
}
