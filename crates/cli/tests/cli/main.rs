//! The command `lastack` as its users meet it: arguments in, output and exit status out.

mod attach;
mod bestiary;
mod check;
mod demo;
mod exchanges;
mod run;
mod script;
mod sim;
mod support;
mod tun2socks;

mod usage;
