//! A guest's accesses to a device that another domain emulates, from the trap to the next instruction.

mod accesses;
mod ends;
mod invalidation;
mod model;
mod order;
mod refusals;
mod revoked;
mod waiting;
