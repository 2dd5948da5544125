//! Inference engines behind one trait; models bounded and validated.
