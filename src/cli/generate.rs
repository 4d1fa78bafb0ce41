//! Manual pages and completions, made from the command line itself, for packages. It knows no command.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::CompleteEnv;
use clap_complete::env::{Bash, EnvCompleter, Fish, Zsh};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::args::LowArgs;
use crate::error::{Error, ErrorKind, Result};

/// The environment variable by which the functions of shells ask for completions. clap's own, `COMPLETE`, may be meant for another program.
const VARIABLE: &str = "KITOVUFS_COMPLETE";

/// The shells that are known, where Debian's packages have their functions, below /usr/share, and what the functions lack there.
const SHELLS: [(&dyn EnvCompleter, &str, &str); 3] = [
    (&Bash, "bash-completion/completions/kitovufs", ""),
    (&Zsh, "zsh/vendor-completions/_kitovufs", ZSH_LOADS),
    (&Fish, "fish/vendor_completions.d/kitovufs.fish", ""),
];

/// The file is the body of a function that zsh loads at the first question, which it is to answer too (zshcompsys(1)).
const ZSH_LOADS: &str = "[[ ${funcstack[1]} != _kitovufs ]] || _clap_dynamic_completer_kitovufs \"$@\"\n";

/// The headings in the text below the help of a command, and their names in manual pages (man-pages(7)).
const HEADINGS: [(&str, &str); 5] = [
    ("Example:", "EXAMPLES"),
    ("Examples:", "EXAMPLES"),
    ("Exit codes:", "EXIT STATUS"),
    ("Configuration:", "FILES"),
    ("Environment:", "ENVIRONMENT"),
];

/// Answers the question of a shell, and ends the process, if it is one. Only while there is one thread: it changes the environment.
pub(super) fn answer_shell() {
    CompleteEnv::with_factory(LowArgs::command).var(VARIABLE).completer(NAME).complete();
}

/// The name of the program.
const NAME: &str = "kitovufs";

/// Writes a manual page for each command, and the functions for completion of each shell, into `dir`, as they are below /usr/share.
///
/// # Errors
/// They cannot be written.
pub(super) fn generate(dir: &Path) -> Result<u8> {
    let failed = |e: io::Error| Error::new("generate", ErrorKind::Other).on(dir.display()).caused_by(e);
    let man = dir.join("man/man1");
    fs::create_dir_all(&man).map_err(failed)?;
    let mut all = LowArgs::command();
    all.build();
    for command in shown(&all) {
        let page = page_of(&command);
        let mut file = File::create(man.join(page.get_filename())).map_err(failed)?;
        write_page(&page, &command, &mut file).map_err(failed)?;
    }
    for (shell, place, lacking) in SHELLS {
        let place = dir.join(place);
        place.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        let mut file = File::create(place).map_err(failed)?;
        shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut file).map_err(failed)?;
        file.write_all(lacking.as_bytes()).map_err(failed)?;
    }
    Ok(0)
}

/// A command and those below it, without the ones that are for nobody.
fn shown(command: &Command) -> Vec<Command> {
    let below = command.get_subcommands().filter(|command| !command.is_hide_set()).flat_map(shown);
    std::iter::once(command.clone()).chain(below).collect()
}

fn page_of(command: &Command) -> Man {
    Man::new(command.clone())
        .source(concat!("kitovufs ", env!("CARGO_PKG_VERSION")))
        .manual("Remote sources as folders")
}

fn write_page(page: &Man, command: &Command, out: &mut dyn io::Write) -> io::Result<()> {
    page.render_title(out)?;
    page.render_name_section(out)?;
    page.render_synopsis_section(out)?;
    page.render_description_section(out)?;
    page.render_options_section(out)?;
    if command.has_subcommands() {
        page.render_subcommands_section(out)?;
    }
    sections(&command.get_after_help().map(ToString::to_string).unwrap_or_default()).to_writer(out)
}

/// The text below the help, whose lines stay as they are. A paragraph without heading belongs to what is above.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::default();
    for paragraph in text.split("\n\n") {
        let (first, below) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let lines = match HEADINGS.into_iter().find(|(heading, _)| *heading == first) {
            Some((_, name)) => {
                roff.control("SH", [name]);
                below
            }
            None => {
                roff.control("PP", []);
                paragraph
            }
        };
        roff.control("EX", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("EE", []);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(command: &Command) -> String {
        let mut page = Vec::new();
        write_page(&page_of(command), command, &mut page).expect("written to memory");
        String::from_utf8(page).expect("it is text")
    }

    #[test]
    fn every_command_has_a_page_with_an_example() {
        let mut all = LowArgs::command();
        all.build();
        let commands = shown(&all);
        assert!(commands.len() > 20, "the commands below `config` and `plugin` are among them");
        for command in commands {
            let (name, page) = (command.get_display_name().unwrap_or_default(), text_of(&command));
            assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{page}");
            let (_, examples) = page.split_once(".SH EXAMPLES\n").unwrap_or_else(|| panic!("{name} has none:\n{page}"));
            assert!(examples.contains(NAME), "{name}: {examples}");
        }
    }

    #[test]
    fn lines_of_examples_stay_as_they_are() {
        let roff = sections("Examples:\n  kitovufs log\n  .x\n\n  a   b\n\nExit codes:\n  0  done\n\nMore.").to_roff();
        assert!(
            roff.starts_with(
                ".SH EXAMPLES\n.EX\n  kitovufs log\n  .x\n.EE\n.PP\n.EX\n  a   b\n.EE\n.SH \"EXIT STATUS\"\n"
            ),
            "{roff}"
        );
        assert!(roff.ends_with("0  done\n.EE\n.PP\n.EX\nMore.\n.EE\n"), "{roff}");
    }

    #[test]
    fn packages_get_a_page_for_each_command_and_a_function_for_each_shell() {
        let dir = tempfile::tempdir().expect("a directory");
        generate(dir.path()).expect("it can be written");
        for place in ["man/man1/kitovufs.1", "man/man1/kitovufs-mount.1", "man/man1/kitovufs-config-example.1"] {
            assert!(dir.path().join(place).is_file(), "{place}");
        }
        for (_, place, _) in SHELLS {
            let text = fs::read_to_string(dir.path().join(place)).expect("it is there");
            assert!(text.contains(VARIABLE) && text.contains(NAME), "{text}");
        }
    }
}
