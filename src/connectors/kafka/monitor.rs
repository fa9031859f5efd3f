//! Watches one topic beside the reader: new partitions, a topic that is gone, outages.
//!
//! Asking for metadata may take seconds, and the reader must not wait for it; so a thread
//! of its own asks every [`INTERVAL`], sooner when the reader reports trouble, and sends
//! what it learnt. It ends when the reader is dropped, at the latest after one answer.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::client::{TopicError, read_partitions};
use crate::error::{HwError, Result};

/// Between two looks at a healthy topic.
const INTERVAL: Duration = Duration::from_secs(10);
/// Between two looks while something is wrong.
const TROUBLE_INTERVAL: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What a look at the topic showed.
pub enum News {
    Partitions(Vec<i32>),
    Unreachable(String),
    /// The topic is gone or may not be read.
    Failed(HwError),
}

/// The reader's end of the watch.
pub struct Monitor {
    news: Receiver<News>,
    wake: Sender<()>,
}

impl Monitor {
    /// Looks at once, then in intervals.
    pub fn start(consumer: Arc<BaseConsumer>, topic: String) -> Result<Monitor> {
        let (news_sender, news) = bounded(1);
        let (wake, wake_receiver) = bounded(1);
        std::thread::Builder::new()
            .name("kafka-monitor".into())
            .spawn(move || watch(&consumer, &topic, &news_sender, &wake_receiver))?;
        Ok(Monitor { news, wake })
    }

    /// The newest news, if any, without waiting.
    pub fn news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }

    /// Asks for a look now.
    pub fn look(&self) {
        // A full channel means that a look is already asked for.
        let _ = self.wake.try_send(());
    }
}

fn watch(consumer: &BaseConsumer, topic: &str, news: &Sender<News>, wake: &Receiver<()>) {
    loop {
        let seen = look(consumer, topic);
        let pause = if matches!(seen, News::Partitions(_)) { INTERVAL } else { TROUBLE_INTERVAL };
        // Waits until the reader has taken the last news; a disconnect ends the watch.
        if news.send(seen).is_err() || matches!(wake.recv_timeout(pause), Err(RecvTimeoutError::Disconnected))
        {
            return;
        }
    }
}

fn look(consumer: &BaseConsumer, topic: &str) -> News {
    match consumer.fetch_metadata(Some(topic), ANSWER_MAX) {
        Ok(metadata) => match read_partitions(&metadata, topic) {
            Ok(partitions) => News::Partitions(partitions),
            Err(TopicError::Temporary(text)) => News::Unreachable(text),
            Err(TopicError::Final(e)) => News::Failed(e),
        },
        Err(e) => News::Unreachable(e.to_string()),
    }
}
