//! `Omitted`: what one listing leaves out, as a count with the first names and the reasons. It decides nothing and logs nothing.

use std::fmt;

use crate::path::Printable;

/// The most names that are shown, and the most bytes of each.
const MAX_NAMES_SHOWN: usize = 3;
const MAX_SHOWN_BYTES: usize = 60;

/// The names that one listing leaves out. Its size does not depend on their number.
#[derive(Debug, Default)]
pub struct Omitted {
    count: usize,
    shown: Vec<String>,
}

impl Omitted {
    /// Adds a name, and why it is left out.
    pub fn add(&mut self, name: &[u8], why: impl fmt::Display) {
        self.count += 1;
        if self.shown.len() < MAX_NAMES_SHOWN {
            let cut = if name.len() > MAX_SHOWN_BYTES { "…" } else { "" };
            let name = Printable(&name[..name.len().min(MAX_SHOWN_BYTES)]);
            self.shown.push(format!("\"{name}{cut}\" ({why})"));
        }
    }

    /// The number of omitted names, the first of them, and why, in one line; `None` if none is omitted.
    pub fn told(&self) -> Option<String> {
        let Self { count, shown } = self;
        let names = if *count == 1 { "name is" } else { "names are" };
        let more = if *count > shown.len() { ", …" } else { "" };
        (*count > 0).then(|| format!("{count} {names} left out: {}{more}", shown.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_left_out_is_one_short_line() {
        let mut omitted = Omitted::default();
        assert_eq!(omitted.told(), None);
        omitted.add(b"a\x1b", "it is wrong");
        assert_eq!(omitted.told().as_deref(), Some("1 name is left out: \"a␛\" (it is wrong)"));
        (1..100_000).for_each(|_| omitted.add(&[b'x'; 1000], "it is long"));
        let told = omitted.told().expect("something is left out");
        assert!(told.starts_with("100000 names are left out: \"a␛\"") && told.ends_with("(it is long), …"), "{told}");
        assert!(told.len() < 300, "{told}");
    }
}
