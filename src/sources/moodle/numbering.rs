//! `Numbering`: the setting that says whether the names of a course's sections begin with their numbers. It knows names, and no section.

use crate::source::settings::Reader;

/// What `number_sections` says; without it, sections are numbered whose names would not stand in the order of their course.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbering(Option<bool>);

impl Numbering {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self(reader.boolean("number_sections"))
    }

    /// The names of sections, given with their positions, in the order of their course. A number is the position that the site tells:
    /// it stays when a hidden section is shown, or an empty one is filled. Sections without one stand after those that have it.
    pub(super) fn apply(self, sections: Vec<(Option<i64>, String)>) -> Vec<String> {
        let is_numbered = self.0.unwrap_or_else(|| !is_in_order(&sections));
        let last = sections.iter().filter_map(|(position, _)| *position).max().unwrap_or(0);
        let digits = last.to_string().len().max(2);
        let named = |(position, name): (Option<i64>, String)| match position {
            Some(position @ 0..) if is_numbered => format!("{position:0digits$} - {name}"),
            _ => name,
        };
        sections.into_iter().map(named).collect()
    }
}

/// Whether programs show the names as the course has them: those that compare bytes, and those that ignore case.
fn is_in_order(sections: &[(Option<i64>, String)]) -> bool {
    sections.is_sorted_by(|(_, a), (_, b)| a < b && a.to_lowercase() < b.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(setting: Option<bool>, names: &[&str]) -> Vec<String> {
        let sections = (0..).map(Some).zip(names.iter().map(|&name| name.to_owned()));
        Numbering(setting).apply(sections.collect())
    }

    #[test]
    fn sections_are_numbered_whose_names_do_not_stand_in_their_order() {
        for names in [
            &["General", "14 November - 20 November"][..],
            &["Topic 9", "Topic 10"],
            &["Same", "Same"],
            &["Week", "lab"],
            &["lab", "Week", "exam"],
        ] {
            let expected: Vec<_> = names.iter().enumerate().map(|(at, name)| format!("{at:02} - {name}")).collect();
            assert_eq!(numbered(None, names), expected);
            assert_eq!(numbered(Some(false), names), names);
        }
    }

    #[test]
    fn sections_whose_names_stand_in_their_order_are_numbered_only_if_that_is_wanted() {
        for names in [&["General", "Topic 1", "Topic 2"][..], &["Only one"], &[]] {
            assert_eq!(numbered(None, names), names);
        }
        assert_eq!(numbered(Some(true), &["Only one"]), ["00 - Only one"]);
    }

    #[test]
    fn numbers_are_the_site_s_positions_all_of_one_length() {
        let sections = [(Some(4), "b"), (Some(100), "a"), (None, "Other"), (Some(-1), "odd")];
        let named = Numbering(None).apply(sections.map(|(position, name)| (position, name.to_owned())).into());
        assert_eq!(named, ["004 - b", "100 - a", "Other", "odd"]);
    }
}
