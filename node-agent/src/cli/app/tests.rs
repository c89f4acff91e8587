use super::*;

fn names() -> Names {
    Names::new(OsStr::new("/bin/agent"))
}

fn words(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

fn globals(text: &str) -> Result<Globals, Stop> {
    read_globals(&words(text), &names(), Path::new("/run/runc"))
}

fn verb(text: &str) -> Result<Verb, Stop> {
    read_verb(&words(text), &names(), Path::new("/run/runc"))
}

#[test]
fn reads_globals_up_to_the_verb() {
    let read = globals("--root /r --log=l -debug --rootless x --systemd-cgroup checkpoint --root")
        .unwrap();
    assert_eq!(
        (read.root.as_path(), read.log.as_path()),
        (Path::new("/r"), Path::new("l"))
    );
    assert!(read.debug && read.root_given);
    assert_eq!(read.args, ["checkpoint", "--root"]);
    let read = globals("").unwrap();
    assert_eq!(read.root, Path::new("/run/runc"));
    assert!(!read.root_given);
}

#[test]
fn takes_two_log_formats() {
    assert_eq!(
        globals("--log-format json").unwrap().format(),
        Ok(Format::Json)
    );
    assert_eq!(globals("--log-format=").unwrap().format(), Ok(Format::Text));
    let stop = globals("--log-format Json").unwrap().format().unwrap_err();
    assert_eq!(stop, Stop::failed(&"invalid log-format: Json"));
}

#[test]
fn globals_that_cannot_be_read_show_help_and_fail() {
    let stop = globals("--bogus checkpoint x").unwrap_err();
    assert_eq!(
        stop.error,
        Some(("flag provided but not defined: -bogus".to_owned(), 1))
    );
    let start = "Incorrect Usage. flag provided but not defined: -bogus\n\nNAME:\n   stillframe";
    assert!(stop.stdout.starts_with(start), "{}", stop.stdout);
    let stop = globals("-h --help").unwrap_err();
    let start = "Cannot use two forms of the same flag: h help\nNAME:\n";
    assert!(stop.stdout.starts_with(start), "{}", stop.stdout);
    assert_eq!(globals("--help").unwrap_err().error, None);
    assert!(
        globals("-v")
            .unwrap_err()
            .stdout
            .starts_with("stillframe-node-agent version ")
    );
}

#[test]
fn help_has_topics_and_exits_with_three_for_others() {
    assert!(
        verb("")
            .unwrap_err()
            .stdout
            .contains("\nCOMMANDS:\n   checkpoint  ")
    );
    assert!(
        verb("help")
            .unwrap_err()
            .stdout
            .contains("\nGLOBAL OPTIONS:\n")
    );
    let start = "NAME:\n   agent checkpoint - checkpoint a running container\n\nUSAGE:\n   agent \
                 checkpoint [command options] <container-id>\n";
    for text in [
        "h checkpoint",
        "help checkpoint x",
        "checkpoint -h",
        "checkpoint x --help",
    ] {
        let stop = verb(text).unwrap_err();
        assert!(
            stop.stdout.starts_with(start) && stop.error.is_none(),
            "{text}: {}",
            stop.stdout
        );
    }
    for text in ["help -h", "help help", "h h"] {
        let want = "NAME:\n    - Shows a list of commands or help for one command\n\nUSAGE:\n    [command]\n";
        assert_eq!(
            verb(text).unwrap_err(),
            Stop::shown(want.to_owned()),
            "{text}"
        );
    }
    for text in ["nosuch", "help nosuch", "create x"] {
        let (error, status) = verb(text).unwrap_err().error.unwrap();
        assert!(
            error.starts_with("No help topic for '") && error.ends_with("'\n"),
            "{error}"
        );
        assert_eq!(status, 3);
    }
}

#[test]
fn the_verb_takes_flags_on_both_sides_of_the_id() {
    let Ok(Verb::Checkpoint(parsed)) = verb("checkpoint id --image-path i --leave-running=false")
    else {
        panic!("not read");
    };
    assert_eq!(parsed.args, ["id"]);
    assert_eq!(parsed.text("image-path"), "i");
    let stop = verb("checkpoint --nope id").unwrap_err();
    assert!(
        stop.stdout
            .starts_with("Incorrect Usage: flag provided but not defined: -nope\n\nNAME:")
    );
}

#[test]
fn a_given_root_is_absolute_and_not_the_whole_system() {
    let revise = |root| revise_root(Path::new(root), Path::new("/cwd"));
    assert_eq!(revise("x/../y"), Ok(PathBuf::from("/cwd/y")));
    assert_eq!(revise(""), Ok(PathBuf::from("/cwd")));
    assert_eq!(revise("/a//b/"), Ok(PathBuf::from("/a/b")));
    for root in ["/", "..", "//", "/a/.."] {
        let want = Stop::failed(&"Option --root argument should not be set to /");
        assert_eq!(revise(root), Err(want), "{root}");
    }
}

#[test]
fn only_who_is_not_the_real_root_gets_a_root_of_their_own() {
    let (xdg, root) = (Some(OsStr::new("/run/user/7")), Some(OsStr::new("root")));
    let own = (PathBuf::from("/run/user/7/runc"), true);
    let shared = (PathBuf::from("/run/runc"), false);
    assert_eq!(default_root(xdg, root, false, false), own);
    assert_eq!(default_root(xdg, root, true, false), shared);
    assert_eq!(default_root(xdg, root, true, true), shared);
    assert_eq!(default_root(xdg, None, true, true), own);
    assert_eq!(default_root(None, None, false, false), shared);
    assert_eq!(
        default_root(Some(OsStr::new("")), None, false, false),
        shared
    );
}

#[test]
fn knows_a_user_namespace_by_its_map() {
    assert!(!is_user_namespace("         0          0 4294967295\n"));
    assert!(!is_user_namespace(""));
    assert!(is_user_namespace("0 1000 1\n"));
    assert!(is_user_namespace("0 0 65536\n"));
}
