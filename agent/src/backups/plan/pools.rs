//! Pools of guests, as `user.cfg` has them: `pool:<name>:<comment>:<guests>:<storages>:`.

use std::collections::BTreeMap;

use pvewatch_protocol::Vmid;

use super::sections::items;

/// Each pool and its own members, without those of pools inside it.
pub fn pools(text: &str) -> BTreeMap<String, Vec<Vmid>> {
    let pools = text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == "pool").then_some(())?;
        let name = fields.next().filter(|name| !name.is_empty())?;
        let members = items(fields.nth(1).unwrap_or_default());
        Some((name.to_owned(), members.filter_map(|member| member.parse().ok()).collect()))
    });
    pools.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_members() {
        let text = "\
user:root@pam:1:0:::::::
group:admin:root@pam::
pool:prod:the good ones:100,101:nas:
pool:prod/web::102::
pool:empty:::
pool::::
";
        let pools = pools(text);
        let members = |name: &str| pools[name].iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(members("prod"), ["100", "101"]);
        assert_eq!(members("prod/web"), ["102"]);
        assert!(members("empty").is_empty());
        assert_eq!(pools.len(), 3);
    }
}
