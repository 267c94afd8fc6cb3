//! Which path is answered by what. The answers themselves are made by plain functions elsewhere.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Path, Query, Request, State};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;

use super::api::{
    AlertDetails, AlertsAnswer, AlertsQuery, BackupsAnswer, BackupsQuery, DriftAnswer, DriftQuery,
    EventsAnswer, EventsQuery, GuestsAnswer, GuestsQuery, NodesAnswer, NodesQuery, RulesAnswer,
    StatusAnswer, StoragesAnswer, StoragesQuery, find_alert,
};
use super::error::ApiError;
use super::metrics::{self, Format};
use super::page::{self, assets};
use super::picture::{Picture, Readiness};
use crate::run::Queries;
use crate::standards::Reloader;

/// What a request must carry that changes anything.
pub const COMMAND_HEADER: &str = "x-pvewatch-command";

/// How long the collector may take to say what it knows: a batch that is being stored is waited
/// for, a collector that rebuilds itself from its store is not.
const SNAPSHOT_MAX: Duration = Duration::from_secs(8);

/// Nothing may be loaded from elsewhere, no script or style stands in the page itself, and no
/// other page may show this one in a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What requests are answered from, and what they can ask to be done.
#[derive(Debug, Clone)]
pub struct Served {
    /// What the collector knows.
    pub queries: Queries,
    /// Reads rules and policies anew; none if nothing of that can be asked for.
    pub reloader: Option<Reloader>,
}

impl FromRef<Served> for Queries {
    fn from_ref(served: &Served) -> Self {
        served.queries.clone()
    }
}

impl FromRef<Served> for Option<Reloader> {
    fn from_ref(served: &Served) -> Self {
        served.reloader.clone()
    }
}

/// All paths.
pub fn router(served: Served) -> Router {
    let page = Router::new()
        .route("/", get(show_page))
        .route("/now", get(show_now))
        .route("/assets/page.css", get(|| async { assets::STYLE }))
        .route("/assets/page.js", get(|| async { assets::SCRIPT }))
        .route("/assets/icon.svg", get(|| async { assets::ICON }))
        .route("/guide/backup-restore", get(|| async { assets::RESTORE_GUIDE }))
        .route("/guide/drift", get(|| async { assets::DRIFT_GUIDE }));
    let api = Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/alerts/{id}", get(alert))
        .route("/api/v1/backups", get(backups))
        .route("/api/v1/guests", get(guests))
        .route("/api/v1/storages", get(storages))
        .route("/api/v1/drift", get(drift))
        .route("/api/v1/events", get(events))
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/rules/reload", post(reload));
    Router::new()
        .merge(page)
        .merge(api)
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn(add_headers))
        .with_state(served)
}

async fn show_page(State(queries): State<Queries>) -> Result<Html<String>, ApiError> {
    Ok(Html(page::render(&page_input(&queries).await?, page::Part::Whole)))
}

/// The part of the page that changes, for the script to put in place.
async fn show_now(State(queries): State<Queries>) -> Result<Html<String>, ApiError> {
    Ok(Html(page::render(&page_input(&queries).await?, page::Part::Live)))
}

async fn page_input(queries: &Queries) -> Result<page::Input, ApiError> {
    let picture = look(queries).await?;
    let events = queries.events(page::events_wanted()).await?;
    Ok(page::Input { picture, events })
}

async fn show_metrics(
    State(queries): State<Queries>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let picture = look(&queries).await?;
    let format = Format::negotiate(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()));
    let text = work(move || metrics::render(&picture, format)).await?;
    Ok(([(CONTENT_TYPE, format.content_type())], text).into_response())
}

async fn status(State(queries): State<Queries>) -> Result<Response, ApiError> {
    let picture = look(&queries).await?;
    answer(move || Ok(StatusAnswer::of(&picture))).await
}

async fn nodes(
    State(queries): State<Queries>,
    query: Result<Query<NodesQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (query, picture) = (parameters(query)?, look(&queries).await?);
    answer(move || NodesAnswer::of(&picture, &query)).await
}

async fn alerts(
    State(queries): State<Queries>,
    query: Result<Query<AlertsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (query, picture) = (parameters(query)?, look(&queries).await?);
    answer(move || AlertsAnswer::of(&picture, &query)).await
}

