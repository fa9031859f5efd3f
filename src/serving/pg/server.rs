//! Accepts connections, admits them within limits, cancels and ends them.
//!
//! A connection is a task. It counts as a session from its startup packet on; the client
//! that is one too many is told so at once (53300). Cancel requests are always heard. At
//! shutdown clients get 57P01 and running statements are cancelled; what does not end within
//! the grace period is dropped.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::startup::{BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::api::{CancelFlag, SessionFactory, StartupParameters, TransactionStatus};
use super::connection::Connection;
use super::report;
use super::run::{Link, guard};
use super::startup::{Hello, authenticate, read_hello};
use super::transport::{MessageReader, MessageWriter};
use crate::error::{HwError, Result, sqlstate};

/// Becomes true (or loses its sender) when the server ends.
pub type ShutdownSignal = watch::Receiver<bool>;

/// Limits of the front end.
#[derive(Clone, Debug)]
pub struct PgLimits {
    /// Sessions at a time.
    pub connections_max: usize,
    /// Sockets at a time that have not sent their startup packet, or are being refused.
    pub handshakes_max: usize,
    /// Time for sending the startup packet.
    pub startup_timeout: Duration,
    /// Largest message of a client.
    pub message_bytes_max: usize,
    /// Prepared statements of one connection.
    pub prepared_statements_max: usize,
    /// Open portals of one connection.
    pub portals_max: usize,
    /// Notices that wait for a connection to send them.
    pub notices_max: usize,
    /// Time between the announcement of a shutdown and dropping connections.
    pub shutdown_grace: Duration,
}

