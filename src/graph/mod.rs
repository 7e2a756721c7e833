//! The graph of stages, pure: validation, order, critical path. Floor 1.
