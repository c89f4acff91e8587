//! The options that the agent takes from a configuration file.

use super::{Error, split_value};

/// What a file may set; `None` is what it does not mention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `tcp-established`.
    pub tcp_established: Option<bool>,
    /// `tcp-close`.
    pub tcp_close: Option<bool>,
    /// `skip-in-flight`.
    pub tcp_skip_in_flight: Option<bool>,
    /// `ext-unix-sk`, without a list of inodes.
    pub ext_unix_sk: Option<bool>,
    /// `file-locks`.
    pub file_locks: Option<bool>,
    /// `link-remap`.
    pub link_remap: Option<bool>,
    /// `ghost-limit`, bytes.
    pub ghost_limit: Option<u32>,
    /// `network-lock`.
    pub network_lock: Option<LockMethod>,
    /// `manage-cgroups`.
    pub manage_cgroups: Option<CgroupsMode>,
}

/// CRIU's values of `network-lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMethod {
    /// `iptables`
    Iptables,
    /// `nftables`
    Nftables,
    /// `skip`
    Skip,
}

/// CRIU's values of `manage-cgroups`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupsMode {
    /// `none`
    None,
    /// `props`
    Props,
    /// `soft`, also when there is no value.
    Soft,
    /// `full`
    Full,
    /// `strict`
    Strict,
    /// `ignore`
    Ignore,
}

pub(super) fn from_options(options: &[(String, Option<String>)]) -> Result<Allowed, Error> {
    let mut allowed = Allowed::default();
    for (name, value) in options {
        let (name, value) = split_value(name, value.as_deref());
        take(&mut allowed, name, value)?;
    }
    Ok(allowed)
}

fn take(allowed: &mut Allowed, name: &str, value: Option<&str>) -> Result<(), Error> {
    let invalid = || Error::Value {
        name: name.to_owned(),
        value: value.unwrap_or_default().to_owned(),
    };
    match name {
        "ghost-limit" => {
            allowed.ghost_limit = Some(value.and_then(size).ok_or_else(invalid)?);
            return Ok(());
        }
        "network-lock" => {
            allowed.network_lock = Some(value.and_then(lock_method).ok_or_else(invalid)?);
            return Ok(());
        }
        // To CRIU a value after a blank is no value here but a stray word, and soft is meant;
        // whoever wrote it meant the value.
        "manage-cgroups" => {
            let mode = value.map_or(Some(CgroupsMode::Soft), cgroups_mode);
            allowed.manage_cgroups = Some(mode.ok_or_else(invalid)?);
            return Ok(());
        }
        _ => {}
    }
    let (plain, on) = match name.strip_prefix("no-") {
        // `ext-unix-sk` has no opposite in CRIU.
        Some(plain) if plain != "ext-unix-sk" => (plain, false),
        _ => (name, true),
    };
    let switch = switch(allowed, plain).ok_or_else(|| Error::NotAllowed {
        name: name.to_owned(),
    })?;
    if value.is_some() {
        return Err(invalid());
    }
    *switch = Some(on);
    Ok(())
}

fn switch<'a>(allowed: &'a mut Allowed, name: &str) -> Option<&'a mut Option<bool>> {
    match name {
        "tcp-established" => Some(&mut allowed.tcp_established),
        "tcp-close" => Some(&mut allowed.tcp_close),
        "skip-in-flight" => Some(&mut allowed.tcp_skip_in_flight),
        "ext-unix-sk" => Some(&mut allowed.ext_unix_sk),
        "file-locks" => Some(&mut allowed.file_locks),
        "link-remap" => Some(&mut allowed.link_remap),
        _ => None,
    }
}

fn lock_method(value: &str) -> Option<LockMethod> {
    match value {
        "iptables" => Some(LockMethod::Iptables),
        "nftables" => Some(LockMethod::Nftables),
        "skip" => Some(LockMethod::Skip),
        _ => None,
    }
}

fn cgroups_mode(value: &str) -> Option<CgroupsMode> {
    match value {
        "none" => Some(CgroupsMode::None),
        "props" => Some(CgroupsMode::Props),
        "soft" => Some(CgroupsMode::Soft),
        "full" => Some(CgroupsMode::Full),
        "strict" => Some(CgroupsMode::Strict),
        "ignore" => Some(CgroupsMode::Ignore),
        _ => None,
    }
}

/// Bytes, or with K, M, G; CRIU's field has 32 bits.
fn size(value: &str) -> Option<u32> {
    let (digits, shift) = match value.as_bytes().last()? {
        b'K' => (&value[..value.len() - 1], 10),
        b'M' => (&value[..value.len() - 1], 20),
        b'G' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    u32::try_from(digits.parse::<u64>().ok()?.checked_mul(1 << shift)?).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::Site, *};

    fn allowed(text: &str) -> Result<Allowed, Error> {
        Site::parse(text).unwrap().allowed()
    }

    #[test]
    fn the_whole_list_is_taken_over() {
        let text = "tcp-established\ntcp-close\nskip-in-flight\next-unix-sk\nfile-locks\nlink-remap\n\
                    ghost-limit 10M\nnetwork-lock nftables\nmanage-cgroups=ignore\n";
        assert_eq!(
            allowed(text).unwrap(),
            Allowed {
                tcp_established: Some(true),
                tcp_close: Some(true),
                tcp_skip_in_flight: Some(true),
                ext_unix_sk: Some(true),
                file_locks: Some(true),
                link_remap: Some(true),
                ghost_limit: Some(10 << 20),
                network_lock: Some(LockMethod::Nftables),
                manage_cgroups: Some(CgroupsMode::Ignore),
            }
        );
    }

    #[test]
    fn a_dangerous_option_is_refused_by_name() {
        for name in [
            "action-script",
            "libdir",
            "log-file",
            "no-action-script",
            "no-ext-unix-sk",
        ] {
            assert_eq!(
                allowed(&format!("tcp-close\n{name} /x")).unwrap_err(),
                Error::NotAllowed {
                    name: name.to_owned()
                }
            );
        }
    }

    #[test]
    fn an_abbreviation_is_not_on_the_list() {
        assert_eq!(
            allowed("tcp-est").unwrap_err(),
            Error::NotAllowed {
                name: "tcp-est".to_owned()
            }
        );
    }

    #[test]
    fn the_opposite_of_a_switch_switches_it_off() {
        assert_eq!(
            allowed("file-locks\nno-file-locks").unwrap().file_locks,
            Some(false)
        );
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for text in [
            "ghost-limit",
            "ghost-limit x",
            "ghost-limit 5G",
            "network-lock ebpf",
            "manage-cgroups hard",
            "tcp-close yes",
            "ext-unix-sk 1234",
        ] {
            assert!(matches!(allowed(text), Err(Error::Value { .. })), "{text}");
        }
    }
}
