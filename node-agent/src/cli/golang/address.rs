//! Go's `net.SplitHostPort`, down to what it refuses.

/// Splits `host:port`, `[ipv6]:port` or `[ipv6%zone]:port`; `None` for everything that Go refuses.
/// Either part may be empty.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let (host, after_open, after_close) = if text.starts_with('[') {
        let close = text.find(']')?;
        if close + 1 != colon {
            return None;
        }
        (&text[1..close], 1, close + 1)
    } else {
        (&text[..colon], 0, 0)
    };
    let bare = !text.starts_with('[');
    let odd = (bare && host.contains(':'))
        || text[after_open..].contains('[')
        || text[after_close..].contains(']');
    (!odd).then(|| (host, &text[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn splits_what_go_splits() {
        for (text, want) in [
            ("10.0.0.7:27277", Some(("10.0.0.7", "27277"))),
            ("host:", Some(("host", ""))),
            (":80", Some(("", "80"))),
            ("[::1]:80", Some(("::1", "80"))),
            ("[fe80::1%eth0]:80", Some(("fe80::1%eth0", "80"))),
            ("[]:80", Some(("", "80"))),
            ("[host]:80", Some(("host", "80"))),
            ("", None),
            ("host", None),
            ("::1:80", None),
            ("[::1]", None),
            ("[::1]80", None),
            ("[::1]x:80", None),
            ("[::1:80", None),
            ("[[::1]]:80", None),
            ("ho[st:80", None),
            ("ho]st:80", None),
            ("host:8]0", None),
            ("a:b:80", None),
        ] {
            assert_eq!(split_host_port(text), want, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_any_text(text in ".*|[\\[\\]:a日]*") {
            let _ = split_host_port(&text);
        }
    }
}
