//! What rumqttc's errors mean: they are nested four deep, and understood here and nowhere else.

use std::io;
use std::time::Duration;

use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rustls::{AlertDescription, CertificateError};

use super::broker::Broker;
use super::error::{ConnectError, ConnectionLost};
use super::url::BrokerUrl;

impl ConnectError {
    /// What rumqttc's error means for an attempt to reach `url`.
    pub(super) fn understand(broker: &Broker, url: &BrokerUrl, error: &ConnectionError) -> Self {
        let url = url.clone();
        if let ConnectionError::ConnectionRefused(code) = error {
            return refusal(broker, url, *code);
        }
        if let Some(error) = tls_cause(error) {
            return tls_failure(broker, url, error);
        }
        if let Some(error) = io_cause(error) {
            return io_failure(broker, url, error);
        }
        match error {
            ConnectionError::MqttState(StateError::ConnectionAborted) => {
                Self::Closed { hint: closed_hint(broker, &url), url }
            }
            ConnectionError::Tls(error) => Self::Tls { url, cause: error.to_string() },
            error => Self::NotMqtt { url, cause: error.to_string() },
        }
    }
}

impl ConnectionLost {
    /// What rumqttc's error means for a connection that was up; `ping_limit` is how long an
    /// answer to a ping may take.
    pub(super) fn understand(error: &ConnectionError, ping_limit: Duration) -> Self {
        if let ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code,
            reason_string,
        }) = error
        {
            return match reason_code {
                DisconnectReasonCode::SessionTakenOver => Self::TakenOver,
                DisconnectReasonCode::ServerShuttingDown => Self::ShuttingDown,
                code => Self::Disconnected {
                    reason: match reason_string {
                        Some(text) => format!("{code:?} ({text})"),
                        None => format!("{code:?}"),
                    },
                },
            };
        }
        if let ConnectionError::MqttState(StateError::AwaitPingResp) = error {
            return Self::Silent { limit: ping_limit };
        }
        if let ConnectionError::MqttState(StateError::ConnectionAborted) = error {
            // Mosquitto says no more than this to a client that another one replaces.
            return Self::Broken {
                cause: "the broker closed it without a reason; it was stopped, or another client \
                        connected with the same client identifier"
                    .to_owned(),
            };
        }
        match io_cause(error) {
            Some(error) => Self::Broken { cause: error.to_string() },
            None => Self::Protocol { cause: error.to_string() },
        }
    }
}

fn refusal(broker: &Broker, url: BrokerUrl, code: ConnectReturnCode) -> ConnectError {
    let has_certificate = broker.tls.as_ref().is_some_and(|tls| tls.has_certificate);
    let (who, advice) = match (broker.username(), has_certificate) {
        (Some(user), _) => (
            format!("user {user:?}"),
            "check [broker] username and password_file, and the broker's users",
        ),
        (None, true) => (
            "the client certificate's user".to_owned(),
            "check [broker] cert, and the users that the broker knows",
        ),
        (None, false) => (
            "nobody".to_owned(),
            "the broker wants a user: set [broker] username and password_file",
        ),
    };
    match code {
        ConnectReturnCode::BadUserNamePassword => {
            ConnectError::BadUserNameOrPassword { url, who, advice }
        }
        ConnectReturnCode::NotAuthorized => ConnectError::NotAuthorized { url, who, advice },
        code => ConnectError::Rejected { url, reason: format!("{code:?}") },
    }
}

fn tls_failure(broker: &Broker, url: BrokerUrl, error: &rustls::Error) -> ConnectError {
    let trust = || broker.tls.as_ref().map(|tls| tls.trust.clone()).unwrap_or_default();
    let has_certificate = broker.tls.as_ref().is_some_and(|tls| tls.has_certificate);
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                ConnectError::UnknownCa { url, trust: trust() }
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                ConnectError::CertificateExpired { url }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                ConnectError::CertificateNotYetValid { url }
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                ConnectError::NameMismatch { url, presented: names(presented) }
            }
            CertificateError::NotValidForName => {
                ConnectError::NameMismatch { url, presented: names(&[]) }
            }
            error => ConnectError::Tls {
                url,
                cause: format!("the broker's certificate cannot be used: {error}"),
            },
        },
        rustls::Error::InvalidMessage(_) => ConnectError::NotTls { url },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                ConnectError::ClientCertificateRequired { url }
            }
            // TLS 1.2 has no alert of its own for a missing certificate.
            AlertDescription::HandshakeFailure if !has_certificate => {
                ConnectError::ClientCertificateRequired { url }
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
                if has_certificate =>
            {
                ConnectError::ClientCertificateRefused { url, cause: format!("{alert:?}") }
            }
            alert => ConnectError::Tls { url, cause: format!("the broker says {alert:?}") },
        },
        error => ConnectError::Tls { url, cause: error.to_string() },
    }
}

fn io_failure(broker: &Broker, url: BrokerUrl, error: &io::Error) -> ConnectError {
    use io::ErrorKind::{
        AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset,
        HostUnreachable, NetworkUnreachable, TimedOut, UnexpectedEof,
    };
    let cause = error.to_string();
    match error.kind() {
        ConnectionRefused => ConnectError::Refused { url },
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof => {
            ConnectError::Closed { hint: closed_hint(broker, &url), url }
        }
        HostUnreachable | NetworkUnreachable | AddrNotAvailable | TimedOut => {
            ConnectError::Unreachable { url, cause }
        }
        // The name service's errors have no kind of their own.
        _ if cause.contains("lookup") || cause.contains("resolve") => {
            ConnectError::Unresolved { url, cause }
        }
        _ => ConnectError::Unreachable { url, cause },
    }
}

fn closed_hint(broker: &Broker, url: &BrokerUrl) -> String {
    match &broker.tls {
        Some(tls) if url.tls() && tls.has_certificate => {
            "it may not accept the certificate in [broker] cert, or the port may be without TLS"
        }
        Some(_) if url.tls() => {
            "it may ask for a client certificate (set [broker] cert and key), or the port may be \
             without TLS (write mqtt://)"
        }
        _ => "the port may be one with TLS (write mqtts://), or not an MQTT 5 broker's",
    }
    .to_owned()
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() { "other names".to_owned() } else { presented.join(", ") }
}

/// The error of the TLS library inside rumqttc's, if that is what failed.
fn tls_cause(error: &ConnectionError) -> Option<&rustls::Error> {
    if let ConnectionError::Tls(TlsError::TLS(error)) = error {
        return Some(error);
    }
    io_cause(error)?.get_ref()?.downcast_ref()
}

/// The operating system's error inside rumqttc's, if that is what failed.
fn io_cause(error: &ConnectionError) -> Option<&io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::Tls(TlsError::Io(error))
        | ConnectionError::MqttState(
            StateError::Io(error) | StateError::Deserialization(mqttbytes::Error::Io(error)),
        ) => Some(error),
        _ => None,
    }
}
