//! Whole-mesh tests: real processes and real sockets on loopback. One binary, so that everything is linked once.

mod admin;
mod connects;
mod drain;
mod interop;
mod job;
mod large_body;
mod mesh;
mod metrics;
mod netns;
mod oracle;
mod startup;
mod support;
mod traces;
