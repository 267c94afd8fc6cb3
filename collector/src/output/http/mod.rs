//! How people and Prometheus see the collector: `/`, `/api/v1/*`, `/metrics`, `/healthz`,
//! `/readyz`.
//!
//! Promises: nothing here changes the collector; every answer has a bound; whatever comes from a
//! node is escaped. Absent: users and passwords. It listens on loopback unless told otherwise,
//! and belongs behind a proxy where others can reach it.

pub mod api;
mod condition;
mod delivery;
mod error;
mod limit;
pub mod metrics;
pub mod page;
mod picture;
mod routes;
mod words;

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;

use crate::run::Queries;

pub use condition::Condition;
pub use delivery::{
    outbox as outbox_words, summary as delivery_summary, troubles as delivery_troubles,
};
pub use picture::{Picture, Readiness};
pub use routes::router;
pub use words::{Tone, ago};

/// Connections at a time; more wait in the kernel's queue. A browser holds up to six.
const CONNECTIONS_MAX: usize = 256;

/// How long answers that are under way may take once the collector stops.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Answers requests until `stop` is ready, then finishes those that are under way.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    queries: Queries,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (stopped_in, stopped) = tokio::sync::oneshot::channel();
    let stop = async move {
        stop.await;
        // Nobody listens any more if the server failed.
        let _ = stopped_in.send(());
    };
    let limited = limit::Limited::new(listener, CONNECTIONS_MAX);
    let server = axum::serve(limited, router(queries)).with_graceful_shutdown(stop);
    tokio::select! {
        ended = server => ended,
        // Browsers keep idle connections open; they are not waited for.
        () = async {
            let _ = stopped.await;
            tokio::time::sleep(DRAIN_MAX).await;
        } => Ok(()),
    }
}
