//! Events of a librdkafka queue, safely.
//!
//! The crate's own `poll` forgets at which offset a partition ended, and that offset is what
//! makes gaps at the end of a split (aborted transactions, control records) countable. So
//! this file polls the native queue itself. Out: one [`Event`] at a time; a record's bytes
//! borrow from its event and are not copied. All `unsafe` of the connector is here.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use crate::error::{HwError, Result};

/// Something that came out of the queue.
pub enum Event<'a> {
    Record(Record<'a>),
    /// Everything before `offset` has been delivered, and nothing more is there at present.
    PartitionEnd {
        partition: i32,
        offset: i64,
    },
    /// `partition` is negative if the error is not about one partition.
    Error {
        partition: i32,
        offset: i64,
        code: RDKafkaErrorCode,
        text: String,
    },
    /// Logs, statistics and other things that need no answer.
    Other,
}

/// A consumed record; borrows from its event.
pub struct Record<'a> {
    message: &'a sys::rd_kafka_message_t,
}

/// The consumer queue of one client. Keeps the client alive.
pub struct Queue {
    queue: *mut sys::rd_kafka_queue_t,
    consumer: Arc<BaseConsumer>,
}

// SAFETY: librdkafka queues may be used from any thread; `Queue` has no other state.
unsafe impl Send for Queue {}

/// An event, destroyed when dropped.
pub struct Polled(*mut sys::rd_kafka_event_t);

impl Queue {
    /// The queue that carries records and errors of `consumer`, which needs a group id.
    pub fn of_consumer(consumer: &Arc<BaseConsumer>) -> Result<Queue> {
        // SAFETY: the client pointer is valid while `consumer` lives, which this queue ensures.
        let queue = unsafe { sys::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        Self::from_native(queue, consumer)
    }

    /// The queue that carries the errors of a client without a group id.
    pub fn of_client(consumer: &Arc<BaseConsumer>) -> Result<Queue> {
        // SAFETY: as above.
        let queue = unsafe { sys::rd_kafka_queue_get_main(consumer.client().native_ptr()) };
        Self::from_native(queue, consumer)
    }

    fn from_native(queue: *mut sys::rd_kafka_queue_t, consumer: &Arc<BaseConsumer>) -> Result<Queue> {
        if queue.is_null() {
            return Err(HwError::internal("the Kafka client has no queue"));
        }
        Ok(Queue { queue, consumer: consumer.clone() })
    }

    /// Waits at most `wait` (whole milliseconds, rounded down) for the next event.
    pub fn poll(&self, wait: Duration) -> Option<Polled> {
        let millis = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is valid until drop; the event is owned by `Polled`.
        let event = unsafe { sys::rd_kafka_queue_poll(self.queue, millis) };
        (!event.is_null()).then_some(Polled(event))
    }

    /// One past the newest record of a partition as of the last fetch, if any was made.
    pub fn cached_end(&self, topic: &CStr, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the out-pointers live through the call, which does no network I/O.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        (code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `rd_kafka_queue_get_*` and is released once.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) }
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        // SAFETY: the event is owned and destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0) }
    }
}

impl Polled {
    /// What the event says. A record is given by the first call only.
    pub fn read(&mut self) -> Event<'_> {
        // SAFETY: the event lives as long as `self`.
        match unsafe { sys::rd_kafka_event_type(self.0) } {
            sys::RD_KAFKA_EVENT_FETCH => {
                // SAFETY: a fetch event carries one message, valid until the event goes.
                match unsafe { sys::rd_kafka_event_message_next(self.0).as_ref() } {
                    Some(message) => Event::Record(Record { message }),
                    None => Event::Other,
                }
            }
            sys::RD_KAFKA_EVENT_ERROR => self.read_error(),
            _ => Event::Other,
        }
    }

    fn read_error(&self) -> Event<'_> {
        // SAFETY: an error event; the strings are copied before the event goes, and the
        // partition object is ours to destroy.
        let (code, text, partition, offset) = unsafe {
            let code: RDKafkaErrorCode = sys::rd_kafka_event_error(self.0).into();
            let text = owned_text(sys::rd_kafka_event_error_string(self.0));
            let place = sys::rd_kafka_event_topic_partition(self.0);
            let (partition, offset) = match place.as_ref() {
                Some(p) => (p.partition, p.offset),
                None => (-1, -1),
            };
            if !place.is_null() {
                sys::rd_kafka_topic_partition_destroy(place);
            }
            (code, text, partition, offset)
        };
        if code == RDKafkaErrorCode::PartitionEOF {
            Event::PartitionEnd { partition, offset }
        } else {
            Event::Error { partition, offset, code, text }
        }
    }
}

/// # Safety
/// `text` is null or a C string that lives through the call.
unsafe fn owned_text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by the contract above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// # Safety
/// `data` is null or points to `length` bytes that live for `'a`.
unsafe fn bytes<'a>(data: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract above.
    (!data.is_null()).then(|| unsafe { std::slice::from_raw_parts(data.cast::<u8>(), length) })
}

impl<'a> Record<'a> {
    pub fn partition(&self) -> i32 {
        self.message.partition
    }

    pub fn offset(&self) -> i64 {
        self.message.offset
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: key and length belong together and live as long as the message.
        unsafe { bytes(self.message.key, self.message.key_len) }
    }

    pub fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: payload and length belong together and live as long as the message.
        unsafe { bytes(self.message.payload, self.message.len) }
    }

    /// Microseconds after 1970-01-01 UTC.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid and `kind` lives through the call.
        let millis = unsafe { sys::rd_kafka_message_timestamp(self.message, &mut kind) };
        (millis >= 0).then(|| millis.saturating_mul(1_000))
    }

    /// Names and values in the order of the record.
    pub fn headers(&self) -> Vec<(String, Option<&'a [u8]>)> {
        let mut out = Vec::new();
        let mut headers = ptr::null_mut();
        // SAFETY: headers, names and values stay owned by the message.
        unsafe {
            let ok = sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            if sys::rd_kafka_message_headers(self.message, &mut headers) != ok {
                return out;
            }
            let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
            while sys::rd_kafka_header_get_all(headers, out.len(), &mut name, &mut value, &mut length) == ok {
                out.push((owned_text(name), bytes(value, length)));
            }
        }
        out
    }
}

/// A topic name for [`Queue::cached_end`].
pub fn topic_name(topic: &str) -> Result<CString> {
    CString::new(topic).map_err(|_| {
        HwError::new(
            crate::error::sqlstate::INVALID_PARAMETER_VALUE,
            "a topic name must not contain a zero byte",
        )
    })
}
