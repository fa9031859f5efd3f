//! From a fresh socket to a session: encryption requests, the startup packet, admission.
//!
//! Encryption is refused with `N`; bytes sent before that answer are refused, because they
//! may have been injected. Every client is trusted; [`authenticate`] is where a password
//! exchange goes. A cancel request is a connection of its own that gets no answer.

use bytes::{Buf, BytesMut};
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::{
    Authentication, GssEncRequest, NegotiateProtocolVersion, SslRequest, Startup,
};
use pgwire::messages::{DecodeContext, Message, PgWireBackendMessage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::api::StartupParameters;
use super::transport::MessageWriter;
use crate::error::{HwError, Result, sqlstate};

/// Largest startup packet, as in PostgreSQL.
const STARTUP_BYTES_MAX: usize = 10_000;

/// What a client wants.
pub enum Hello {
    Session {
        parameters: StartupParameters,
        /// Set if the client asked for more than protocol 3.0.
        negotiation: Option<NegotiateProtocolVersion>,
        /// Bytes behind the startup packet.
        rest: BytesMut,
    },
    Cancel {
        pid: i32,
        secret: Vec<u8>,
    },
    /// It went away without a word.
    Gone,
}

fn violation(message: &str) -> HwError {
    HwError::new(sqlstate::PROTOCOL_VIOLATION, message)
}

/// Reads up to the startup packet, answering requests for encryption.
pub async fn read_hello(socket: &mut TcpStream) -> Result<Hello> {
    let mut buffer = BytesMut::with_capacity(512);
    loop {
        if !read_packet(socket, &mut buffer).await? {
            return Ok(Hello::Gone);
        }
        if SslRequest::is_ssl_request_packet(&buffer) || GssEncRequest::is_gss_enc_request_packet(&buffer) {
            buffer.advance(8);
            if !buffer.is_empty() {
                return Err(violation("received unencrypted data after SSL request"));
            }
            socket.write_all(b"N").await?;
            continue;
        }
        let context = DecodeContext::default();
        if CancelRequest::is_cancel_request_packet(&buffer) {
            return Ok(match CancelRequest::decode(&mut buffer, &context) {
                Ok(Some(request)) => {
                    Hello::Cancel { pid: request.pid, secret: request.secret_key.to_bytes().to_vec() }
                }
                _ => Hello::Gone,
            });
        }
        let length = (&buffer[..4]).get_u32() as usize;
        let mut packet = buffer.split_to(length);
        return match Startup::decode(&mut packet, &context) {
            Ok(Some(startup)) => session(startup, buffer),
            _ => Err(HwError::new(sqlstate::FEATURE_NOT_SUPPORTED, "unsupported frontend protocol")
                .with_hint("The server speaks version 3.0 of the PostgreSQL protocol.")),
        };
    }
}

/// Reads one whole packet; false at the end of the stream.
async fn read_packet(socket: &mut TcpStream, buffer: &mut BytesMut) -> Result<bool> {
    loop {
        if buffer.len() >= 8 {
            let length = (&buffer[..4]).get_u32() as usize;
            if !(8..=STARTUP_BYTES_MAX).contains(&length) {
                return Err(violation("invalid length of startup packet"));
            }
            if buffer.len() >= length {
                return Ok(true);
            }
        }
        if socket.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
    }
}

fn session(startup: Startup, rest: BytesMut) -> Result<Hello> {
    let mut parameters = StartupParameters::default();
    let mut unsupported_options = Vec::new();
    for (name, value) in startup.parameters {
        match name.as_str() {
            "user" => parameters.user = value,
            "database" => parameters.database = value,
            "options" => {
                let settings = parse_options(&value)?;
                parameters.settings.splice(0..0, settings);
            }
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => {
                return Err(HwError::unsupported(
                    "the replication protocol",
                    "Read changes with SUBSCRIBE over an ordinary connection.",
                ));
            }
            _ if name.starts_with("_pq_.") => unsupported_options.push(name),
            _ => parameters.settings.push((name, value)),
        }
    }
    if parameters.user.is_empty() {
        return Err(HwError::new(
            sqlstate::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    if parameters.database.is_empty() {
        parameters.database = parameters.user.clone();
    }
    let negotiate = startup.protocol_number_minor > 0 || !unsupported_options.is_empty();
    let negotiation =
        negotiate.then(|| NegotiateProtocolVersion::new(Startup::PROTOCOL_VERSION_3_0, unsupported_options));
    Ok(Hello::Session { parameters, negotiation, rest })
}

/// Settings of `-c x=y`, `-cx=y` and `--x=y`; a backslash takes away the meaning of a space.
pub fn parse_options(options: &str) -> Result<Vec<(String, String)>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = options.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            c if c.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let invalid = || {
            HwError::new(
                sqlstate::SYNTAX_ERROR,
                format!("invalid command-line argument for server process: {word}"),
            )
        };
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().ok_or_else(invalid)?,
            Some(setting) => setting.to_string(),
            None => return Err(invalid()),
        };
        let (name, value) = setting.split_once('=').ok_or_else(invalid)?;
        settings.push((name.trim().replace('-', "_"), value.to_string()));
    }
    Ok(settings)
}

/// Lets a client in. Everybody is trusted; a password exchange would read its messages here.
pub fn authenticate(_parameters: &StartupParameters, writer: &mut MessageWriter) -> Result<()> {
    writer.push(PgWireBackendMessage::Authentication(Authentication::Ok))
}
