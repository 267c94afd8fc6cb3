//! Asks [`super::access`] in rmqtt's name: who comes in, who publishes, who subscribes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pvewatch_protocol::Site;
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::hook::{Handler, HookManager, HookResult, Parameter, ReturnType, Type};
use rmqtt::types::{
    AuthResult, ConnectInfo, LastWill, ListenerId, PublishAclResult, SubscribeAclResult,
};

use super::access::{Action, Denial, Role, Verdict, decide, decide_client_id};
use super::users::Users;

/// The rules of one broker; clones share them.
#[derive(Clone)]
pub(super) struct Gate {
    rules: Arc<Rules>,
}

struct Rules {
    site: Site,
    users: Users,
    /// Whether clients without a user were let in; they may do all.
    anonymous: bool,
    /// The listener on which a certificate takes the password's place.
    certificate_listener: Option<ListenerId>,
    denials: AtomicU64,
}

impl Gate {
    pub(super) fn new(
        site: Site,
        users: Users,
        anonymous: bool,
        certificate_listener: Option<ListenerId>,
    ) -> Self {
        let denials = AtomicU64::new(0);
        Self { rules: Arc::new(Rules { site, users, anonymous, certificate_listener, denials }) }
    }

    /// Puts itself in the way of every client of this broker.
    pub(super) async fn register(&self, hooks: &dyn HookManager) {
        let register = hooks.register();
        for hook in
            [Type::ClientAuthenticate, Type::MessagePublishCheckAcl, Type::ClientSubscribeCheckAcl]
        {
            register.add(hook, Box::new(self.clone())).await;
        }
        register.start().await;
    }

    /// How many connections, messages and subscriptions were refused so far.
    pub(super) fn denials(&self) -> u64 {
        self.rules.denials.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Handler for Gate {
    async fn hook(&self, parameter: &Parameter, _: Option<HookResult>) -> ReturnType {
        let rules = &self.rules;
        let result = match parameter {
            Parameter::ClientAuthenticate(connect) => {
                HookResult::AuthResult(rules.authenticate(connect))
            }
            Parameter::MessagePublishCheckAcl(session, message) => {
                let user = session.id.username.as_deref();
                HookResult::PublishAclResult(
                    match rules.judge(user, Action::Publish, &message.topic) {
                        Verdict::Allowed => PublishAclResult::allow(),
                        // The client stays connected and learns it from its acknowledgement.
                        Verdict::Denied(denial) => {
                            PublishAclResult::rejected(false, Some(format!("{denial:?}").into()))
                        }
                    },
                )
            }
            Parameter::ClientSubscribeCheckAcl(session, subscription) => {
                let user = session.id.username.as_deref();
                let filter = &subscription.topic_filter;
                HookResult::SubscribeAclResult(match rules.judge(user, Action::Subscribe, filter) {
                    Verdict::Allowed => {
                        SubscribeAclResult::new_success(subscription.opts.qos(), None)
                    }
                    Verdict::Denied(_) => {
                        SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
                    }
                })
            }
            _ => return (true, None),
        };
        (false, Some(result))
    }
}

impl Rules {
    fn authenticate(&self, connect: &ConnectInfo) -> AuthResult {
        let id = connect.id();
        let peer = id.remote_addr;
        let Some(user) = connect.username().filter(|user| !user.is_empty()) else {
            return self.refuse(None, peer, AuthResult::NotAuthorized, "no user name");
        };
        if self.certificate_listener == Some(id.lid) {
            // rmqtt has put the certificate's CN in the place of the name that the client
            // claims, unless the certificate has none.
            let certified = connect.cert().and_then(|cert| cert.common_name.as_deref());
            if certified != Some(user) {
                let why = "the certificate has no common name";
                return self.refuse(Some(user), peer, AuthResult::NotAuthorized, why);
            }
        } else {
            let password = connect.password().map(|password| password.as_ref());
            if !self.users.password_fits(user, password.unwrap_or_default()) {
                let why = "unknown user or wrong password";
                return self.refuse(Some(user), peer, AuthResult::BadUsernameOrPassword, why);
            }
        }
        let role = self.users.role(user);
        let mut verdict = decide_client_id(&self.site, role, user, &id.client_id);
        if verdict == Verdict::Allowed
            && let Some(topic) = will_topic(connect)
        {
            verdict = decide(&self.site, role, user, Action::Publish, topic);
        }
        match verdict {
            Verdict::Allowed => AuthResult::Allow(false, None),
            Verdict::Denied(denial) => {
                self.refuse(Some(user), peer, AuthResult::NotAuthorized, &format!("{denial:?}"))
            }
        }
    }

    fn judge(&self, user: Option<&str>, action: Action, topic: &str) -> Verdict {
        let verdict = match user {
            None if self.anonymous => Verdict::Allowed,
            None => Verdict::Denied(Denial::NotANodeName),
            Some(user) => decide(&self.site, self.role(user), user, action, topic),
        };
        if let Verdict::Denied(denial) = verdict {
            self.denials.fetch_add(1, Ordering::Relaxed);
            log::debug!("broker: user {user:?} may not {action:?} {topic:?}: {denial:?}");
        }
        verdict
    }

    fn role(&self, user: &str) -> Role {
        self.users.role(user)
    }

    fn refuse(
        &self,
        user: Option<&str>,
        peer: Option<SocketAddr>,
        result: AuthResult,
        why: &str,
    ) -> AuthResult {
        self.denials.fetch_add(1, Ordering::Relaxed);
        let peer = peer.map_or_else(|| "?".to_owned(), |peer| peer.to_string());
        log::info!("broker: user {user:?} at {peer} is not let in: {why}");
        result
    }
}

fn will_topic(connect: &ConnectInfo) -> Option<&str> {
    // The enum borrows from the connection's packet, so its topic outlives this function.
    match (connect, connect.last_will()?) {
        (ConnectInfo::V3(..), LastWill::V3(will)) => Some(&will.topic),
        (ConnectInfo::V5(..), LastWill::V5(will)) => Some(&will.topic),
        _ => None,
    }
}
