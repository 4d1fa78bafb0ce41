//! Options of a mount as `mount -o` and /etc/fstab write them. It knows no command.

use super::Failure;
use crate::config::Access;
use crate::source::nearest::nearest;

/// Options that concern other programs, or ask for what is so anyway. `rw` is one: fstab has it by default, and the mount stays read-only.
const WITHOUT_EFFECT: [&str; 39] = [
    "defaults",
    "ro",
    "rw",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "_netdev",
    "nofail",
    "exec",
    "noexec",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "atime",
    "noatime",
    "relatime",
    "async",
    "default_permissions",
    "diratime",
    "nodiratime",
    "strictatime",
    "nostrictatime",
    "norelatime",
    "lazytime",
    "nolazytime",
    "sync",
    "dirsync",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "nosymfollow",
];

/// The options that have an effect, for messages.
const WITH_EFFECT: [&str; 2] = ["allow_other", "allow_root"];

/// Who may look into the folder, as the options say; `None` if they do not.
///
/// # Errors
/// `Usage` for an option that nobody knows.
pub(super) fn access(options: &[String]) -> Result<Option<Access>, Failure> {
    let mut access = None;
    for option in options {
        match option.as_str() {
            "allow_other" => access = Some(Access::Everyone),
            "allow_root" => access = access.or(Some(Access::Root)),
            known if WITHOUT_EFFECT.contains(&known) || known.is_empty() => {}
            // Of systemd (`x-systemd.automount`) and other programs (`comment=`).
            others if ["x-", "X-", "comment=", "user="].iter().any(|start| others.starts_with(start)) => {}
            unknown => return Err(Failure::Usage(refusal(unknown))),
        }
    }
    Ok(access)
}

fn refusal(option: &str) -> String {
    let near =
        nearest(option, WITH_EFFECT.into_iter().chain(WITHOUT_EFFECT)).map(|near| format!("did you mean `{near}`? "));
    format!(
        "unknown option `{}` after -o; {}those with an effect are {}",
        option.escape_debug(),
        near.unwrap_or_default(),
        WITH_EFFECT.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access_of(options: &str) -> Result<Option<Access>, Failure> {
        access(&options.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_other_programs_read_has_no_effect() {
        assert_eq!(access_of("rw,_netdev,nofail,x-systemd.automount,comment=x").expect("known"), None);
        assert_eq!(access_of("").expect("none"), None);
    }

    #[test]
    fn others_are_let_in() {
        assert_eq!(access_of("allow_other,ro,allow_root").expect("known"), Some(Access::Everyone));
        assert_eq!(access_of("allow_root").expect("known"), Some(Access::Root));
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_nearest() {
        let Err(Failure::Usage(why)) = access_of("allow_others") else { panic!("it is not known") };
        assert!(why.contains("did you mean `allow_other`?"), "{why}");
    }
}
