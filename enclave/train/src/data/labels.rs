//! Wanted answers as classes or numbers.

use super::Goal;
use crate::{error::TrainError, loss::IGNORED};
use glacier_engine::{CellFault, DataError, onnx::Name};
use std::collections::HashMap;

/// Most classes.
pub(super) const MAX_CLASSES: u64 = 1 << 16;

/// Turns answers into what is stored, and learns what the classes are called where nobody said it.
#[derive(Debug)]
pub(super) struct Decoder {
    kind: Kind,
    /// Answers of one row.
    width: usize,
}

#[derive(Debug)]
enum Kind {
    Nothing,
    Numbers,
    Classes(Classes),
}

#[derive(Debug)]
struct Classes {
    /// Classes of the model, where it says how many.
    count: Option<u64>,
    /// Names in the data to classes.
    known: HashMap<String, i64>,
    /// In the order of the classes; empty where they have no names.
    names: Vec<String>,
    /// First row of each name, while names are being learnt: classes are counted in that order until then.
    learning: Option<Vec<(String, u64)>>,
    /// Why words that nobody named are refused, where they are.
    unnamed: Option<&'static str>,
}

/// One answer as it came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer<'a> {
    Cell(&'a str),
    Number(f64),
}

/// One answer as it is stored.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stored {
    Class(i64),
    Number(f32),
}

impl Decoder {
    pub(super) fn new(goal: &Goal, width: usize, labels: Option<&[String]>, unnamed: Option<&'static str>) -> Self {
        let kind = match goal {
            _ if width == 0 => Kind::Nothing,
            Goal::Numbers => Kind::Numbers,
            Goal::Classes { count } => {
                let names = labels.unwrap_or_default().to_vec();
                let known = names.iter().cloned().zip(0..).collect();
                let learning = names.is_empty().then(Vec::new);
                let count = count.or((!names.is_empty()).then_some(names.len() as u64));
                Kind::Classes(Classes { count, known, names, learning, unnamed })
            }
        };
        Self { kind, width }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn classifies(&self) -> bool {
        matches!(self.kind, Kind::Classes(_))
    }

    /// Names of the classes, if they have any.
    pub(super) fn names(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::Classes(classes) if !classes.names.is_empty() => Some(&classes.names),
            _ => None,
        }
    }

    /// `row` is counted from 1; `column` is for errors.
    pub(super) fn decode(&mut self, answer: Answer<'_>, row: u64, column: &Name) -> Result<Stored, TrainError> {
        let several = self.width > 1;
        match &mut self.kind {
            Kind::Nothing => Ok(Stored::Number(0.0)),
            Kind::Numbers => number(answer, row, column).map(Stored::Number),
            Kind::Classes(classes) => classes.decode(answer, row, several).map(Stored::Class),
        }
    }

    /// After the first pass: what each class that was given out is from now on. `None` where all stay.
    pub(super) fn learnt(&mut self) -> Result<Option<Vec<i64>>, TrainError> {
        match &mut self.kind {
            Kind::Classes(classes) => classes.learnt(self.width > 1),
            _ => Ok(None),
        }
    }
}

impl Classes {
    fn decode(&mut self, answer: Answer<'_>, row: u64, several: bool) -> Result<i64, TrainError> {
        let cell = match answer {
            Answer::Number(number) => return self.class(number, row, several),
            Answer::Cell(cell) => cell,
        };
        if let Some(class) = self.known.get(cell) {
            return Ok(*class);
        }
        let Some(learning) = &mut self.learning else {
            let number = cell.parse::<i64>().ok().filter(|_| !self.names.is_empty() || self.known.is_empty());
            return self.class(number.map_or(f64::NAN, |number| number as f64), row, several);
        };
        if let (Some(why), Err(_)) = (self.unnamed, cell.parse::<i64>()) {
            return Err(TrainError::Unfit(why));
        }
        if learning.len() as u64 >= MAX_CLASSES {
            return Err(DataError::TooLarge { what: "classes", max: MAX_CLASSES }.into());
        }
        let class = i64::try_from(learning.len()).unwrap_or(i64::MAX);
        learning.push((cell.to_owned(), row));
        self.known.insert(cell.to_owned(), class);
        Ok(class)
    }

