//! Programs behind the gateway, in network namespaces that the tests make. Most need root.

mod backpressure;
mod datagrams;
mod endings;
mod faults;
mod lab;
mod ping;
mod programs;
mod publish;
mod run;
mod seeing;
mod silence;
mod table;
mod upstream;
mod user;
