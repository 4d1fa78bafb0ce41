//! `loose`: a scalar field of a JSON answer that may be of another form than expected. It costs nothing but itself.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value that is made of what JSON has.
pub(super) trait Scalar: Sized {
    fn of_text(_text: &str) -> Option<Self> {
        None
    }

    fn of_number(_number: i128) -> Option<Self> {
        None
    }

    fn of_bool(_value: bool) -> Option<Self> {
        None
    }
}

impl Scalar for String {
    fn of_text(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }
}

impl Scalar for bool {
    fn of_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Scalar for u64 {
    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn of_number(number: i128) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Scalar for i64 {
    fn of_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn of_number(number: i128) -> Option<Self> {
        number.try_into().ok()
    }
}

/// Reads a field; `None` if it is of another form.
pub(super) fn loose<'de, D: Deserializer<'de>, T: Scalar>(deserializer: D) -> Result<Option<T>, D::Error> {
    deserializer.deserialize_any(Loose(PhantomData))
}

struct Loose<T>(PhantomData<T>);

impl<'de, T: Scalar> Visitor<'de> for Loose<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(T::of_text(text))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(T::of_number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(T::of_number(number.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(T::of_bool(value))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Fields {
        #[serde(default, deserialize_with = "loose")]
        size: Option<u64>,
        #[serde(default, deserialize_with = "loose")]
        name: Option<String>,
    }

    #[test]
    fn a_field_of_another_form_is_not_known_and_costs_no_other() {
        for (size, read) in [
            ("7", Some(7)),
            ("\"7\"", Some(7)),
            ("-1", None),
            ("1.5", None),
            ("null", None),
            ("true", None),
            ("\"\"", None),
        ] {
            let fields = serde_json::from_str(&format!(r#"{{"size": {size}, "name": "a"}}"#));
            assert_eq!(fields.ok(), Some(Fields { size: read, name: Some("a".into()) }), "{size}");
        }
        for odd in ["[1, [2]]", r#"{"a": {}}"#, "7"] {
            let fields = serde_json::from_str(&format!(r#"{{"name": {odd}, "size": 7}}"#));
            assert_eq!(fields.ok(), Some(Fields { size: Some(7), name: None }), "{odd}");
        }
        assert_eq!(serde_json::from_str("{}").ok(), Some(Fields { size: None, name: None }));
    }
}
