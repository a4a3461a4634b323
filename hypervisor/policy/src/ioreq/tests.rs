//! Tests of I/O requests: each call and its errors, and a model that all orders of small cases and random
//! orders of large ones are compared with.

mod control;
mod exhaustive;
mod forward;
mod model;
mod random;
mod ranges;
mod support;
