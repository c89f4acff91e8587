//! The two forms of what preflight found.

use std::fmt::Write as _;

use serde::Serialize;

use crate::host::{Facts, Warning};

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    facts: &'a Facts,
    warnings: &'a [Warning],
}

/// One JSON object and a newline.
pub(super) fn json(facts: &Facts, warnings: &[Warning]) -> String {
    // Strings, numbers and lists always become JSON; the paths are our own constants and `$PATH`.
    serde_json::to_string_pretty(&Document { facts, warnings }).map_or_else(
        |error| format!("{{\"error\":{:?}}}\n", error.to_string()),
        |text| text + "\n",
    )
}

/// Aligned lines, then the warnings with what to do.
pub(super) fn text(facts: &Facts, warnings: &[Warning]) -> String {
    let Facts {
        kernel,
        criu,
        cgroups,
        freezer,
        runtimes,
        state_roots,
        pipe_max_bytes,
        capabilities,
        run_is_tmpfs,
        kerndat_cached,
    } = facts;
    let yes = |value: bool| if value { "yes" } else { "no" };
    let unknown = || "unknown".to_owned();
    let absent = || "none".to_owned();
    let mut rows = vec![
        ("kernel", format!("{} {}", kernel.release, kernel.machine)),
        ("criu", criu.version.clone().unwrap_or_else(absent)),
        ("  memory tracking", yes(criu.mem_track).to_owned()),
        ("  lazy pages", yes(criu.lazy_pages).to_owned()),
        ("  pidfd store", yes(criu.pidfd_store).to_owned()),
        ("  network locks", listed(&criu.network_locks)),
        (
            "  kernel cache",
            format!(
                "{}, /run is a tmpfs: {}",
                yes(*kerndat_cached),
                yes(*run_is_tmpfs)
            ),
        ),
        ("cgroups", cgroups.clone()),
        ("freezer", freezer.map_or_else(absent, str::to_owned)),
    ];
    for (name, runtime) in runtimes {
        let version = runtime.version.clone().unwrap_or_else(unknown);
        rows.push((name, format!("{version} ({})", runtime.path.display())));
    }
    let roots: Vec<_> = state_roots
        .iter()
        .map(|root| root.display().to_string())
        .collect();
    rows.push(("state roots", listed(&roots)));
    let pipes = pipe_max_bytes.map_or_else(unknown, |bytes| format!("{bytes} bytes"));
    rows.push(("largest pipe", pipes));
    rows.extend(
        capabilities
            .iter()
            .map(|(name, has)| (*name, yes(*has).to_owned())),
    );
    table(&rows) + &warnings.iter().map(remark).collect::<String>()
}

fn table(rows: &[(&str, String)]) -> String {
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<24}{value}");
        text
    })
}

fn remark(warning: &Warning) -> String {
    let Warning {
        reason,
        message,
        advice,
    } = warning;
    format!("\nwarning: {reason}: {message}\n  {advice}\n")
}

fn listed<T: AsRef<str>>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    items
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_show_warnings_with_advice() {
        let warnings = [Warning {
            reason: "Bad",
            message: "is bad".into(),
            advice: "mend it",
        }];
        let shown = text(&Facts::default(), &warnings);
        assert!(
            shown.ends_with("\nwarning: Bad: is bad\n  mend it\n"),
            "{shown}"
        );
        let value: serde_json::Value =
            serde_json::from_str(&json(&Facts::default(), &warnings)).unwrap();
        assert_eq!(value["warnings"][0]["advice"], "mend it");
        assert_eq!(value["criu"]["memTrack"], false);
    }
}
