//! Tests of the whole controller: its registers as Linux uses them, delivery through list registers, and random
//! sequences against a model.

mod corners;
mod delivery;
mod hostile;
mod machine;
mod model;
mod races;
mod reference;
mod registers_v2;
mod registers_v3;
mod sgi;
