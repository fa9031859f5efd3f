//! What the end-to-end tests share: scripts, servers in this process, and the runner.
//!
//! `script` reads `.slt` files and fenced examples, `server` starts Headwater in a folder of
//! its own and speaks to it over the wire, `run` executes a script in one of the modes that
//! the invariances ask for, `report` prints as the standard test harness does, `both` holds
//! views to PostgreSQL, `kit` starts it, `random` draws numbers, `as_views` makes the queries of a
//! script views. Each test program uses a part
//! of it.
#![allow(dead_code)]

pub mod as_views;
pub mod both;
pub mod kit;
pub mod random;
pub mod report;
pub mod run;
pub mod script;
pub mod server;
