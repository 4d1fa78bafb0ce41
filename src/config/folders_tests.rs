//! `[[folders]]`: their meaning, and the messages about wrong ones.

use super::tests::{Written, assert_problem, good};

const SOURCES: &str =
    "[sources.scripts]\ntype = 'local'\npath = '/'\n[sources.courses]\ntype = 'local'\npath = '/usr'\n";

fn with_sources(text: &str) -> String {
    format!("{SOURCES}{text}")
}

/// A folder `path` of all of `scripts`.
fn folder(path: &str) -> String {
    format!("[[folders]]\npath = '{path}'\nfrom = [{{ source = 'scripts' }}]\n")
}

#[test]
fn folders_keep_their_order_and_that_of_their_parts() {
    let config = good(&with_sources(
        "[[folders]]\npath = '/HS26/EPJ/'\n\
         from = [{ source = 'scripts', path = '/Informatik/EPJ/' }, { source = 'courses', ignore = ['b*'] }]\n\
         ignore = ['Thumbs.db', '*.tmp']\n\
         [[folders]]\npath = 'a'\n[[folders.from]]\nsource = 'courses'\n",
    ));
    let [epj, a] = &config.folders[..] else { panic!("two folders: {:?}", config.folders) };
    assert_eq!(epj.path, ["HS26", "EPJ"]);
    let [first, second] = &epj.parts[..] else { panic!("two parts: {:?}", epj.parts) };
    assert_eq!((&*first.source, &first.path[..]), ("scripts", &["Informatik".to_owned(), "EPJ".to_owned()][..]));
    assert_eq!((&*second.source, &second.path[..]), ("courses", &[][..]));
    let ignored = |name| (first.ignore.is_match(name), second.ignore.is_match(name));
    assert_eq!(ignored("Thumbs.db"), (true, true));
    assert_eq!(ignored("x.tmp"), (true, true));
    assert_eq!(ignored("thumbs.db"), (false, false));
    assert_eq!(ignored("book"), (false, true));
    assert_eq!((&a.path[..], a.parts.len()), (&["a".to_owned()][..], 1));
}

#[test]
fn everything_wrong_with_folders_is_said_at_once_with_its_line() {
    let file = Written::new(with_sources(
        "[[folders]]\n\
         [[folders]]\n\
         path = 'a/../b'\n\
         form = []\n\
         ignore = ['[', 'x/y', 7]\n\
         [[folders]]\n\
         path = ''\n\
         from = []\n\
         ignore = '*.tmp'\n\
         [[folders]]\n\
         path = 'EPJ'\n\
         [[folders.from]]\n\
         source = 'skripts'\n\
         path = '..'\n\
         [[folders.from]]\n\
         paht = 'x'\n",
    ));
    let found: Vec<_> = file.problems().into_iter().map(|(line, message)| (line.unwrap_or(0) - 6, message)).collect();
    let expected = [
        (1, "`path` of the folder is missing"),
        (1, "`from` of the folder is missing"),
        (2, "`from` of the folder is missing"),
        (3, "`path` is a path of which every name leads further down, and one `..`"),
        (4, "unknown key `form`; did you mean `from`?"),
        (5, "`ignore`: \"[\" is no pattern"),
        (7, "`path` is empty"),
        (8, "`from` is empty"),
        (9, "`ignore` must be a list of names, not a string"),
        (13, "there is no source \"skripts\"; did you mean `scripts`?"),
        (14, "`path` is a path of which every name leads further down, and one `..`"),
        (15, "`source` is missing"),
        (16, "unknown key `paht`; did you mean `path`?"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for ((line, message), (expected_line, begin)) in found.iter().zip(expected) {
        assert_eq!(*line, expected_line, "{message}");
        assert!(message.starts_with(begin), "{message} should begin with {begin}");
    }
}

#[test]
fn two_things_in_one_place_are_refused_at_the_second() {
    let twice = with_sources(&(folder("EPJ") + &folder("EPJ")));
    assert_problem(&twice, 11, &["folder `EPJ`", "second time"]);
    let inside = with_sources(&(folder("EPJ") + &folder("EPJ/x")));
    assert_problem(&inside, 11, &["folder `EPJ/x`", "`EPJ`", "inside"]);
    let around = with_sources(&(folder("EPJ/x") + &folder("EPJ")));
    assert_problem(&around, 11, &["folder `EPJ`", "`EPJ/x`", "inside"]);
    assert!(Written::new(with_sources(&(folder("HS26/EPJ") + &folder("HS26/EPJ 2")))).problems().is_empty());
    for path in ["courses", "courses/x"] {
        assert_problem(&with_sources(&folder(path)), 8, &["source `courses`", "hidden = true in [sources.courses]"]);
    }
}

#[test]
fn a_hidden_source_leaves_its_name_to_a_folder_and_must_be_in_one() {
    let hidden = |rest: &str| format!("[sources.scripts]\ntype = 'local'\nhidden = true\npath = '/'\n{rest}");
    let config = good(&hidden(&folder("scripts")));
    assert!(config.sources[0].hidden && !config.sources[0].settings.values.contains_key("hidden"));
    assert_problem(&hidden(""), 3, &["source `scripts`", "no folder shows it"]);
    assert_problem(&hidden(&folder("x")).replace("true", "'yes'"), 3, &["`hidden` must be true or false"]);
}

#[test]
fn what_is_no_list_of_folders_is_told_how_to_write_one() {
    assert_problem(&with_sources("[folders.EPJ]\npath = 'x'"), 7, &["`folders`", "[[folders]]"]);
    assert_problem(&format!("folders = ['EPJ']\n{SOURCES}"), 1, &["[[folders]]"]);
    assert_problem(&with_sources("[[folder]]\npath = 'EPJ'"), 7, &["did you mean `folders`?"]);
    let part = "[[folders]]\npath = 'EPJ'\nfrom = ['scripts']";
    assert_problem(&with_sources(part), 9, &["a part of a folder is a table", "source ="]);
}

#[test]
fn a_broken_line_makes_no_folder_wrong() {
    let text = format!("[sources.scripts\ntype = 'local'\npath = '/'\n{}", folder("EPJ"));
    let problems = Written::new(text).problems();
    assert!(matches!(&problems[..], [(Some(1), _)]), "{problems:#?}");
}
