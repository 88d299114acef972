//! The command `lastack` as its users meet it: arguments in, output and exit status out.

mod attach;
mod bestiary;
mod demo;
mod exchanges;
mod run;
mod support;
mod usage;
