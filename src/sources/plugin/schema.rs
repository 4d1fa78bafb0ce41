//! Checks settings against the plugin's own JSON Schema, and returns all problems at once. It never repeats a value.

use std::error::Error;

use boon::{Compiler, ErrorKind, InstanceToken, Schemas, UrlLoader, ValidationError};
use serde_json::Value;

use crate::source::Problem;

/// The address of the schema; nothing is there.
const SCHEMA: &str = "kitovufs:///schema";

/// Everything that is wrong with `info`. A schema that is itself wrong is the plugin's fault: its reason comes as the error.
///
/// # Errors
/// Why the schema cannot be used.
pub fn problems(schema: &Value, info: &Value) -> Result<Vec<Problem>, String> {
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.use_loader(Box::new(NoLoader));
    compiler.add_resource(SCHEMA, schema.clone()).map_err(|e| e.to_string())?;
    let index = compiler.compile(SCHEMA, &mut schemas).map_err(|e| format!("{e:#}"))?;
    let mut problems = Vec::new();
    if let Err(error) = schemas.validate(info, index) {
        collect(&error, &mut problems);
    }
    Ok(problems)
}

/// A schema consists of what it itself holds: nothing is fetched, no file is read.
struct NoLoader;

impl UrlLoader for NoLoader {
    fn load(&self, _: &str) -> Result<Value, Box<dyn Error>> {
        Err("schemas of other places are not loaded".into())
    }
}

fn collect(error: &ValidationError<'_, '_>, problems: &mut Vec<Problem>) {
    use ErrorKind::{AllOf, Group, Reference, Schema};
    match &error.kind {
        // These only hold what is wrong.
        Group | Schema { .. } | Reference { .. } | AllOf if !error.causes.is_empty() => {
            error.causes.iter().for_each(|cause| collect(cause, problems));
        }
        _ => problem(error, problems),
    }
}

fn problem(error: &ValidationError<'_, '_>, problems: &mut Vec<Problem>) {
    let key = error.instance_location.tokens.first().map(|token| match token {
        InstanceToken::Prop(name) => name.to_string(),
        InstanceToken::Item(number) => number.to_string(),
    });
    match (&error.kind, key) {
        (ErrorKind::Required { want }, None) => {
            problems.extend(want.iter().map(|key| Problem::new(None, format!("`{key}` is missing"))));
        }
        (ErrorKind::AdditionalProperties { got }, None) => {
            let keys: Vec<_> = got.iter().map(|key| format!("`{key}`")).collect();
            let key = got.first().map(ToString::to_string);
            problems.push(Problem::new(key.as_deref(), format!("unknown key {}", keys.join(", "))));
        }
        (kind, Some(key)) => {
            let message = format!("`{key}`: {}", describe(kind));
            problems.push(Problem::new(Some(&key), message));
        }
        (kind, None) => problems.push(Problem::new(None, describe(kind))),
    }
}

/// The problem in words that come from the schema only: the value may be a secret.
fn describe(kind: &ErrorKind<'_, '_>) -> String {
    match kind {
        ErrorKind::Format { want, .. } => format!("is not a valid {want}"),
        ErrorKind::Pattern { want, .. } => format!("does not match the pattern {want}"),
        ErrorKind::ContentEncoding { want, .. } => format!("is not encoded as {want}"),
        ErrorKind::ContentMediaType { want, .. } => format!("is not of the media type {want}"),
        ErrorKind::Minimum { want, .. } => format!("is less than {want}"),
        ErrorKind::Maximum { want, .. } => format!("is more than {want}"),
        ErrorKind::ExclusiveMinimum { want, .. } => format!("is not more than {want}"),
        ErrorKind::ExclusiveMaximum { want, .. } => format!("is not less than {want}"),
        ErrorKind::MultipleOf { want, .. } => format!("is not a multiple of {want}"),
        ErrorKind::MinLength { want, .. } => format!("is shorter than {want} characters"),
        ErrorKind::MaxLength { want, .. } => format!("is longer than {want} characters"),
        ErrorKind::AnyOf | ErrorKind::OneOf(None) => "is none of what the schema of the plugin allows".into(),
        ErrorKind::OneOf(Some(_)) => "is more than one of what the schema of the plugin allows".into(),
        ErrorKind::Not | ErrorKind::FalseSchema => "is what the schema of the plugin forbids".into(),
        // These tell of the type or of the schema.
        kind => kind.to_string(),
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
                "mode": {"enum": ["a", "b"]}, "pin": {"pattern": "^[0-9]+$"}, "age": {"maximum": 7},
                "mail": {"oneOf": [{"type": "null"}, {"const": "hunter"}]}, "at": {"format": "date"},
                "token": {"$ref": "#/$defs/token"}, "hosts": {"items": {"maxLength": 3}}},
            "$defs": {"token": {"maxLength": 5}}});
        let info = json!({"url": 1, "password": "hunter2", "mode": "hunter3", "usr": "x", "pin": "hunter4", "age": 12_345,
            "mail": "hunter5", "token": "hunter6", "hosts": ["hunter7"], "at": "hunter8"});
        let mut problems = problems(&schema, &info).expect("the schema is right");
        problems.sort_by_key(|problem| problem.message.clone());
        let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_deref().unwrap_or("-")).collect();
        let wrong = ["age", "hosts", "mail", "mode", "password", "pin", "token", "url", "-", "usr"];
        assert_eq!(keys, wrong, "{problems:#?}");
        let told = format!("{problems:#?}");
        assert!(!told.contains("hunter") && !told.contains("12345"), "{told}");
        for message in
            ["`user` is missing", "`age`: is more than 7", "unknown key `usr`", "'a', 'b'", "`url`: want string"]
        {
            assert!(told.contains(message), "{message} is not in {told}");
        }
    }

    #[test]
    fn a_wrong_schema_is_told_apart_from_wrong_settings() {
        assert!(problems(&json!({"type": 7}), &json!({})).is_err());
        assert!(problems(&json!({"$ref": "https://example.org/schema.json"}), &json!({})).is_err());
        assert!(problems(&json!({"$ref": "file:///etc/hostname"}), &json!({})).is_err());
    }
}
