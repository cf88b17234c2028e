//! Whole-mesh tests: real processes and real sockets on loopback. One binary, so that everything is linked once.

mod admin;
mod client_fault;
mod connects;
mod discovery;
mod drain;
mod interop;
mod journal;
mod large_body;
mod mesh;
mod metrics;
mod netns;
mod oracle;
mod pod_end;
mod second_client;
mod startup;
mod support;
mod traces;
