//! Bytes to columns: each format decodes records straight into Arrow builders, only for the
//! columns that are wanted; of other declared columns it checks that they could be decoded.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, SchemaRef};

use crate::error::{HwError, Result};

pub mod copy;
pub mod json;

/// Decodes records, one `push` each, into the columns of one schema.
pub trait RecordDecoder: Send {
    /// Adds one row. An error means that this record is bad; nothing of it is kept.
    fn push(&mut self, record: &[u8]) -> std::result::Result<(), HwError>;
    /// Rows since the last `finish`.
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Takes the rows; the decoder is empty afterwards.
    fn finish(&mut self) -> Result<RecordBatch>;
}

/// Makes a decoder for the wanted columns of a source, and those that are checked only.
pub type DecoderFactory = Arc<dyn Fn(SchemaRef, &Fields) -> Result<Box<dyn RecordDecoder>> + Send + Sync>;
