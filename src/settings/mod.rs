//! The environment layer. Floor 0.
