//! Programs behind the gateway, in network namespaces that the tests make. Most need root.

mod endings;
mod lab;
mod programs;
mod publish;
mod run;
mod table;
mod user;
