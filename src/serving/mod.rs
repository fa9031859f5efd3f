//! What faces the user: the server process, HTTP, the shell and the demo.

pub mod demo;
pub mod http;
pub mod server;
pub mod shell;
//! (module opens with its contract)

pub mod pg;
