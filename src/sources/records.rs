//! `Records`: a JSON list of which an element may be of another form than expected. It costs no other element.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::omitted::Omitted;

/// The fields by which a message names an element.
const NAMES: [&str; 4] = ["path", "filename", "name", "fullname"];

/// The elements that could be read, and what is left out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Records<T> {
    pub(super) known: Vec<T>,
    pub(super) omitted: Omitted,
}

impl<T> Default for Records<T> {
    fn default() -> Self {
        Self { known: Vec::new(), omitted: Omitted::default() }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Records<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);
        impl<'de, T: DeserializeOwned> Visitor<'de> for Elements<T> {
            type Value = Records<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Records<T>, A::Error> {
                let mut records = Records::default();
                while let Some(element) = elements.next_element::<Value>()? {
                    match T::deserialize(&element) {
                        Ok(record) => records.known.push(record),
                        Err(why) => records.omitted.add_unreadable(name_of(&element).as_bytes(), why),
                    }
                }
                Ok(records)
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

fn name_of(element: &Value) -> &str {
    NAMES.iter().find_map(|name| element.get(name)?.as_str()).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_of_another_form_is_told_and_costs_no_other() {
        let list = r#"[{"name": "a", "id": 1}, {"name": "b", "id": "two"}, {"name": "c", "id": 3}, 4]"#;
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Numbered {
            id: u64,
        }
        let Records { known, omitted } = serde_json::from_str::<Records<Numbered>>(list).expect("it is a list");
        assert_eq!(known, [Numbered { id: 1 }, Numbered { id: 3 }]);
        assert!(omitted.is_incomplete());
        let told = omitted.told().expect("two are left out");
        assert!(
            told.starts_with("2 names are left out: \"b\" (invalid type: string") && told.contains("\"?\""),
            "{told}"
        );
        assert!(serde_json::from_str::<Records<Numbered>>(r#"{"errorcode": "no"}"#).is_err());
    }
}
