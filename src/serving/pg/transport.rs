//! Bytes of a connection: whole messages in, buffered messages out.
//!
//! The reader fills a buffer and cuts off one message at a time; no message is larger than
//! the limit, and the buffer never holds much more than one. The writer collects messages
//! until `flush`. Reading and writing are separate halves, so that a running statement can
//! watch for the client's end.

use std::io;

use bytes::BytesMut;
use pgwire::error::PgWireError;
use pgwire::messages::{DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::frame;
use crate::error::{HwError, Result, sqlstate};

/// Bytes of output that are sent without waiting for a flush.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Free space asked for before reading.
const READ_BYTES: usize = 8 * 1024;
/// Bytes of messages that may wait while a statement runs.
const READ_AHEAD_BYTES_MAX: usize = 1024 * 1024;

/// The client's side of the stream.
pub struct MessageReader {
    socket: OwnedReadHalf,
    buffer: BytesMut,
    context: DecodeContext,
    message_bytes_max: usize,
}

/// What a read gave.
pub enum Incoming {
    Message(PgWireFrontendMessage),
    /// A message of type `kind` is whole but not acceptable; the connection can go on.
    Malformed {
        kind: u8,
        error: HwError,
    },
    /// The client has closed the connection.
    End,
}

impl MessageReader {
    /// `buffer` holds what was read behind the startup packet.
    pub fn new(socket: OwnedReadHalf, buffer: BytesMut, message_bytes_max: usize) -> MessageReader {
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        MessageReader { socket, buffer, context, message_bytes_max }
    }

    /// The next message. Errors end the connection: the framing is lost.
    pub async fn next(&mut self) -> Result<Incoming> {
        loop {
            if let Some(length) = self.frame_length()?
                && self.buffer.len() >= length
            {
                let mut message = self.buffer.split_to(length);
                return self.decode(&mut message);
            }
            if matches!(self.socket_read().await, Ok(0) | Err(_)) {
                return Ok(Incoming::End);
            }
        }
    }

    async fn socket_read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.socket.read_buf(&mut self.buffer).await
    }

    /// Length of the first message in the buffer, its type byte included.
    fn frame_length(&self) -> Result<Option<usize>> {
        let Some([_, length @ ..]) = self.buffer.first_chunk::<5>() else { return Ok(None) };
        let length = i32::from_be_bytes(*length);
        match usize::try_from(length) {
            Ok(length) if (4..=self.message_bytes_max).contains(&length) => Ok(Some(length + 1)),
            _ => Err(HwError::new(sqlstate::PROTOCOL_VIOLATION, "invalid message length")),
        }
    }

    fn decode(&self, message: &mut BytesMut) -> Result<Incoming> {
        let kind = message[0];
        if let Err(error) = frame::check(kind, &message[5..]) {
            return Ok(Incoming::Malformed { kind, error });
        }
        let violation = |message: String| HwError::new(sqlstate::PROTOCOL_VIOLATION, message);
        match PgWireFrontendMessage::decode(message, &self.context) {
            Ok(Some(message)) => Ok(Incoming::Message(message)),
            Ok(None) => Ok(Incoming::Malformed { kind, error: violation("invalid message format".into()) }),
            Err(PgWireError::InvalidMessageType(kind)) => {
                Err(violation(format!("invalid frontend message type {kind}")))
            }
            Err(e) => Ok(Incoming::Malformed { kind, error: violation(e.to_string()) }),
        }
    }

    /// True if the message that follows is known to be Sync.
    pub fn sync_is_next(&self) -> bool {
        self.buffer.first() == Some(&b'S')
    }

    /// Completes when the client is gone; reads ahead what it sends meanwhile, up to a limit.
    pub async fn closed(&mut self) {
        loop {
            if self.buffer.len() >= READ_AHEAD_BYTES_MAX {
                return std::future::pending().await;
            }
            if matches!(self.socket_read().await, Ok(0) | Err(_)) {
                return;
            }
        }
    }
}

/// The server's side of the stream.
pub struct MessageWriter {
    socket: OwnedWriteHalf,
    /// Encoded messages that wait for a flush.
    pub out: Vec<u8>,
    scratch: BytesMut,
}

impl MessageWriter {
    pub fn new(socket: OwnedWriteHalf) -> MessageWriter {
        MessageWriter { socket, out: Vec::with_capacity(READ_BYTES), scratch: BytesMut::new() }
    }

    /// Appends a message to the output.
    pub fn push(&mut self, message: PgWireBackendMessage) -> Result<()> {
        self.scratch.clear();
        message.encode(&mut self.scratch).map_err(|e| HwError::internal(e.to_string()))?;
        self.out.extend_from_slice(&self.scratch);
        Ok(())
    }

    /// Sends the output if much has gathered.
    pub async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.out.len() >= OUTPUT_BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = self.socket.write_all(&self.out).await;
        self.out.clear();
        if self.out.capacity() > 4 * OUTPUT_BYTES_MAX {
            self.out.shrink_to(OUTPUT_BYTES_MAX);
        }
        sent
    }
}
