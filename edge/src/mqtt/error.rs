//! Why a connection could not be made, and why one ended.
//!
//! Each message names the address, the cause, and what to do; rumqttc's own errors, which are
//! nested four deep, are understood here and nowhere else.

use std::io;
use std::time::Duration;

use rumqttc::v5::mqttbytes;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode};
use rumqttc::v5::{ConnectionError, StateError, TlsError};
use rustls::{AlertDescription, CertificateError};

use super::broker::Broker;
use super::url::BrokerUrl;

/// Why an attempt to connect failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The host answers that nothing listens on the port.
    #[error("{url}: nothing listens there: start the broker, or correct [broker] url")]
    Refused {
        /// The address.
        url: BrokerUrl,
    },
    /// The host's name has no address.
    #[error("{url}: the host cannot be found ({cause}): correct [broker] url, or the name service")]
    Unresolved {
        /// The address.
        url: BrokerUrl,
        /// The cause.
        cause: String,
    },
    /// There is no way to the host.
    #[error("{url}: cannot be reached: {cause}")]
    Unreachable {
        /// The address.
        url: BrokerUrl,
        /// The cause.
        cause: String,
    },
    /// Nobody answered in time.
    #[error(
        "{url}: no answer within {limit:?}: a firewall may drop the packets, or what listens \
         there is not an MQTT broker"
    )]
    Timeout {
        /// The address.
        url: BrokerUrl,
        /// How long the attempt took.
        limit: Duration,
    },
    /// The other side closed the connection instead of answering.
    #[error("{url}: closed the connection without an answer: {hint}")]
    Closed {
        /// The address.
        url: BrokerUrl,
        /// What may be wrong.
        hint: String,
    },
    /// What answers is not a broker.
    #[error(
        "{url}: the answer is not MQTT 5 ({cause}): correct the port, or write mqtts:// for a \
         port with TLS"
    )]
    NotMqtt {
        /// The address.
        url: BrokerUrl,
        /// The cause.
        cause: String,
    },
    /// What answers does not speak TLS.
    #[error("{url}: the answer is not TLS: write mqtt:// for a port without TLS")]
    NotTls {
        /// The address.
        url: BrokerUrl,
    },
    /// The broker's certificate comes from somebody who is not trusted.
    #[error(
        "{url}: the broker's certificate is not signed by a CA in {trust}: set [broker] ca to \
         the CA that signed it"
    )]
    UnknownCa {
        /// The address.
        url: BrokerUrl,
        /// The CA certificates that are trusted.
        trust: String,
    },
    /// The broker's certificate was valid once.
    #[error("{url}: the broker's certificate has expired: renew it, or set this machine's clock")]
    CertificateExpired {
        /// The address.
        url: BrokerUrl,
    },
    /// The broker's certificate is not valid yet.
    #[error("{url}: the broker's certificate is not valid yet: set this machine's clock")]
    CertificateNotYetValid {
        /// The address.
        url: BrokerUrl,
    },
    /// The broker's certificate is for other names.
    #[error(
        "{url}: the broker's certificate is for {presented}: use such a name in [broker] url, \
         or issue a certificate for this one"
    )]
    NameMismatch {
        /// The address.
        url: BrokerUrl,
        /// The names in the certificate.
        presented: String,
    },
    /// The broker wants a certificate and has not got one.
    #[error("{url}: the broker asks for a client certificate: set [broker] cert and key")]
    ClientCertificateRequired {
        /// The address.
        url: BrokerUrl,
    },
    /// The broker does not accept this client's certificate.
    #[error(
        "{url}: the broker does not accept the certificate in [broker] cert ({cause}): it must \
         be valid and signed by the CA that the broker trusts"
    )]
    ClientCertificateRefused {
        /// The address.
        url: BrokerUrl,
        /// What the broker said.
        cause: String,
    },
    /// TLS failed in another way.
    #[error("{url}: TLS failed: {cause}")]
    Tls {
        /// The address.
        url: BrokerUrl,
        /// The cause.
        cause: String,
    },
    /// The broker does not know the user, or the password is wrong.
    #[error("{url}: {who}: user name or password is wrong: {advice}")]
    BadUserNameOrPassword {
        /// The address.
        url: BrokerUrl,
        /// Who was turned away.
        who: String,
        /// What to do.
        advice: &'static str,
    },
    /// The broker does not let this client in.
    #[error("{url}: {who}: not authorised: {advice}")]
    NotAuthorized {
        /// The address.
        url: BrokerUrl,
        /// Who was turned away.
        who: String,
        /// What to do.
        advice: &'static str,
    },
    /// The broker turned the client away for another reason.
    #[error("{url}: the broker refuses the connection: {reason}")]
    Rejected {
        /// The address.
        url: BrokerUrl,
        /// The reason that the broker gave.
        reason: String,
    },
    /// The broker lacks what pvewatch needs.
    #[error("{url}: the broker does not allow {feature}, which pvewatch needs: enable it there")]
    Unsuitable {
        /// The address.
        url: BrokerUrl,
        /// What it does not allow.
        feature: &'static str,
    },
}

impl ConnectError {
    /// One word for metrics and for telling repeated failures from new ones.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Unresolved { .. } => "unresolved",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Closed { .. } => "closed",
            Self::NotMqtt { .. } => "not_mqtt",
            Self::NotTls { .. } => "not_tls",
            Self::UnknownCa { .. } => "unknown_ca",
            Self::CertificateExpired { .. } => "certificate_expired",
            Self::CertificateNotYetValid { .. } => "certificate_not_yet_valid",
            Self::NameMismatch { .. } => "name_mismatch",
            Self::ClientCertificateRequired { .. } => "client_certificate_required",
            Self::ClientCertificateRefused { .. } => "client_certificate_refused",
            Self::Tls { .. } => "tls",
            Self::BadUserNameOrPassword { .. } => "bad_user_name_or_password",
            Self::NotAuthorized { .. } => "not_authorized",
            Self::Rejected { .. } => "rejected",
            Self::Unsuitable { .. } => "unsuitable",
        }
    }

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

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionLost {
    /// The network or the broker's process ended it.
    #[error("the connection to the broker was lost: {cause}")]
    Broken {
        /// The cause.
        cause: String,
    },
    /// Another client connected with the same client identifier.
    #[error(
        "another client took over with the same client identifier: two programs run under one \
         name"
    )]
    TakenOver,
    /// The broker is being stopped or restarted.
    #[error("the broker is shutting down")]
    ShuttingDown,
    /// The broker said goodbye for another reason.
    #[error("the broker ended the connection: {reason}")]
    Disconnected {
        /// The reason that the broker gave.
        reason: String,
    },
    /// A message or subscription got no answer.
    #[error("the broker acknowledged nothing for {limit:?}")]
    NotAcknowledged {
        /// How long it was given.
        limit: Duration,
    },
    /// Nothing came in, not even an answer to a ping.
    #[error("nothing was heard from the broker for {limit:?}")]
    Silent {
        /// How long it was given.
        limit: Duration,
    },
    /// The broker broke the protocol.
    #[error("the broker broke the protocol: {cause}")]
    Protocol {
        /// The cause.
        cause: String,
    },
    /// This side closed it.
    #[error("the connection was closed")]
    Closed,
}

impl ConnectionLost {
    /// One word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "broken",
            Self::TakenOver => "taken_over",
            Self::ShuttingDown => "shutting_down",
            Self::Disconnected { .. } => "disconnected",
            Self::NotAcknowledged { .. } => "not_acknowledged",
            Self::Silent { .. } => "silent",
            Self::Protocol { .. } => "protocol",
            Self::Closed => "closed",
        }
    }

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
