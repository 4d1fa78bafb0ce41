//! `config`: where the configuration is, and examples of it. It reads none.

use super::Failure;
use super::output::out;
use crate::source::nearest::{listed, nearest};

/// The example with all types of sources, whose keys are tested.
const EXAMPLE: &str = include_str!("../../docs/config.example.toml");

/// Prints the example of a type of source, or of a whole file. The result is the exit code.
///
/// # Errors
/// There is no such type.
pub fn show(type_name: Option<&str>) -> Result<u8, Failure> {
    match type_name {
        None => out!("{EXAMPLE}"),
        Some(type_name) => out!("{}", of_type(type_name)?),
    }
    Ok(0)
}

/// The first table of a source of this type, with the comment above it.
fn of_type(type_name: &str) -> Result<String, Failure> {
    let table = tables().find(|(of, _)| *of == type_name);
    table.map(|(_, text)| format!("{text}\n")).ok_or_else(|| {
        let mut types: Vec<_> = tables().map(|(of, _)| of).collect();
        types.sort_unstable();
        types.dedup();
        let near = nearest(type_name, types.iter().copied()).map(|near| format!("did you mean `{near}`? "));
        let (near, shown) = (near.unwrap_or_default(), type_name.escape_debug());
        Failure::Usage(format!("there is no type `{shown}`; {near}the types are {}", listed(types.into_iter())))
    })
}

/// Type and text of every table of a source: paragraphs, of which the first has the header.
fn tables() -> impl Iterator<Item = (&'static str, &'static str)> {
    EXAMPLE.split("\n\n").filter(|paragraph| paragraph.lines().any(|line| line.starts_with("[sources."))).filter_map(
        |paragraph| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix("type = \""))?;
            Some((line.split('"').next()?, paragraph.trim()))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::KINDS;

    #[test]
    fn every_type_has_an_example_that_is_right() {
        for kind in KINDS {
            let text = of_type(kind.type_name()).unwrap_or_else(|e| panic!("{e}"));
            let table: toml::Table = text.parse().expect("the example is TOML");
            let (_, source) = table["sources"].as_table().expect("a table").iter().next().expect("a source");
            assert_eq!(source["type"].as_str(), Some(kind.type_name()), "{text}");
        }
        let unknown = of_type("sfpt").expect_err("it is not known").to_string();
        assert!(unknown.contains("did you mean `sftp`?"), "{unknown}");
    }
}
