//! The small values of a plan, each with one encoding.

use crate::id::Digest;
use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

/// A finite number. There is one zero, so equal numbers have equal bits.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub struct Real(f32);

// No NaN and one zero: equality is total.
impl Eq for Real {}

impl Real {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// One.
    pub const ONE: Self = Self(1.0);

    /// Refuses NaN and infinities.
    pub fn new(value: f32) -> Option<Self> {
        // Adding a positive zero turns the negative one into it.
        value.is_finite().then_some(Self(value + 0.0))
    }

    /// The number.
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl fmt::Debug for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Text that is no finite number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a finite number")]
pub struct NotFinite;

impl FromStr for Real {
    type Err = NotFinite;

    fn from_str(text: &str) -> Result<Self, NotFinite> {
        text.parse().ok().and_then(Self::new).ok_or(NotFinite)
    }
}

impl serde::Serialize for Real {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f32(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Real {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f32::deserialize(deserializer)
            .and_then(|value| Self::new(value).ok_or_else(|| serde::de::Error::custom(NotFinite)))
    }
}

impl<C> minicbor::Encode<C> for Real {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.f32(self.0)?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Real {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Self::new(decoder.f32()?).ok_or_else(|| minicbor::decode::Error::message("not a finite number"))
    }
}

/// What shuffling, splitting, dropout and new adapters are drawn from. Known to all parties: it hides nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// The number that stands for this seed, if one does.
    pub fn number(&self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk::<8>()?;
        rest.iter().all(|byte| *byte == 0).then(|| u64::from_le_bytes(*first))
    }
}

impl From<u64> for Seed {
    fn from(number: u64) -> Self {
        let mut seed = [0; 32];
        if let Some((first, _)) = seed.split_first_chunk_mut::<8>() {
            *first = number.to_le_bytes();
        }
        Self(seed)
    }
}

/// Text that is no seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a seed is a number, or 64 hexadecimal digits")]
pub struct BadSeed;

impl FromStr for Seed {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        if text.len() < 64 {
            return text.parse::<u64>().map(Self::from).map_err(|_| BadSeed);
        }
        text.parse::<Digest>().map(|bytes| Self(bytes.0)).map_err(|_| BadSeed)
    }
}

