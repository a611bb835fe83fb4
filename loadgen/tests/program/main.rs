//! The load generator as a program, against relays whose faults are known.

mod behaviour;
mod merge;
mod output;
mod phone;
mod replay;
mod report;
mod stub;
mod survive;
mod truth;