    /// A class by its number.
    fn class(&self, number: f64, row: u64, several: bool) -> Result<i64, TrainError> {
        let classes = self.count.unwrap_or(MAX_CLASSES);
        #[allow(clippy::cast_precision_loss, reason = "at most 2^16")]
        let fits = number >= 0.0 && number < classes as f64;
        // An element of a sequence may be marked as one that is not learnt from.
        let marked = several && number < 0.0 && number >= f64::from(i32::MIN);
        if number.fract() != 0.0 || !(fits || marked) {
            return Err(TrainError::Label { row, classes });
        }
        Ok(if marked { IGNORED } else { number as i64 })
    }

    fn learnt(&mut self, several: bool) -> Result<Option<Vec<i64>>, TrainError> {
        let Some(seen) = self.learning.take().filter(|seen| !seen.is_empty()) else { return Ok(None) };
        let numbers: Option<Vec<i64>> = seen.iter().map(|(cell, _)| cell.parse().ok()).collect();
        let classes = match numbers {
            Some(numbers) => {
                let named = numbers.iter().zip(&seen);
                named.map(|(number, (_, row))| self.class(*number as f64, *row, several)).collect::<Result<_, _>>()?
            }
            None => {
                let found = seen.len() as u64;
                if let Some(max) = self.count.filter(|count| found > *count) {
                    return Err(TrainError::Classes { found, max });
                }
                let mut order: Vec<usize> = (0..seen.len()).collect();
                order.sort_by_key(|at| seen.get(*at).map(|(cell, _)| cell));
                let mut classes = vec![0; seen.len()];
                for (class, at) in (0..).zip(&order) {
                    if let (Some(slot), Some((cell, _))) = (classes.get_mut(*at), seen.get(*at)) {
                        *slot = class;
                        self.names.push(cell.clone());
                    }
                }
                classes
            }
        };
        self.known = seen.into_iter().map(|(cell, _)| cell).zip(classes.iter().copied()).collect();
        Ok(Some(classes))
    }
}

