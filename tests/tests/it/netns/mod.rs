//! Capture for real: pods as network namespaces, rules in their kernels, and unchanged programs as their applications.
//!
//! Needs root; without it each test says so and passes.

mod control;
mod mesh;
mod rules;
mod space;
