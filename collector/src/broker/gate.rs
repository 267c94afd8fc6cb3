//! Asks [`super::access`] in rmqtt's name: who comes in, who publishes, who subscribes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use pvewatch_protocol::Site;
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::hook::{Handler, HookManager, HookResult, Parameter, ReturnType, Type};
use rmqtt::types::{
    AuthResult, ConnectInfo, Id, LastWill, ListenerId, PublishAclResult, SubscribeAclResult,
};

use super::access::{Action, Denial, Verdict, decide, decide_client_id};
use super::front::Peers;
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
    tls: Option<TlsGate>,
    denials: AtomicU64,
}

/// How clients come in that came through TLS.
#[derive(Debug, Clone)]
pub(super) struct TlsGate {
    /// rmqtt's listener behind TLS.
    pub(super) listener: ListenerId,
    /// Who came through TLS.
    pub(super) peers: Peers,
    /// Whether a certificate takes the place of user name and password.
    pub(super) by_certificate: bool,
}

impl Gate {
    pub(super) fn new(site: Site, users: Users, anonymous: bool, tls: Option<TlsGate>) -> Self {
        let denials = AtomicU64::new(0);
        Self { rules: Arc::new(Rules { site, users, anonymous, tls, denials }) }
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
                HookResult::PublishAclResult(
                    match rules.judge(&session.id, Action::Publish, &message.topic) {
                        Verdict::Allowed => PublishAclResult::allow(),
                        // The client stays connected and learns it from its acknowledgement.
                        Verdict::Denied(denial) => {
                            PublishAclResult::rejected(false, Some(format!("{denial:?}").into()))
                        }
                    },
                )
            }
            Parameter::ClientSubscribeCheckAcl(session, subscription) => {
                let filter = &subscription.topic_filter;
                HookResult::SubscribeAclResult(
                    match rules.judge(&session.id, Action::Subscribe, filter) {
                        Verdict::Allowed => {
                            SubscribeAclResult::new_success(subscription.opts.qos(), None)
                        }
                        Verdict::Denied(_) => {
                            SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
                        }
                    },
                )
            }
            _ => return (true, None),
        };
        (false, Some(result))
    }
}

impl Rules {
    fn authenticate(&self, connect: &ConnectInfo) -> AuthResult {
        let id = connect.id();
        let Who { user, peer, certified } = match self.who(id) {
            Ok(who) => who,
            Err(why) => return self.refuse(None, id.remote_addr, AuthResult::NotAuthorized, why),
        };
        let Some(user) = user.as_deref() else {
            return self.refuse(None, peer, AuthResult::NotAuthorized, "no user name");
        };
        let password = connect.password().map(|password| password.as_ref());
        if !certified && !self.users.password_fits(user, password.unwrap_or_default()) {
            let why = "unknown user or wrong password";
            return self.refuse(Some(user), peer, AuthResult::BadUsernameOrPassword, why);
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

    fn judge(&self, id: &Id, action: Action, topic: &str) -> Verdict {
        let user = self.who(id).ok().and_then(|who| who.user);
        let verdict = match user.as_deref() {
            None if self.anonymous && !self.is_behind_tls(id) => Verdict::Allowed,
            None => Verdict::Denied(Denial::Unknown),
            Some(user) => decide(&self.site, self.users.role(user), user, action, topic),
        };
        if let Verdict::Denied(denial) = verdict {
            self.denials.fetch_add(1, Ordering::Relaxed);
            log::debug!("broker: user {user:?} may not {action:?} {topic:?}: {denial:?}");
        }
        verdict
    }

    /// Whose connection this is: with a certificate the name in it, whatever the client claims.
    fn who(&self, id: &Id) -> Result<Who, &'static str> {
        let claimed = || id.username.as_deref().filter(|user| !user.is_empty()).map(Arc::from);
        let Some(tls) = self.tls.as_ref().filter(|tls| tls.listener == id.lid) else {
            return Ok(Who { user: claimed(), peer: id.remote_addr, certified: false });
        };
        let found = id.remote_addr.and_then(|inner| tls.peers.find(inner));
        let peer = found.ok_or("it did not come through TLS")?;
        let address = Some(peer.address);
        if !tls.by_certificate {
            return Ok(Who { user: claimed(), peer: address, certified: false });
        }
        let name = peer.certified.ok_or("its certificate has no common name, or several")?;
        Ok(Who { user: Some(name), peer: address, certified: true })
    }

    fn is_behind_tls(&self, id: &Id) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.listener == id.lid)
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

/// Whose connection one is.
struct Who {
    user: Option<Arc<str>>,
    /// Where it comes from.
    peer: Option<SocketAddr>,
    /// Whether a certificate proves the name.
    certified: bool,
}

fn will_topic(connect: &ConnectInfo) -> Option<&str> {
    // The enum borrows from the connection's packet, so its topic outlives this function.
    match (connect, connect.last_will()?) {
        (ConnectInfo::V3(..), LastWill::V3(will)) => Some(&will.topic),
        (ConnectInfo::V5(..), LastWill::V5(will)) => Some(&will.topic),
        _ => None,
    }
}