impl Default for PgLimits {
    fn default() -> PgLimits {
        PgLimits {
            connections_max: 200,
            handshakes_max: 100,
            startup_timeout: Duration::from_secs(30),
            message_bytes_max: 64 * 1024 * 1024,
            prepared_statements_max: 10_000,
            portals_max: 1_000,
            notices_max: 64,
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

/// Completes when the server ends.
pub async fn stopped(signal: &mut ShutdownSignal) {
    drop(signal.wait_for(|stop| *stop).await);
}

/// 57P01, what clients hear at shutdown.
pub fn shutting_down() -> HwError {
    HwError::new(sqlstate::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// A session that can be cancelled by whoever knows its secret.
struct Cancellable {
    secret: Vec<u8>,
    flag: Arc<CancelFlag>,
}

/// Sessions by process number.
#[derive(Default)]
struct CancelRegistry {
    sessions: Mutex<HashMap<i32, Cancellable>>,
    last_pid: AtomicI32,
}

/// Removes a session from the registry when its connection ends.
struct Registration {
    registry: Arc<CancelRegistry>,
    pid: i32,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.sessions.lock().remove(&self.pid);
    }
}

impl CancelRegistry {
    fn next_pid(&self) -> i32 {
        self.last_pid.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & i32::MAX
    }

    fn register(self: &Arc<Self>, pid: i32, secret: &[u8], flag: Arc<CancelFlag>) -> Registration {
        self.sessions.lock().insert(pid, Cancellable { secret: secret.to_vec(), flag });
        Registration { registry: Arc::clone(self), pid }
    }

    /// A wrong number or secret is ignored.
    fn cancel(&self, pid: i32, secret: &[u8]) {
        if let Some(session) = self.sessions.lock().get(&pid) {
            let difference = session.secret.iter().zip(secret).fold(0, |sum, (a, b)| sum | (a ^ b));
            if difference == 0 && session.secret.len() == secret.len() {
                session.flag.cancel();
            }
        }
    }
}

/// Four bytes from the system's generator.
fn random_secret() -> Result<[u8; 4]> {
    let mut secret = [0; 4];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut secret))?;
    Ok(secret)
}

struct Server {
    factory: Arc<dyn SessionFactory>,
    limits: Arc<PgLimits>,
    registry: Arc<CancelRegistry>,
    sessions: Arc<Semaphore>,
    shutdown: ShutdownSignal,
}

/// Serves clients on `listener` until `shutdown`; returns when all connections have ended.
pub async fn serve(
    listener: TcpListener,
    factory: Arc<dyn SessionFactory>,
    limits: PgLimits,
    mut shutdown: ShutdownSignal,
) -> Result<()> {
    let grace = limits.shutdown_grace;
    let server = Arc::new(Server {
        factory,
        sessions: Arc::new(Semaphore::new(limits.connections_max)),
        registry: Arc::default(),
        shutdown: shutdown.clone(),
        limits: Arc::new(limits),
    });
    let sockets_max = server.limits.connections_max + server.limits.handshakes_max;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < sockets_max => match accepted {
                Ok((socket, _)) => drop(connections.spawn(Arc::clone(&server).connection(socket))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, drained).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections dropped at shutdown");
    }
    connections.shutdown().await;
    Ok(())
}

impl Server {
    async fn connection(self: Arc<Self>, mut socket: TcpStream) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let mut shutdown = self.shutdown.clone();
        let hello = tokio::select! {
            hello = tokio::time::timeout(self.limits.startup_timeout, read_hello(&mut socket)) => hello,
            () = stopped(&mut shutdown) => return,
        };
        match hello {
            Ok(Ok(Hello::Session { parameters, negotiation, rest })) => {
                self.session(socket, parameters, negotiation, rest).await;
            }
            Ok(Ok(Hello::Cancel { pid, secret })) => self.registry.cancel(pid, &secret),
            Ok(Err(error)) => refuse(&mut MessageWriter::new(socket.into_split().1), &error).await,
            Ok(Ok(Hello::Gone)) | Err(_) => {}
        }
    }

    async fn session(
        &self,
        socket: TcpStream,
        parameters: StartupParameters,
        negotiation: Option<NegotiateProtocolVersion>,
        rest: BytesMut,
    ) {
        let (read, write) = socket.into_split();
        let reader = MessageReader::new(read, rest, self.limits.message_bytes_max);
        let mut writer = MessageWriter::new(write);
        let Ok(_permit) = self.sessions.try_acquire() else {
            let error = HwError::new(sqlstate::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
            return refuse(&mut writer, &error).await;
        };
        let (send_notice, notices) = mpsc::channel(self.limits.notices_max);
        let pid = self.registry.next_pid();
        let opened = guard(|| self.factory.open(&parameters, pid, send_notice));
        let greeted = opened.and_then(|mut session| {
            if let Some(negotiation) = negotiation {
                writer.push(Backend::NegotiateProtocolVersion(negotiation))?;
            }
            authenticate(&parameters, &mut writer)?;
            let settings =
                self.factory.initial_parameters().into_iter().chain(session.take_parameter_changes());
            for (name, value) in settings {
                writer.push(Backend::ParameterStatus(ParameterStatus::new(name, value)))?;
            }
            let secret = random_secret()?;
            let key = SecretKey::I32(i32::from_be_bytes(secret));
            writer.push(Backend::BackendKeyData(BackendKeyData::new(pid, key)))?;
            writer.push(report::ready(TransactionStatus::Idle))?;
            Ok((session, secret))
        });
        let (session, secret) = match greeted {
            Ok(greeted) => greeted,
            Err(error) => return refuse(&mut writer, &error).await,
        };
        let cancel = session.cancel_flag();
        let _registration = self.registry.register(pid, &secret, Arc::clone(&cancel));
        if writer.flush().await.is_err() {
            return;
        }
        let link = Link { reader, writer, notices, shutdown: self.shutdown.clone(), cancel };
        Connection::new(session, link, Arc::clone(&self.limits)).run().await;
    }
}

/// Tells a client why it cannot have a session.
async fn refuse(writer: &mut MessageWriter, error: &HwError) {
    if writer.push(report::fatal(error)).is_ok() && writer.flush().await.is_err() {
        tracing::debug!("a refused client was gone before it was told");
    }
}
