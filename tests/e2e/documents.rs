//! The documents say what is so: keys, messages, links. (Their examples are run by `semantics`.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::kit::home::{Home, text};

/// No key of the program is like it, so that the program names all that it knows.
const UNKNOWN: &str = "0 = 1";

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_readme_is_short() {
    let readme = read(at("README.md"));
    assert!(readme.lines().count() <= 150, "README.md has {} lines, and 150 are the most", readme.lines().count());
    let long = readme.lines().find(|line| line.chars().count() > 120);
    assert_eq!(long, None, "lines of README.md have 120 columns at most");
}

/// The keys in the tables of docs/configuration.md, by the heading above.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in read(at("docs/configuration.md")).lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches(['#', ' ']).replace('`', "");
        } else if let Some((key, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |")) {
            keys.entry(heading.clone()).or_default().insert(key.to_owned());
        }
    }
    keys
}

/// What `kitovufs check` says of a configuration, by line.
fn problems(config: &str) -> Vec<(usize, String)> {
    let home = Home::of(config);
    let output = home.kitovufs(["check", "-c", &text(home.config())]);
    let (place, said) = (format!("{}:", text(home.config())), String::from_utf8(output.stderr).unwrap());
    let found = said.lines().filter_map(|line| line.split_once(&place)?.1.split_once(": "));
    found.filter_map(|(line, message)| Some((line.parse().ok()?, message.to_owned()))).collect()
}

