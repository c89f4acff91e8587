//! The committed page of reasons is the table's, and every reason can be understood.

use std::{fs, path::Path};

use stillframe_crds::{
    Reason,
    reason::{Kind, table},
};

#[test]
fn the_committed_page_is_what_the_table_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    let committed = fs::read_to_string(&page).unwrap_or_default();
    assert!(
        committed == table(),
        "docs/reasons.md is not what the table says: run `make generate`"
    );
}

#[test]
fn a_word_is_read_as_it_is_written() {
    for reason in Reason::ALL {
        assert_eq!(reason.as_str().parse(), Ok(*reason));
    }
    assert!("Nonsense".parse::<Reason>().is_err());
}

#[test]
fn meanings_are_sentences_and_hints_say_what_to_do() {
    for reason in Reason::ALL {
        let meaning = reason.meaning();
        assert!(meaning.ends_with('.'), "{reason}: {meaning}");
        assert!(
            meaning.starts_with(char::is_uppercase),
            "{reason}: {meaning}"
        );
        if let Some(hint) = reason.hint() {
            assert!(!hint.ends_with('.'), "{reason}: {hint}");
            assert!(hint.len() <= 1024, "{reason}");
            assert!(
                reason.kind() != Kind::Success,
                "{reason}: success needs no help"
            );
        }
    }
}