impl serde::Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // TOML's integers end at 2^63 - 1.
        match self.number().and_then(|number| i64::try_from(number).ok()) {
            Some(number) => serializer.serialize_i64(number),
            None => serializer.collect_str(&Digest(self.0)),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Seed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Seed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number, or 64 hexadecimal digits")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Seed, E> {
                u64::try_from(number).map(Seed::from).map_err(|_| E::custom(BadSeed))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Seed, E> {
                Ok(number.into())
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Seed, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl<C> minicbor::Encode<C> for Seed {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        context: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        Digest(self.0).encode(encoder, context)
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Seed {
    fn decode(decoder: &mut minicbor::Decoder<'b>, context: &mut C) -> Result<Self, minicbor::decode::Error> {
        Digest::decode(decoder, context).map(|bytes| Self(bytes.0))
    }
}

/// Where the wanted answer of a row stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
pub enum Target {
    /// The column or array of this name.
    #[n(0)]
    Name(#[n(0)] String),
    /// The column at this place, counted from 0.
    #[n(1)]
    Column(#[n(0)] u32),
}

impl From<&str> for Target {
    /// A number is a place; a column that is called by a number is written as `name:7`.
    fn from(text: &str) -> Self {
        match (text.strip_prefix("name:"), text.parse()) {
            (Some(name), _) => Self::Name(name.into()),
            (None, Ok(column)) => Self::Column(column),
            (None, Err(_)) => Self::Name(text.into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(column) => write!(f, "{column}"),
            Self::Name(name) if Self::from(name.as_str()) == *self => f.write_str(name),
            Self::Name(name) => write!(f, "name:{name}"),
        }
    }
}

impl serde::Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Column(column) => serializer.serialize_u32(*column),
            Self::Name(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Target;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "the name of a column or array, or the place of a column")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Target, E> {
                u32::try_from(number).map(Target::Column).map_err(|_| E::custom("a column's place is from 0"))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Target, E> {
                u32::try_from(number).map(Target::Column).map_err(|_| E::custom("no table has so many columns"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Target, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Which rows are not learnt from, to tell how good the model is on what it has not seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum Validation {
    /// None: all rows are learnt from.
    #[n(0)]
    None,
    /// This share of the rows, drawn by the seed: more than 0 and at most a half.
    #[n(1)]
    Fraction(#[n(0)] Real),
    /// Another asset of the data provider.
    #[n(2)]
    Asset(#[n(0)] Digest),
}

impl FromStr for Validation {
    type Err = BadValidation;

    fn from_str(text: &str) -> Result<Self, BadValidation> {
        if text == "none" {
            return Ok(Self::None);
        }
        if let Ok(digest) = text.parse() {
            return Ok(Self::Asset(digest));
        }
        text.parse().map(Self::Fraction).map_err(|_| BadValidation)
    }
}

/// Text that names no rows to validate with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a share of the rows like 0.2, the digest of an asset, or `none`")]
pub struct BadValidation;

impl serde::Serialize for Validation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Fraction(fraction) => fraction.serialize(serializer),
            Self::Asset(digest) => digest.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Validation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Validation;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{BadValidation}")
            }

            fn visit_f64<E: serde::de::Error>(self, share: f64) -> Result<Validation, E> {
                Real::new(share as f32).map(Validation::Fraction).ok_or_else(|| E::custom(NotFinite))
            }

            fn visit_i64<E: serde::de::Error>(self, share: i64) -> Result<Validation, E> {
                if share == 0 { Ok(Validation::None) } else { Err(E::custom(BadValidation)) }
            }

            fn visit_u64<E: serde::de::Error>(self, share: u64) -> Result<Validation, E> {
                if share == 0 { Ok(Validation::None) } else { Err(E::custom(BadValidation)) }
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Validation, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// How much each class counts.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub enum ClassWeights {
    /// The inverse of how often it is there: rows / (classes · rows of the class).
    #[n(0)]
    Balanced,
    /// These, in the order of the classes.
    #[n(1)]
    List(#[n(0)] Vec<Real>),
}

impl serde::Serialize for ClassWeights {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Balanced => serializer.serialize_str("balanced"),
            Self::List(weights) => weights.serialize(serializer),
        }
    }
}

impl<'de> serde::Deserialize<'de> for ClassWeights {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = ClassWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of weights, or `balanced`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ClassWeights, E> {
                if text == "balanced" {
                    Ok(ClassWeights::Balanced)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<ClassWeights, A::Error> {
                let mut weights = Vec::new();
                while let Some(weight) = list.next_element()? {
                    if weights.len() >= super::TrainingPlan::MAX_CLASSES {
                        return Err(serde::de::Error::custom("more weights than classes are allowed"));
                    }
                    weights.push(weight);
                }
                Ok(ClassWeights::List(weights))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// One or several targets, as a plan spells them.
pub(super) fn one_or_more<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Target>, D::Error> {
    struct Visitor;

    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Vec<Target>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "the name of a column or array, the place of a column, or a list of these")
        }

        fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Vec<Target>, E> {
            serde::Deserialize::deserialize(serde::de::value::I64Deserializer::new(number)).map(|one| Vec::from([one]))
        }

        fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Vec<Target>, E> {
            serde::Deserialize::deserialize(serde::de::value::U64Deserializer::new(number)).map(|one| Vec::from([one]))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<Target>, E> {
            Ok(Vec::from([text.into()]))
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Target>, A::Error> {
            let mut targets = Vec::new();
            while let Some(target) = list.next_element()? {
                if targets.len() >= super::TrainingPlan::MAX_TARGETS {
                    return Err(serde::de::Error::custom("more targets than are allowed"));
                }
                targets.push(target);
            }
            Ok(targets)
        }
    }

    deserializer.deserialize_any(Visitor)
}
