use proptest::prelude::*;

use super::*;

fn flags() -> Vec<Flag> {
    let flag = |names, kind| Flag {
        names,
        kind,
        usage: "",
    };
    vec![
        flag(&["leave-running"], Kind::Bool),
        flag(&["image-path"], Kind::Text("".into())),
        flag(&["status-fd"], Kind::Int(-1)),
        flag(&["empty-ns"], Kind::List),
        flag(
            &["output"],
            Kind::Checked(|text| match text {
                "json" => Ok(()),
                _ => Err("use json".to_owned()),
            }),
        ),
        flag(&["help", "h"], Kind::Bool),
    ]
}

fn read(args: &[&str]) -> (Parsed, Result<(), FlagError>) {
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    parse(&flags(), &args)
}

fn good(args: &[&str]) -> Parsed {
    let (parsed, result) = read(args);
    assert_eq!(result, Ok(()), "{args:?}");
    parsed
}

#[test]
fn takes_every_form_that_go_takes() {
    for args in [
        &["-image-path", "x", "id"][..],
        &["--image-path", "x", "id"],
        &["-image-path=x", "id"],
        &["--image-path=x", "id"],
        &["--image-path", "y", "--image-path", "x", "--", "id"],
    ] {
        let parsed = good(args);
        assert_eq!(parsed.text("image-path"), "x", "{args:?}");
        assert_eq!(parsed.args, ["id"], "{args:?}");
        assert!(parsed.is_set("image-path"));
    }
}

#[test]
fn reads_switches_in_all_of_go_spellings() {
    for (arg, want) in [
        ("-leave-running", true),
        ("--leave-running", true),
        ("--leave-running=1", true),
        ("--leave-running=T", true),
        ("--leave-running=True", true),
        ("--leave-running=false", false),
        ("--leave-running=F", false),
        ("--leave-running=0", false),
    ] {
        let parsed = good(&[arg, "id"]);
        assert_eq!(parsed.bool("leave-running"), want, "{arg}");
        assert!(parsed.is_set("leave-running"));
    }
    // A switch takes no next argument for its value.
    assert_eq!(good(&["--leave-running", "false"]).args, ["false"]);
}

#[test]
fn stops_at_the_first_argument_that_is_no_flag() {
    let parsed = good(&["id", "--leave-running"]);
    assert!(!parsed.bool("leave-running"));
    assert_eq!(parsed.args, ["id", "--leave-running"]);
    assert_eq!(good(&["-", "x"]).args, ["-", "x"]);
    assert_eq!(good(&["", "x"]).args, ["", "x"]);
    assert_eq!(good(&["--", "--image-path"]).args, ["--image-path"]);
}

#[test]
fn a_value_may_look_like_a_flag() {
    assert_eq!(
        good(&["--image-path", "--leave-running"]).text("image-path"),
        "--leave-running"
    );
    assert_eq!(good(&["--status-fd", "-3"]).int("status-fd"), -3);
    assert_eq!(good(&["--image-path=a=b"]).text("image-path"), "a=b");
    assert_eq!(good(&["--image-path="]).text("image-path"), "");
}

#[test]
fn has_defaults() {
    let parsed = good(&[]);
    assert_eq!(
        (parsed.int("status-fd"), parsed.text("image-path")),
        (-1, OsStr::new(""))
    );
    assert!(!parsed.is_set("image-path"));
    assert!(parsed.list("empty-ns").is_empty());
}

#[test]
fn lists_do_not_split_and_lose_one_empty_value() {
    let list = |args: &[&str]| good(args).list("empty-ns");
    assert_eq!(list(&["--empty-ns", "a", "--empty-ns=b"]), ["a", "b"]);
    assert_eq!(list(&["--empty-ns", "a,b"]), ["a,b"]);
    assert_eq!(list(&["--empty-ns="]), [""]);
    assert_eq!(list(&["--empty-ns=", "--empty-ns=a"]), ["a"]);
    assert_eq!(list(&["--empty-ns=", "--empty-ns="]), [""]);
}

#[test]
fn refuses_in_go_words() {
    for (args, want) in [
        (&["--bogus"][..], "flag provided but not defined: -bogus"),
        (&["-bogus=1"], "flag provided but not defined: -bogus"),
        (&["--image-path"], "flag needs an argument: -image-path"),
        (&["---x"], "bad flag syntax: ---x"),
        (&["-=x"], "bad flag syntax: -=x"),
        (&["--=x"], "bad flag syntax: --=x"),
        (
            &["--leave-running=yes"],
            r#"invalid boolean value "yes" for -leave-running: parse error"#,
        ),
        (
            &["--leave-running="],
            r#"invalid boolean value "" for -leave-running: parse error"#,
        ),
        (
            &["--status-fd", "x"],
            r#"invalid value "x" for flag -status-fd: parse error"#,
        ),
        (
            &["--status-fd="],
            r#"invalid value "" for flag -status-fd: parse error"#,
        ),
        (
            &["--status-fd=99999999999999999999"],
            r#"invalid value "99999999999999999999" for flag -status-fd: value out of range"#,
        ),
        (
            &["--output", "xml"],
            r#"invalid value "xml" for flag -output: use json"#,
        ),
    ] {
        assert_eq!(read(args).1.unwrap_err().to_string(), want, "{args:?}");
    }
}

#[test]
fn two_names_of_one_flag_are_refused_and_one_stands_for_both() {
    let mut parsed = good(&["-h"]);
    unite_names(&flags(), &mut parsed).unwrap();
    assert!(parsed.bool("help"));
    let mut parsed = good(&["-h", "--help"]);
    let error = unite_names(&flags(), &mut parsed).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Cannot use two forms of the same flag: h help"
    );
}

proptest! {
    #[test]
    fn never_panics_and_never_loses_an_argument_behind_the_flags(
        args in prop::collection::vec("-{0,3}(image-path|leave-running|status-fd|h|x)?=?.{0,3}", 0..6),
    ) {
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        let sorted = reorder(&flags(), &args);
        prop_assert_eq!(sorted.len(), args.len());
        let (parsed, result) = parse(&flags(), &sorted);
        if result.is_ok() {
            prop_assert!(sorted.ends_with(&parsed.args));
        }
    }
}
