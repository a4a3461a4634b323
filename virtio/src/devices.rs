//! Kinds of devices, a file for each.

pub mod block;
