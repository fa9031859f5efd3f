//! Random text, written into one growing buffer per column.
//!
//! [`TextColumn`] becomes a `StringArray` without a copy. Channels and URLs of bids come
//! from a table that is made once per process and does not depend on the seed, as in
//! Nexmark.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};

use super::mixer::{Draw, Mixer};
use crate::error::Result;

/// A text column under construction.
pub struct TextColumn {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl TextColumn {
    /// `bytes`: expected size of all values together.
    pub fn with_capacity(rows: usize, bytes: usize) -> TextColumn {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        TextColumn { offsets, bytes: Vec::with_capacity(bytes + 16) }
    }

    /// Appends one value, written by `write` (ASCII only) at the end of the buffer.
    #[inline]
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.offsets.push(self.bytes.len() as i32);
    }

    pub fn finish(self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        Ok(Arc::new(StringArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls)?))
    }
}

/// Appends `length` random lower-case letters.
#[inline]
pub fn push_letters(out: &mut Vec<u8>, draw: Draw, length: usize) {
    let words = length.div_ceil(8);
    out.reserve(words * 8);
    let end = out.len() + length;
    for word in 0..words {
        out.extend_from_slice(&eight_letters(draw.further(word as u64 + 1).0));
    }
    out.truncate(end);
}

/// Eight letters from 64 random bits: each byte b becomes `'a' + b * 26 / 256`, four bytes
/// at a time.
#[inline]
fn eight_letters(bits: u64) -> [u8; 8] {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let even = (((bits & EVEN) * 26) >> 8) & EVEN;
    let odd = (((bits >> 8) & EVEN) * 26) & !EVEN;
    (even + odd + 0x6161_6161_6161_6161).to_le_bytes()
}

/// Appends 3 to `length_max` - 1 letters, about one in thirteen of them a space, but never
/// the first or last.
pub fn push_words(out: &mut Vec<u8>, draw: Draw, length_max: u64) {
    let start = out.len();
    let length = words_length(draw, length_max);
    push_letters(out, draw, length);
    let mut chances = 0;
    for (i, byte) in out[start..].iter_mut().enumerate().take(length - 1) {
        if i % 8 == 0 {
            chances = draw.further(1_000 + i as u64).0;
        }
        // One byte of chance a letter: 20 in 256 are one in 12.8.
        if chances & 0xff < 20 && i > 0 {
            *byte = b' ';
        }
        chances >>= 8;
    }
}

/// Bytes that [`push_words`] appends.
#[inline]
pub fn words_length(draw: Draw, length_max: u64) -> usize {
    3 + draw.below(length_max - 3) as usize
}

/// Appends the decimal digits of `value`, with leading zeros up to `width`.
pub fn push_number(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut rest = value;
    let mut start = digits.len();
    while rest > 0 || digits.len() - start < width.max(1) {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
const CHANNELS: usize = 10_000;
/// Any constant: the table is the same for all seeds.
const CHANNEL_SEED: u64 = 0x6368_616e_6e65_6c73;

/// The channels through which bids come, each with its URL: four hot ones, then
/// `channel-0` to `channel-9999`.
pub struct Channels {
    text: Vec<u8>,
    /// Start of each channel's name, start of its URL, and the end of the last one.
    starts: Vec<u32>,
}

/// The table of channels, made at first use.
pub static CHANNEL_TABLE: LazyLock<Channels> = LazyLock::new(Channels::new);

impl Channels {
    fn new() -> Channels {
        let mixer = Mixer::new(CHANNEL_SEED);
        let mut table =
            Channels { text: Vec::with_capacity(900_000), starts: Vec::with_capacity(2 * CHANNELS + 9) };
        for (n, name) in HOT_CHANNELS.iter().enumerate() {
            table.push_channel(name.as_bytes(), mixer.draw(n as u64, 0), None);
        }
        for number in 0..CHANNELS {
            let mut name = b"channel-".to_vec();
            push_number(&mut name, number as u64, 1);
            let draw = mixer.draw((HOT_CHANNELS.len() + number) as u64, 0);
            table.push_channel(&name, draw, Some(number));
        }
        table.starts.push(table.text.len() as u32);
        table
    }

    /// `number`: of an ordinary channel; nine in ten of them have their id in the URL.
    fn push_channel(&mut self, name: &[u8], draw: Draw, number: Option<usize>) {
        self.starts.push(self.text.len() as u32);
        self.text.extend_from_slice(name);
        self.starts.push(self.text.len() as u32);
        self.text.extend_from_slice(b"https://www.nexmark.com/");
        for part in 0..3 {
            push_letters(&mut self.text, draw.further(100 + part), 5);
            self.text.push(b'/');
        }
        self.text.extend_from_slice(b"item.htm?query=1");
        if let Some(number) = number
            && draw.below(10) > 0
        {
            self.text.extend_from_slice(b"&channel_id=");
            let id = (number as u32).reverse_bits() as i32;
            push_number(&mut self.text, u64::from(id.unsigned_abs()), 1);
        }
    }

    /// The channel that a bid's draw selects: a hot one for half of the bids.
    #[inline]
    pub fn pick(draw: Draw) -> usize {
        if draw.is_hot(2) {
            draw.below(HOT_CHANNELS.len() as u64) as usize
        } else {
            HOT_CHANNELS.len() + draw.below(CHANNELS as u64) as usize
        }
    }

    #[inline]
    pub fn name(&self, channel: usize) -> &[u8] {
        &self.text[self.starts[2 * channel] as usize..self.starts[2 * channel + 1] as usize]
    }

    #[inline]
    pub fn url(&self, channel: usize) -> &[u8] {
        &self.text[self.starts[2 * channel + 1] as usize..self.starts[2 * channel + 2] as usize]
    }
}
