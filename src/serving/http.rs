//! The HTTP side of the server: `/healthz`, `/metrics` and a page that tells how to connect.
//!
//! Nothing here shows SQL text or data, so the port may be opened to a monitoring system.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::error::Result;
use crate::metrics::Metrics;

/// Tells whether the engine runs; otherwise why not.
pub type HealthCheck = Arc<dyn Fn() -> std::result::Result<(), String> + Send + Sync>;

/// What the pages are made of.
#[derive(Clone)]
pub struct HttpState {
    pub metrics: Arc<Metrics>,
    pub health: HealthCheck,
    pub pg_addr: SocketAddr,
}

/// Serves until `shutdown` completes, then finishes the requests under way.
pub async fn serve(
    listener: TcpListener,
    state: HttpState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let router = Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .with_state(state);
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

async fn index(State(state): State<HttpState>) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let connect = connect_line(state.pg_addr);
    format!("Headwater {version}\n\nConnect:  {connect}\nHealth:   /healthz\nMetrics:  /metrics\n")
}

async fn healthz(State(state): State<HttpState>) -> impl IntoResponse {
    match (state.health)() {
        Ok(()) => (StatusCode::OK, "ok\n".to_string()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics(State(state): State<HttpState>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

/// The shell command that connects to a server listening at `addr`.
pub fn connect_line(addr: SocketAddr) -> String {
    let host = if addr.ip().is_unspecified() { "127.0.0.1".to_string() } else { addr.ip().to_string() };
    format!("psql -h {host} -p {} -U headwater headwater", addr.port())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn fetch(addr: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn pages_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let healthy = Arc::new(AtomicBool::new(true));
        let health = healthy.clone();
        let state = HttpState {
            metrics: Arc::new(Metrics::new()),
            health: Arc::new(move || match health.load(Ordering::SeqCst) {
                true => Ok(()),
                false => Err("recovering".into()),
            }),
            pg_addr: "0.0.0.0:4577".parse().unwrap(),
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(serve(listener, state, async {
            let _ = stopped.await;
        }));
        assert!(fetch(addr, "/").await.contains("psql -h 127.0.0.1 -p 4577"));
        assert!(fetch(addr, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(fetch(addr, "/metrics").await.contains("headwater_epochs_published_total 0"));
        healthy.store(false, Ordering::SeqCst);
        let sick = fetch(addr, "/healthz").await;
        assert!(sick.starts_with("HTTP/1.1 503") && sick.contains("recovering"), "{sick}");
        assert!(fetch(addr, "/nothing").await.starts_with("HTTP/1.1 404"));
        stop.send(()).unwrap();
        server.await.unwrap().unwrap();
    }
}