async fn alert(
    State(queries): State<Queries>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let picture = look(&queries).await?;
    let fingerprint = find_alert(&picture, &id)?;
    let steps = queries.steps_of(fingerprint).await?;
    answer(move || AlertDetails::of(&picture, fingerprint, &steps)).await
}

async fn guests(
    State(queries): State<Queries>,
    query: Result<Query<GuestsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (query, picture) = (parameters(query)?, look(&queries).await?);
    answer(move || GuestsAnswer::of(&picture, &query)).await
}

async fn backups(
    State(queries): State<Queries>,
    query: Result<Query<BackupsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (query, picture) = (parameters(query)?, look(&queries).await?);
    answer(move || BackupsAnswer::of(&picture, &query)).await
}

async fn storages(
    State(queries): State<Queries>,
    query: Result<Query<StoragesQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (query, picture) = (parameters(query)?, look(&queries).await?);
    answer(move || StoragesAnswer::of(&picture, &query)).await
}

async fn drift(
    State(queries): State<Queries>,
    query: Result<Query<DriftQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (query, picture) = (parameters(query)?, look(&queries).await?);
    answer(move || DriftAnswer::of(&picture, &query)).await
}

async fn events(
    State(queries): State<Queries>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let query = parameters(query)?;
    let rows = queries.events(query.filter()?).await?;
    let site = look(&queries).await?.snapshot.site.clone();
    answer(move || EventsAnswer::of(&site, &query, rows)).await
}

async fn rules(State(queries): State<Queries>) -> Result<Response, ApiError> {
    let picture = look(&queries).await?;
    answer(move || Ok(RulesAnswer::of(&picture))).await
}

async fn readyz(State(queries): State<Queries>) -> (StatusCode, String) {
    let readiness = Readiness::of(&queries);
    let status = match readiness {
        Readiness::Ready => StatusCode::OK,
        Readiness::StoreFails | Readiness::NotConnected | Readiness::CatchingUp => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    (status, format!("{}\n", readiness.words()))
}

async fn not_found(request: Request) -> ApiError {
    ApiError::not_found(format!(
        "{} is not here: there are /, /api/v1/status, /api/v1/nodes, /api/v1/alerts, \
         /api/v1/guests, /api/v1/backups, /api/v1/storages, /api/v1/drift, /api/v1/events, \
         /api/v1/rules, /metrics, /healthz and /readyz",
        request.uri().path()
    ))
}

async fn method_not_allowed(request: Request) -> Response {
    let message = format!("{} is not possible here: use GET", request.method());
    let answer = ApiError::bad(message).into_response();
    (StatusCode::METHOD_NOT_ALLOWED, answer).into_response()
}

async fn add_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is true now may be wrong a second later; assets say otherwise themselves.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What is known now.
async fn look(queries: &Queries) -> Result<Picture, ApiError> {
    let snapshot = timeout(SNAPSHOT_MAX, queries.snapshot()).await.map_err(|_| {
        ApiError::unavailable("the collector is starting or rebuilds itself: try again soon")
    })?;
    Ok(Picture {
        snapshot,
        counters: queries.counters(),
        collector: queries.collector().clone(),
        channels: queries.channels(),
        store_trouble: queries.store_trouble(),
        now: wall_clock(),
    })
}

fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(query)| query).map_err(|rejection| ApiError::bad(rejection.body_text()))
}

/// Makes an answer of JSON where it does not keep others waiting.
async fn answer<T: Serialize + Send + 'static>(
    make: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    work(move || make().map(|answer| Json(answer).into_response())).await?
}

/// Reads rules and policies anew. The header keeps other sites' pages from asking for it: a browser
/// asks before it sends one, and is refused.
async fn reload(
    State(reloader): State<Option<Reloader>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !headers.contains_key(COMMAND_HEADER) {
        let message =
            format!("this changes something: send it with the header {COMMAND_HEADER}: 1");
        return Err(ApiError::forbidden(message));
    }
    let no_reloader = || ApiError::unavailable("this collector cannot read its rules anew");
    let reloaded = reloader.ok_or_else(no_reloader)?.reload().await;
    let reloaded = reloaded.map_err(|error| ApiError::bad(error.to_string()))?;
    Ok(Json(reloaded).into_response())
}

/// Runs what takes its time with a large site on a thread where that is no matter.
async fn work<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let stopping = |_| ApiError::unavailable("the collector is stopping");
    tokio::task::spawn_blocking(task).await.map_err(stopping)
}

#[expect(clippy::disallowed_methods, reason = "answers say when they were made")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
