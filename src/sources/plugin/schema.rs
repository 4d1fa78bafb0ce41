//! Checks settings against the plugin's own JSON Schema, and returns all problems at once. It never repeats a value.

use serde_json::Value;

use crate::source::Problem;

/// Everything that is wrong with `info`. A schema that is itself wrong is the plugin's fault: its reason comes as the error.
///
/// # Errors
/// Why the schema cannot be used.
pub fn problems(schema: &Value, info: &Value) -> Result<Vec<Problem>, String> {
    // Only what the schema itself holds: nothing is fetched.
    let validator = jsonschema::validator_for(schema).map_err(|e| e.masked().to_string())?;
    Ok(validator.iter_errors(info).map(|error| problem(&error)).collect())
}

fn problem(error: &jsonschema::ValidationError<'_>) -> Problem {
    use jsonschema::error::ValidationErrorKind as Kind;
    let place = error.instance_path().to_string();
    let key = place.split('/').nth(1).map(|key| key.replace("~1", "/").replace("~0", "~"));
    match (error.kind(), key) {
        (Kind::Required { property }, None) => {
            let property = property.as_str().unwrap_or_default();
            Problem { key: None, message: format!("`{property}` is missing") }
        }
        (Kind::AdditionalProperties { unexpected }, None) => {
            let keys: Vec<_> = unexpected.iter().map(|key| format!("`{key}`")).collect();
            Problem { key: unexpected.first().cloned(), message: format!("unknown key {}", keys.join(", ")) }
        }
        (_, Some(key)) => {
            let message = format!("`{key}`: {}", error.masked());
            Problem { key: Some(key), message }
        }
        (_, None) => Problem { key: None, message: error.masked().to_string() },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_is_told_at_once_and_no_value_is_shown() {
        let schema = json!({"type": "object", "required": ["url", "user"], "additionalProperties": false,
            "properties": {"url": {"type": "string"}, "user": {"type": "string"}, "password": {"type": "integer"},
                "mode": {"enum": ["a", "b"]}}});
        let info = json!({"url": 1, "password": "hunter2", "mode": "hunter3", "usr": "x"});
        let mut problems = problems(&schema, &info).expect("the schema is right");
        problems.sort_by_key(|problem| problem.message.clone());
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_deref()).collect();
        assert_eq!(keys, [Some("mode"), Some("password"), Some("url"), None, Some("usr")], "{problems:?}");
        assert!(!format!("{problems:?}").contains("hunter"), "{problems:?}");
    }

    #[test]
    fn a_wrong_schema_is_told_apart_from_wrong_settings() {
        assert!(problems(&json!({"type": 7}), &json!({})).is_err());
        assert!(problems(&json!({"$ref": "https://example.org/schema.json"}), &json!({})).is_err());
    }
}
