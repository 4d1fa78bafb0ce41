//! How else a file may be called at a server whose file system does not tell such names apart. It asks nothing.

/// The name with the case of every letter changed. If a server knows nothing by this name, it tells names apart as its listings do, so that
/// its answer about the name itself says whether a listing has that. `None` where that proves nothing: there is no letter, or one beyond
/// ASCII, which may be written in several ways.
pub(super) fn in_other_case(name: &[u8]) -> Option<Vec<u8>> {
    let change =
        |byte: &u8| if byte.is_ascii_lowercase() { byte.to_ascii_uppercase() } else { byte.to_ascii_lowercase() };
    let other: Vec<u8> = name.iter().map(change).collect();
    (name.is_ascii() && other != name).then_some(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_other_case_differs_or_there_is_none() {
        for (name, other) in
            [("Photo 1.JPG", Some("pHOTO 1.jpg")), ("a", Some("A")), ("2024-01", None), ("größe", None)]
        {
            assert_eq!(in_other_case(name.as_bytes()).as_deref(), other.map(str::as_bytes), "{name}");
        }
    }
}
