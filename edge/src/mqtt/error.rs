//! Why a connection could not be made, and why one ended.
//!
//! Each message names the address, the cause, and what to do. `diagnose` says which of them
//! rumqttc's own errors mean.

use std::time::Duration;

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
}
