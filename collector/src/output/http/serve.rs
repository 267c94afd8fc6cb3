//! Answers connections: so many at a time, each with a limit for what it asks, all ended in time.
//!
//! Promises: nobody keeps a place by saying nothing, or half of something. Absent: paths.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::routes::{Served, router};

/// Connections at a time; more wait in the kernel's queue. A browser holds up to six.
pub const CONNECTIONS_MAX: usize = 256;

/// How long a request's head may take, from the connection or from the answer before it. Longer
/// than the page's refresh; whoever asks less often connects again.
pub const HEAD_MAX: Duration = Duration::from_secs(10);

/// How long answers that are under way may take once the collector stops.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Answers requests until `stop` is ready, then finishes those that are under way.
pub async fn serve(listener: TcpListener, served: Served, stop: impl Future<Output = ()>) {
    let server = Server::new(router(served));
    let mut door = Door { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            // Those that have ended leave the set.
            Some(_) = connections.join_next() => {}
            (stream, place) = door.next() => {
                let answering = server.answer(stream);
                connections.spawn(async move {
                    answering.await;
                    drop(place);
                });
            }
        }
    }
    drop(door);
    // Browsers keep idle connections open; these are closed, and others waited for.
    if timeout(DRAIN_MAX, server.closing.shutdown()).await.is_err() {
        log::debug!("{} requests were not answered to their end", connections.len());
    }
}

/// Where connections come in, as long as there are places.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Door {
    /// The next connection and its place. Dropping the future loses neither.
    async fn next(&mut self) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, _) = Listener::accept(&mut self.listener).await;
        (stream, place)
    }
}

struct Server {
    router: Router,
    protocol: http1::Builder,
    closing: GracefulShutdown,
}

impl Server {
    fn new(router: Router) -> Self {
        let mut protocol = http1::Builder::new();
        protocol.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
        Self { router, protocol, closing: GracefulShutdown::new() }
    }

    /// Answers one connection until it ends.
    fn answer(&self, stream: TcpStream) -> impl Future<Output = ()> + use<> {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.protocol.serve_connection(TokioIo::new(stream), service);
        let connection = self.closing.watch(connection);
        async move {
            if let Err(error) = connection.await {
                log::debug!("http: {error}");
            }
        }
    }
}