/// The words in backticks behind `before`.
fn listed(message: &str, before: &str) -> BTreeSet<String> {
    let list = message.split_once(before).map_or("", |(_, list)| list);
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys that the program knows where a configuration has the line `UNKNOWN` or holds it: in the order of such lines.
fn known(config: &str) -> Vec<BTreeSet<String>> {
    let problems = problems(config);
    let lines = config.lines().enumerate().filter(|(_, line)| line.contains(UNKNOWN)).map(|(index, _)| index + 1);
    let keys = |line| {
        let told = problems.iter().find(|(at, message)| *at == line && message.contains("unknown key `0`"));
        let (_, message) = told.unwrap_or_else(|| panic!("nothing about line {line} in {problems:?} of:\n{config}"));
        listed(message, "the known keys are ")
    };
    lines.map(keys).collect()
}

fn known_types() -> BTreeSet<String> {
    let problems = problems("[sources.s]\ntype = \"0\"\n");
    problems.iter().map(|(_, message)| listed(message, "the known types are ")).find(|types| !types.is_empty()).unwrap()
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_one() {
    let documented = documented();
    let config = format!(
        "{UNKNOWN}\n[cache]\n{UNKNOWN}\n[shared]\n{UNKNOWN}\n[web]\n{UNKNOWN}\n[defaults]\n{UNKNOWN}\n[[folders]]\n{UNKNOWN}\npath = \"f\"\n\
         from = [ {{ source = \"s\", {UNKNOWN} }} ]\n[sources.s]\ntype = \"local\"\npath = \"/\"\n"
    );
    let headings = ["Top level", "[cache]", "[shared]", "[web]", "[defaults]", "[[folders]]", "Parts of from"];
    for (heading, known) in headings.into_iter().zip(known(&config)) {
        assert_eq!(documented[heading], known, "docs/configuration.md, {heading}, and the keys of the program");
    }
    for name in known_types() {
        let of_all = &documented["Every source"] | &documented["[defaults]"];
        // Every other key of theirs is somebody else's.
        if ["plugin", "python"].contains(&name.as_str()) {
            let wrong: String = documented[&name].iter().map(|key| format!("{key} = true\n")).collect();
            let problems = problems(&format!("[sources.s]\ntype = \"{name}\"\n{wrong}"));
            for key in &documented[&name] {
                let refusal = format!("`{key}` must be ");
                assert!(
                    problems.iter().any(|(_, message)| message.contains(&refusal)),
                    "{name}: {key} in {problems:?}"
                );
            }
            continue;
        }
        let known = known(&format!("[sources.s]\ntype = \"{name}\"\n{UNKNOWN}\n"));
        assert_eq!(
            vec![&of_all | &documented[&name]],
            known,
            "docs/configuration.md, {name}, and the keys of the program"
        );
    }
}

#[test]
fn every_type_of_source_is_documented() {
    let sources = read(at("docs/sources.md"));
    let documented = documented();
    for name in known_types() {
        assert!(sources.contains(&format!("\n## `{name}`\n")), "docs/sources.md has a section about {name}");
        assert!(documented.contains_key(&name), "docs/configuration.md has the keys of {name}");
    }
}

/// The source of the program as one text.
fn program() -> String {
    let is_source = |entry: &walkdir::DirEntry| entry.path().extension().is_some_and(|extension| extension == "rs");
    let files = WalkDir::new(at("src")).into_iter().map(Result::unwrap).filter(is_source);
    files.map(|file| read(file.path())).collect()
}

/// A message in docs/troubleshooting.md is one of the program, but for what `…` stands for.
#[test]
fn every_message_is_one_of_the_program() {
    let program = joined(&program());
    let document = read(at("docs/troubleshooting.md"));
    let messages = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    // The last table begins with error numbers.
    let messages: Vec<_> = messages.map(|(message, _)| message).filter(|text| text.contains(' ')).collect();
    assert!(messages.len() > 40, "the document tells of messages");
    for message in messages {
        for part in message.split('…').filter(|part| part.trim() != "") {
            assert!(program.contains(part), "{message}: no message of the program contains {part:?}");
        }
    }
}

#[test]
fn every_errno_is_explained() {
    let table = read(at("src/fuse/errno.rs"));
    let document = read(at("docs/troubleshooting.md"));
    let names = table.split("libc::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap());
    for name in names.filter(|name| name.starts_with('E')) {
        let explained = document.lines().any(|line| line.starts_with("| `E") && line.contains(&format!("`{name}`")));
        assert!(explained, "docs/troubleshooting.md says what {name} means");
    }
}

/// The table of what happens when a connection drops names the constant or function of each step.
#[test]
fn every_step_of_a_dropped_connection_is_in_the_code() {
    let (program, document) = (program(), read(at("docs/architecture.md")));
    let (_, section) = document.split_once("\n## When a connection drops\n").expect("the section is there");
    let (section, _) = section.split_once("\n## ").expect("others follow");
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let places: Vec<_> =
        rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | ")).map(|(_, at)| at).collect();
    assert!(places.len() > 15, "{places:?}");
    for name in places.iter().flat_map(|place| place.split('`').skip(1).step_by(2)).flat_map(|name| name.split("::")) {
        let words =
            [format!("fn {name}"), format!("const {name}:"), format!("struct {name} "), format!("struct {name}(")];
        let is_there =
            words.iter().any(|words| program.contains(words)) || program.contains(&format!("struct {name}<"));
        assert!(is_there, "docs/architecture.md, when a connection drops: there is no {name}");
    }
}

/// Source text in which a string that goes on in the next line is in one.
fn joined(source: &str) -> String {
    let mut lines = source.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |joined, line| joined + line.trim_start()).replace("\\\"", "\"")
}

/// The commands in the console examples of a document.
fn commands(document: &str) -> BTreeSet<String> {
    document.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// The commands of kitovufs in the blocks of a document that a shell may be given.
fn shell_commands(document: &str) -> BTreeSet<String> {
    let mut is_shell = false;
    let lines = document.lines().map(str::trim_start).filter(|line| {
        if line.starts_with("```") {
            is_shell = *line == "```sh";
        }
        is_shell && line.starts_with("kitovufs ")
    });
    lines.map(str::to_owned).collect()
}

/// What `scripts/first-hour` runs, in the words of the page that it writes.
fn commands_of_the_first_hour(script: &str) -> BTreeSet<String> {
    let page_words =
        [("$user", "anna"), ("$ssh_port", "2222"), ("$dav_port", "8080"), ("$smb_port", "4450"), ("$dir", "/srv")];
    let steps = ["shown", "look", "must", "may", "fails"];
    let runs = script.lines().filter(|line| steps.iter().any(|step| line.starts_with(&format!("{step} "))));
    let quoted = runs.map(|line| line.split('"').nth(1).expect("a command is quoted").to_owned());
    quoted.map(|command| page_words.iter().fold(command, |text, (word, is)| text.replace(word, is))).collect()
}

#[test]
fn the_first_hour_has_the_commands_of_its_script() {
    let of_script = commands_of_the_first_hour(&read(at("scripts/first-hour")));
    assert!(of_script.iter().any(|command| command.starts_with("kitovufs add sftp://anna@")), "{of_script:?}");
    assert_eq!(commands(&read(at("docs/first-hour.md"))), of_script, "scripts/first-hour writes the page anew");
}

#[test]
fn every_command_in_a_console_example_is_one_of_the_program() {
    let help = String::from_utf8(Home::of("").kitovufs(["--help"]).stdout).expect("it is text");
    let known: BTreeSet<_> = help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    let mut seen = 0;
    for path in documents() {
        let text = read(&path);
        for command in commands(&text).union(&shell_commands(&text)) {
            let Some(word) = command.strip_prefix("kitovufs ").and_then(|rest| rest.split(' ').next()) else {
                continue;
            };
            assert!(word.starts_with('-') || known.contains(word), "{}: {command}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 10, "the documents show commands");
}

/// The documents of the repository, and nothing that was built.
fn documents() -> Vec<PathBuf> {
    let is_ours = |entry: &walkdir::DirEntry| !["target", ".git"].iter().any(|other| entry.file_name() == *other);
    let files = WalkDir::new(at("")).into_iter().filter_entry(is_ours).map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// A document without what stands in code.
fn prose(document: &str) -> String {
    let mut is_code = false;
    let lines = document.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The anchors of a document, as GitHub makes them of headings.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = prose(document);
    let headings =
        headings.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    headings.map(|heading| heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() > 10, "{documents:?}");
    for path in documents {
        let text = prose(&read(&path));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(to.exists(), "{}: there is no {file}", path.display());
            let leads = anchor.is_empty() || anchors(&read(&to)).contains(anchor);
            assert!(leads, "{}: {link} has no such heading", path.display());
        }
    }
}

/// Files that prose names in backticks, as in `src/lib.rs`. A name with `*` or in capitals stands for several.
#[test]
fn every_file_that_a_document_names_is_there() {
    let is_place = |word: &&str| ["src/", "tests/", "scripts/", "docs/"].iter().any(|place| word.starts_with(place));
    for path in documents() {
        let text = prose(&read(&path));
        for word in text.split('`').skip(1).step_by(2).map(|code| code.split(' ').next().unwrap()).filter(is_place) {
            let is_pattern = word.contains(['*', '<', '…']) || word.contains("NAME");
            assert!(is_pattern || at(word).exists(), "{}: there is no {word}", path.display());
        }
    }
}

#[test]
fn a_comment_cites_only_documents_that_are_there() {
    let files = ["src", "tests", "examples", "templates"].into_iter().flat_map(|dir| WalkDir::new(at(dir)));
    let files = files.map(|entry| entry.unwrap().into_path()).filter(|path| path.is_file());
    for path in files {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        for name in
            text.split("docs/").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && !"-._".contains(c)))
        {
            let name = name.map(|name| name.trim_end_matches('.')).next().unwrap_or_default();
            let is_there = !name.ends_with(".md") || at("docs").join(name).exists();
            assert!(is_there, "{}: there is no docs/{name}", path.display());
        }
    }
}
