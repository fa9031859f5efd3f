//! What faces the user: the server process, the PostgreSQL wire, SQL sessions, HTTP, the
//! shell and the demo. Nothing below names this layer.

pub mod demo;
pub mod http;
pub mod pg;
pub mod server;
pub mod session;
pub mod shell;
