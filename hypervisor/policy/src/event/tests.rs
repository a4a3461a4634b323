//! Tests of event channels: each call and its errors, models of ports and of a guest that consumes, guests that write
//! nonsense, and both sides at once on several threads.

mod calls;
mod consumer;
mod delivery;
mod hostile;
mod interleaved;
mod interleavings;
mod model;
mod stress;
mod support;
