//! `Omitted`: what one listing leaves out, as counts with the first names and the reasons. It decides nothing and logs nothing.

use std::fmt;

use crate::path::Printable;

/// The most names that are shown, and the most bytes of each.
const MAX_NAMES_SHOWN: usize = 3;
const MAX_SHOWN_BYTES: usize = 60;

/// The names that one listing leaves out. Its size does not depend on their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Omitted {
    refused: usize,
    unreadable: usize,
    hidden: usize,
    shown: Vec<String>,
}

impl Omitted {
    /// Adds what is certainly no name in the directory, such as `..`, and why it is left out.
    pub fn refuse(&mut self, name: &[u8], why: impl fmt::Display) {
        self.refused += 1;
        self.show(name, why);
    }

    /// Adds a record that could not be read, and why: the name that it is about may be any, so the listing is incomplete.
    pub fn add_unreadable(&mut self, record: &[u8], why: impl fmt::Display) {
        self.unreadable += 1;
        self.show(record, why);
    }

    /// Counts a name that was understood and is not shown: a device, or a link whose target is not shown.
    pub fn hide(&mut self) {
        self.hidden += 1;
    }

    /// Adds what another part of the same listing leaves out.
    pub fn append(&mut self, other: Self) {
        let Self { refused, unreadable, hidden, shown } = other;
        self.refused += refused;
        self.unreadable += unreadable;
        self.hidden += hidden;
        self.shown.extend(shown);
        self.shown.truncate(MAX_NAMES_SHOWN);
    }

    /// The same, with its words as `change` has them.
    #[must_use]
    pub fn rewritten(self, change: impl Fn(&str) -> String) -> Self {
        Self { shown: self.shown.iter().map(|words| change(words)).collect(), ..self }
    }

    /// Whether a name that is not listed may be there all the same.
    pub fn is_incomplete(&self) -> bool {
        self.unreadable > 0
    }

    /// The number of names that are left out, hidden ones included.
    pub fn count(&self) -> usize {
        self.told_count() + self.hidden
    }

    /// The number of names, hidden ones not included, the first of them, and why they are left out, in one line; `None` if there are none.
    pub fn told(&self) -> Option<String> {
        let count = self.told_count();
        let names = if count == 1 { "name is" } else { "names are" };
        let more = if count > self.shown.len() { ", …" } else { "" };
        (count > 0).then(|| format!("{count} {names} left out: {}{more}", self.shown.join(", ")))
    }

    fn told_count(&self) -> usize {
        self.refused + self.unreadable
    }

    fn show(&mut self, name: &[u8], why: impl fmt::Display) {
        if self.shown.len() < MAX_NAMES_SHOWN {
            let cut = if name.len() > MAX_SHOWN_BYTES { "…" } else { "" };
            let name = Printable(&name[..name.len().min(MAX_SHOWN_BYTES)]);
            self.shown.push(format!("\"{name}{cut}\" ({why})"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_left_out_is_one_short_line() {
        let mut omitted = Omitted::default();
        assert_eq!(omitted.told(), None);
        omitted.refuse(b"a\x1b", "it is wrong");
        assert_eq!(omitted.told().as_deref(), Some("1 name is left out: \"a␛\" (it is wrong)"));
        (1..100_000).for_each(|_| omitted.refuse(&[b'x'; 1000], "it is long"));
        let told = omitted.told().expect("something is left out");
        assert!(told.starts_with("100000 names are left out: \"a␛\"") && told.ends_with("(it is long), …"), "{told}");
        assert!(told.len() < 300, "{told}");
    }

    #[test]
    fn only_what_could_not_be_read_makes_a_listing_incomplete() {
        let mut omitted = Omitted::default();
        omitted.hide();
        omitted.refuse(b"..", "it leads elsewhere");
        assert!(!omitted.is_incomplete());
        let mut other = Omitted::default();
        (0..5).for_each(|_| other.add_unreadable(b"?", "it has no form"));
        omitted.append(other);
        assert!(omitted.is_incomplete());
        assert_eq!(omitted.count(), 7);
        assert!(
            omitted
                .told()
                .is_some_and(|told| told.starts_with("6 names are left out: \"..\"") && told.ends_with(", …"))
        );
    }
}
