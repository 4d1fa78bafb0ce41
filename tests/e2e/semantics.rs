//! Every console example of docs/semantics.md runs, in order, on one mount, and prints what the document says.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use crate::kit::home::{Home, text};
use crate::kit::wait::kill;
use crate::remote::Remote;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/semantics.md");

/// Ends the output of a command.
const MARK: &str = "-- end of output --\n";

/// No command of an example takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn every_example_prints_what_the_document_says() {
    let (mut cloud, docs) = (Remote::webdav(), Remote::local());
    cloud.put("report.txt", "the first version\n");
    cloud.put("notes.txt", "Buy milk.\n");
    cloud.put("photos/beach.jpg", "(a picture)\n");
    cloud.put("film.mkv", [&vec![7; 32 << 20], "end\n".as_bytes()].concat());
    docs.put("guide.txt", "How to use it.\n");

    let home = Home::of("");
    symlink("mnt", home.dir().join("kitovu")).unwrap();
    symlink("cache", home.dir().join(".cache")).unwrap();
    fs::create_dir(home.dir().join("config/kitovufs")).unwrap();
    fs::write(home.dir().join("config/kitovufs/config.toml"), configuration(&home, &cloud, &docs)).unwrap();

    let mut shell = Shell::start(&home);
    let examples = blocks("console");
    assert!(examples.len() > 5, "the document has examples");
    for example in &examples {
        for Step { at, on_server, command, output } in steps(example) {
            let said = match (on_server, command.as_str()) {
                (true, "systemctl stop webdav") => {
                    cloud.stop();
                    String::new()
                }
                (true, "systemctl start webdav") => {
                    cloud.start();
                    String::new()
                }
                (true, command) => run_in(&cloud.dir(), command),
                (false, command) => shell.run(command),
            };
            assert!(fits(&output, &said), "line {at}: `{command}` printed:\n{said}\nThe document says:\n{output}");
        }
    }
    shell.run("cd; kitovufs unmount ~/kitovu");
}

/// The document's own configuration, with places that are there.
fn configuration(home: &Home, cloud: &Remote, docs: &Remote) -> String {
    let (_, written) = blocks("toml").into_iter().next().expect("the document shows its configuration");
    let mut config = String::new();
    for line in written.lines() {
        let is_place = ["type = ", "endpoint = ", "path = \"/"].iter().any(|key| line.starts_with(key));
        match line {
            _ if line.starts_with("mountpoint = ") => {
                config += &format!("mountpoint = {:?}\n", text(home.mountpoint()));
            }
            _ if line.starts_with("[sources.cloud]") => config += &cloud.table("cloud"),
            _ if line.starts_with("[sources.docs]") => config += &docs.table("docs"),
            _ if is_place => {}
            _ => config += &format!("{line}\n"),
        }
    }
    config
}

/// A command of an example, and what it prints.
#[derive(Debug, PartialEq)]
struct Step {
    /// The line in the document.
    at: usize,
    on_server: bool,
    command: String,
    output: String,
}

/// The fenced blocks of a language: the number of the line before each, and its text.
fn blocks(language: &str) -> Vec<(usize, String)> {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let opening = format!("```{language}");
    let mut lines = document.lines().enumerate();
    let mut blocks = Vec::new();
    while let Some((at, _)) = lines.find(|(_, line)| *line == opening) {
        let text = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        blocks.push((at + 1, text.collect::<Vec<_>>().join("\n")));
    }
    blocks
}

fn steps((before, text): &(usize, String)) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (on_server, command) = match (line.strip_prefix("$ "), line.strip_prefix("server$ ")) {
            (Some(command), _) => (false, command),
            (None, Some(command)) => (true, command),
            (None, None) => {
                let step = steps.last_mut().expect("an example begins with a command");
                step.output += &format!("{line}\n");
                continue;
            }
        };
        let at = before + number + 1;
        steps.push(Step { at, on_server, command: command.to_owned(), output: String::new() });
    }
    steps
}

/// Whether a command printed what the document says, in which `…` stands for anything within a line.
fn fits(document: &str, said: &str) -> bool {
    let (document, said) = (document.trim_end().lines(), said.trim_end().lines());
    document.clone().count() == said.clone().count() && document.zip(said).all(|(wanted, line)| line_fits(wanted, line))
}

fn line_fits(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[test]
fn an_ellipsis_stands_for_anything_within_a_line() {
    for (wanted, said) in [("a", "a\n"), ("a…", "a"), ("a … d\n", "a b c d"), ("…b…d", "abcd"), ("", "")] {
        assert!(fits(wanted, said), "{wanted:?} {said:?}");
    }
    for (wanted, said) in [("a", "ab"), ("a", "a\nb"), ("a …", "b a"), ("a…d", "a\nd"), ("…b…b", "ab"), ("", "a")]
    {
        assert!(!fits(wanted, said), "{wanted:?} {said:?}");
    }
}

/// Runs a command in a directory, and returns what it prints.
fn run_in(dir: &Path, command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).current_dir(dir).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The user's shell: one for all examples, so that directories and open files last.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
}

impl Shell {
    fn start(home: &Home) -> Self {
        let program = home.binary();
        let programs = program.parent().expect("the program is in a directory");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = home.command("bash");
        command.env("PATH", format!("{}:{path}", programs.display())).env("LC_ALL", "C");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut shell = Self { child, input, output };
        shell.run("exec 2>&1");
        shell
    }

    /// Runs a command to its end, and returns what it prints.
    fn run(&mut self, command: &str) -> String {
        writeln!(self.input, "{command}\nprintf '\\n{}'", MARK.escape_default()).unwrap();
        let end = format!("\n{MARK}");
        let mut said = Vec::new();
        while !said.ends_with(end.as_bytes()) {
            let more = self.output.recv_timeout(PATIENCE);
            said.extend(more.unwrap_or_else(|e| panic!("`{command}`: {e}, after {}", String::from_utf8_lossy(&said))));
        }
        said.truncate(said.len() - end.len());
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        kill(&mut self.child);
    }
}