fn number(answer: Answer<'_>, row: u64, column: &Name) -> Result<f32, TrainError> {
    let value = match answer {
        Answer::Number(value) => value,
        Answer::Cell(cell) => {
            let fault = CellFault::NotNumber;
            cell.parse().map_err(|_| DataError::Cell { row, column: column.clone(), fault })?
        }
    };
    let value = value as f32;
    if !value.is_finite() {
        return Err(DataError::Cell { row, column: column.clone(), fault: CellFault::NotFinite }.into());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(count: Option<u64>, labels: Option<&[&str]>) -> Decoder {
        let labels: Option<Vec<String>> = labels.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        Decoder::new(&Goal::Classes { count }, 1, labels.as_deref(), None)
    }

    fn cell(decoder: &mut Decoder, text: &str, row: u64) -> Result<Stored, TrainError> {
        decoder.decode(Answer::Cell(text), row, &Name::new("y"))
    }

    #[test]
    fn labels_of_the_model_come_first() {
        let mut decoder = classes(None, Some(&["no", "yes", "0"]));
        assert_eq!(cell(&mut decoder, "yes", 1), Ok(Stored::Class(1)));
        assert_eq!(cell(&mut decoder, "0", 1), Ok(Stored::Class(2)));
        assert_eq!(cell(&mut decoder, "1", 1), Ok(Stored::Class(1)));
        for bad in ["maybe", "3", "-1", "1.5"] {
            assert_eq!(cell(&mut decoder, bad, 7), Err(TrainError::Label { row: 7, classes: 3 }), "{bad}");
        }
    }

    #[test]
    fn words_become_classes_in_their_order() {
        let mut decoder = classes(Some(3), None);
        let given: Vec<_> = ["setosa", "alba", "setosa"].iter().map(|text| cell(&mut decoder, text, 1)).collect();
        assert_eq!(given, [Ok(Stored::Class(0)), Ok(Stored::Class(1)), Ok(Stored::Class(0))]);
        assert_eq!(decoder.learnt(), Ok(Some(vec![1, 0])));
        assert_eq!(decoder.names(), Some(&["alba".to_owned(), "setosa".to_owned()][..]));
        assert_eq!(cell(&mut decoder, "setosa", 1), Ok(Stored::Class(1)));
        assert_eq!(cell(&mut decoder, "nova", 9), Err(TrainError::Label { row: 9, classes: 3 }));
        // Once they have names, words are what the data says: a number that was not there is another thing.
        let mut numbers = classes(Some(3), None);
        for text in ["2", "0"] {
            assert!(cell(&mut numbers, text, 1).is_ok());
        }
        assert_eq!(numbers.learnt(), Ok(Some(vec![2, 0])));
        assert_eq!(numbers.names(), None);
        assert_eq!(cell(&mut numbers, "2", 1), Ok(Stored::Class(2)));
        assert_eq!(cell(&mut numbers, "1", 6), Err(TrainError::Label { row: 6, classes: 3 }));
    }

    #[test]
    fn words_are_no_names_where_names_may_not_come_from_the_data() {
        let mut decoder = Decoder::new(&Goal::Classes { count: Some(3) }, 1, None, Some("name them"));
        assert_eq!(cell(&mut decoder, "2", 1), Ok(Stored::Class(0)));
        assert_eq!(cell(&mut decoder, "setosa", 2), Err(TrainError::Unfit("name them")));
        assert_eq!(decoder.learnt(), Ok(Some(vec![2])));
        let named = ["setosa".to_owned()];
        let mut decoder = Decoder::new(&Goal::Classes { count: Some(3) }, 1, Some(&named), Some("name them"));
        assert_eq!(cell(&mut decoder, "setosa", 1), Ok(Stored::Class(0)));
    }

    #[test]
    fn too_many_words() {
        let mut decoder = classes(Some(1), None);
        assert!(cell(&mut decoder, "a", 1).is_ok() && cell(&mut decoder, "b", 2).is_ok());
        assert_eq!(decoder.learnt(), Err(TrainError::Classes { found: 2, max: 1 }));
        let mut decoder = classes(None, None);
        for at in 0..MAX_CLASSES {
            assert!(cell(&mut decoder, &format!("c{at}"), 1).is_ok());
        }
        let full = Err(DataError::TooLarge { what: "classes", max: MAX_CLASSES }.into());
        assert_eq!(cell(&mut decoder, "one more", 1), full);
    }

    #[test]
    fn a_number_out_of_range_names_the_row_where_it_first_stood() {
        let mut decoder = classes(Some(2), None);
        for (row, text) in [(1, "0"), (2, "5"), (3, "5")] {
            assert!(cell(&mut decoder, text, row).is_ok());
        }
        assert_eq!(decoder.learnt(), Err(TrainError::Label { row: 2, classes: 2 }));
    }

    #[test]
    fn numbers_of_arrays() {
        let mut decoder = classes(Some(3), None);
        let name = Name::new("y");
        let mut at = |number| decoder.decode(Answer::Number(number), 4, &name);
        assert_eq!(at(2.0), Ok(Stored::Class(2)));
        for bad in [3.0, -1.0, 0.5, 1e300] {
            assert_eq!(at(bad), Err(TrainError::Label { row: 4, classes: 3 }));
        }
        // In a sequence, a negative number is a mark.
        let mut several = Decoder::new(&Goal::Classes { count: Some(3) }, 2, None, None);
        for mark in [-100.0, -1.0, -7.0] {
            assert_eq!(several.decode(Answer::Number(mark), 1, &name), Ok(Stored::Class(IGNORED)));
        }
        let mut cells = Decoder::new(&Goal::Classes { count: Some(3) }, 2, None, None);
        assert!(cell(&mut cells, "-1", 1).is_ok() && cell(&mut cells, "2", 1).is_ok());
        assert_eq!(cells.learnt(), Ok(Some(vec![IGNORED, 2])));
    }

    #[test]
    fn numbers_to_learn() {
        let mut decoder = Decoder::new(&Goal::Numbers, 1, None, None);
        assert_eq!(cell(&mut decoder, "-1.5e3", 1), Ok(Stored::Number(-1500.0)));
        let fault = |fault| Err(DataError::Cell { row: 3, column: Name::new("y"), fault }.into());
        assert_eq!(cell(&mut decoder, "many", 3), fault(CellFault::NotNumber));
        assert_eq!(cell(&mut decoder, "1e99", 3), fault(CellFault::NotFinite));
        assert_eq!(decoder.learnt(), Ok(None));
    }
}
