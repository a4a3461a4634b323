//! A guest's accesses to a device that another domain emulates, from the trap to the next instruction.

mod accesses;
mod balloon;
mod ends;
mod invalidation;
mod late;
mod model;
mod order;
mod pinned;
mod refusals;
mod revoked;
mod rounds;
mod waiting;
