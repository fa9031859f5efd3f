//! Errors, notices and transaction status as protocol messages.

use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::{self, ErrorResponse, NoticeResponse, ReadyForQuery};

use super::api::{Notice, TransactionStatus};
use crate::error::HwError;

/// Severity, SQLSTATE, message, DETAIL, HINT and position as tagged fields.
fn fields(severity: &str, error: &HwError) -> Vec<(u8, String)> {
    let mut fields = vec![
        (b'S', severity.to_string()),
        (b'V', severity.to_string()),
        (b'C', error.sqlstate().to_string()),
        (b'M', without_nul(error.message())),
    ];
    fields.extend(error.detail().map(|detail| (b'D', without_nul(detail))));
    fields.extend(error.hint().map(|hint| (b'H', without_nul(hint))));
    fields.extend(error.position().map(|position| (b'P', position.to_string())));
    fields
}

/// Fields are null-terminated.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// An ERROR; the connection goes on.
pub fn error(error: &HwError) -> PgWireBackendMessage {
    PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields("ERROR", error)))
}

/// A FATAL error: the connection ends.
pub fn fatal(error: &HwError) -> PgWireBackendMessage {
    PgWireBackendMessage::ErrorResponse(ErrorResponse::new(fields("FATAL", error)))
}

pub fn notice(notice: &Notice) -> PgWireBackendMessage {
    let fields = fields(notice.severity.as_str(), &notice.report);
    PgWireBackendMessage::NoticeResponse(NoticeResponse::new(fields))
}

pub fn ready(status: TransactionStatus) -> PgWireBackendMessage {
    let status = match status {
        TransactionStatus::Idle => response::TransactionStatus::Idle,
        TransactionStatus::InBlock => response::TransactionStatus::Transaction,
        TransactionStatus::Failed => response::TransactionStatus::Error,
    };
    PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status))
}
