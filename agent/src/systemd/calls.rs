//! systemd's manager on the bus, asked once and waited for.

use std::time::Duration;

use jiff::Timestamp;
use zbus::{Connection, Message, connection};

use super::signal;

/// systemd's name on the bus.
pub const SYSTEMD: &str = "org.freedesktop.systemd1";

/// Where its manager is.
pub const PATH: &str = "/org/freedesktop/systemd1";

/// The interface of everything that has properties.
pub const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connects to the given address, or to the system's bus.
///
/// # Errors
/// When the address is no address, or nobody answers there.
pub async fn connect(address: Option<&str>) -> zbus::Result<Connection> {
    let builder = match address {
        Some(address) => connection::Builder::address(address)?,
        None => connection::Builder::system()?,
    };
    builder.method_timeout(PATIENCE).build().await
}

/// Reads a text property of systemd's manager.
///
/// # Errors
/// When systemd does not answer.
pub async fn text(connection: &Connection, property: &str) -> zbus::Result<Option<String>> {
    Ok(signal::read_string_property(&get_property(connection, property).await?))
}

/// Reads a time of systemd's manager.
///
/// # Errors
/// When systemd does not answer.
pub async fn time(connection: &Connection, property: &str) -> zbus::Result<Option<Timestamp>> {
    Ok(signal::read_time_property(&get_property(connection, property).await?))
}

async fn get_property(connection: &Connection, property: &str) -> zbus::Result<Message> {
    let what = &(MANAGER, property);
    connection.call_method(Some(SYSTEMD), PATH, Some(PROPERTIES), "Get", what).await
}

/// The names of the units that have a job.
///
/// # Errors
/// When systemd does not answer.
pub async fn units_with_jobs(connection: &Connection) -> zbus::Result<Vec<String>> {
    let answer =
        connection.call_method(Some(SYSTEMD), PATH, Some(MANAGER), "ListJobs", &()).await?;
    Ok(signal::read_jobs(&answer))
}

/// A question to its manager.
///
/// # Errors
/// When it cannot be written.
pub fn manager_call<B>(member: &str, body: &B) -> zbus::Result<Message>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    call(PATH, MANAGER, member, body)
}

/// A question to systemd.
///
/// # Errors
/// When it cannot be written.
pub fn call<B>(path: &str, interface: &str, member: &str, body: &B) -> zbus::Result<Message>
where
    B: serde::Serialize + zbus::zvariant::DynamicType,
{
    Message::method_call(path, member)?.destination(SYSTEMD)?.interface(interface)?.build(body)
}
