//! Whole programs under 80 lines; see `src/bin`.
