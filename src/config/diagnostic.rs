//! `Diagnostic`: one thing wrong with the configuration, with the place where it stands. It knows no TOML.

use std::fmt;
use std::path::PathBuf;

/// One problem of the configuration: where it is, what is wrong and what to do. Never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file as the user named it; `None` if the configuration comes from a URL.
    pub file: Option<PathBuf>,
    /// The line, counted from 1; `None` if it is about the file as a whole.
    pub line: Option<usize>,
    /// The problem and its remedy.
    pub message: String,
}

impl Diagnostic {
    /// A problem that stands in no file.
    pub fn new(message: impl Into<String>) -> Self {
        Self { file: None, line: None, message: message.into() }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: {}", file.display(), self.message),
            (Some(file), None) => write!(f, "{}: {}", file.display(), self.message),
            (None, _) => f.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with a configuration, in the order of its lines. Shown one per line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if nothing is wrong, else the problems.
    ///
    /// # Errors
    /// `self`, unless it is empty.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_one_problem_per_line_with_file_and_line() {
        let at = |line, message: &str| Diagnostic { file: Some("a.toml".into()), line, message: message.into() };
        let all = Diagnostics(vec![at(Some(12), "bad"), at(None, "worse"), Diagnostic::new("worst")]);
        assert_eq!(all.to_string(), "a.toml:12: bad\na.toml: worse\nworst");
    }
}
