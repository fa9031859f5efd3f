//! Checks a message before pgwire decodes it.
//!
//! pgwire's decoders trust lengths and counts inside of a message and replace bad UTF-8; this
//! walk over the same layout refuses both (08P01, 22021), so that decoding cannot fail.

use crate::error::{HwError, Result, sqlstate};

/// Reads the layout of one message body.
struct Walk<'a> {
    rest: &'a [u8],
}

fn malformed() -> HwError {
    HwError::new(sqlstate::PROTOCOL_VIOLATION, "invalid message format")
}

impl Walk<'_> {
    fn skip(&mut self, length: usize) -> Result<()> {
        self.rest = self.rest.get(length..).ok_or_else(malformed)?;
        Ok(())
    }

    /// A null-terminated string in UTF-8.
    fn string(&mut self) -> Result<()> {
        let length = memchr::memchr(0, self.rest)
            .ok_or_else(|| HwError::new(sqlstate::PROTOCOL_VIOLATION, "invalid string in message"))?;
        let bytes = &self.rest[..length];
        if let Err(e) = std::str::from_utf8(bytes) {
            let bad = &bytes[e.valid_up_to()..][..e.error_len().unwrap_or(1)];
            let bad: Vec<String> = bad.iter().map(|b| format!("0x{b:02x}")).collect();
            return Err(HwError::new(
                sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
                format!("invalid byte sequence for encoding \"UTF8\": {}", bad.join(" ")),
            ));
        }
        self.skip(length + 1)
    }

    fn count(&mut self) -> Result<usize> {
        let bytes = self.rest.first_chunk::<2>().ok_or_else(malformed)?;
        let count = u16::from_be_bytes(*bytes);
        self.skip(2)?;
        Ok(usize::from(count))
    }

    /// A value with its length in front, -1 for null.
    fn value(&mut self) -> Result<()> {
        let bytes = self.rest.first_chunk::<4>().ok_or_else(malformed)?;
        let length = i32::from_be_bytes(*bytes);
        self.skip(4)?;
        if length < -1 {
            return Err(malformed());
        }
        self.skip(usize::try_from(length).unwrap_or(0))
    }

    fn array(&mut self, width: usize) -> Result<()> {
        let count = self.count()?;
        self.skip(count * width)
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(malformed()) }
    }
}

/// Checks the body of a message of type `kind`; unknown types are left to the decoder.
pub fn check(kind: u8, body: &[u8]) -> Result<()> {
    let mut walk = Walk { rest: body };
    match kind {
        b'Q' => walk.string()?,
        b'P' => {
            walk.string()?;
            walk.string()?;
            walk.array(4)?;
        }
        b'B' => {
            walk.string()?;
            walk.string()?;
            walk.array(2)?;
            for _ in 0..walk.count()? {
                walk.value()?;
            }
            walk.array(2)?;
        }
        b'D' | b'C' => {
            walk.skip(1)?;
            walk.string()?;
        }
        b'E' => {
            walk.string()?;
            walk.skip(4)?;
        }
        b'H' | b'S' | b'X' | b'c' => {}
        _ => return Ok(()),
    }
    walk.end()
}
