//! `plugin`: the conformance suite and a first program for authors of plugins. It mounts nothing.

mod new;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Failure;
use super::args::{PluginCheckArgs, PluginCommand};
use super::language::Language;
use super::output::{out, outln, say};
use super::runtime::on_runtime;
use crate::config::{Config, Diagnostics};
use crate::error::{Error, ErrorKind};
use crate::mount::sources::others_secrets;
use crate::source::Settings;
use crate::sources::plugin::check::{Finding, Subject, check};
use crate::sources::plugin_kind;

/// The timeout of an answer where the command line tells none.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The request of an author.
#[derive(Debug)]
pub enum PluginRequest {
    /// Check a plugin.
    Check(Whom),
    /// Write a first plugin.
    New {
        /// In which language.
        language: Language,
        /// The directory to write.
        dir: PathBuf,
    },
}

/// Which plugin.
#[derive(Debug)]
pub enum Whom {
    /// The one of a configured source.
    Source {
        /// The configuration file.
        file: PathBuf,
        /// The source's name.
        name: String,
    },
    /// The one that a source with this table would have.
    Table {
        /// The source's type.
        type_name: &'static str,
        /// Its own keys.
        values: BTreeMap<String, toml::Value>,
    },
}

/// Resolves typed arguments to a request.
///
/// # Errors
/// `Usage`.
pub(super) fn resolve(typed: PluginCommand) -> Result<PluginRequest, Failure> {
    let args = match typed {
        PluginCommand::Check(args) => args,
        PluginCommand::New { lang, dir } => return Ok(PluginRequest::New { language: lang, dir }),
    };
    let PluginCheckArgs { config, source, python, set, command } = args;
    match (source, python, command.split_first()) {
        (Some(name), None, None) if set.is_empty() => {
            Ok(PluginRequest::Check(Whom::Source { file: config.unwrap_or_else(Config::default_path), name }))
        }
        (None, Some(plugin), None) if config.is_none() => {
            let mut values = settings(&set)?;
            values.insert("plugin".into(), plugin.into());
            let directory = match values.get("path") {
                None => Some("."),
                Some(path) => path.as_str(),
            };
            if let Some(directory) = directory {
                let path = toml::Value::Array(vec![absolute(directory)?.into()]);
                values.insert("path".into(), path);
            }
            Ok(PluginRequest::Check(Whom::Table { type_name: "python", values }))
        }
        (None, None, Some((program, args))) if config.is_none() => {
            let mut values = settings(&set)?;
            let program = if program.contains('/') { absolute(program)? } else { program.clone() };
            // A plugin does not run here, and a file that is named here should be found there.
            let args = args.iter().map(|arg| if Path::new(arg).exists() { absolute(arg) } else { Ok(arg.clone()) });
            let command = std::iter::once(Ok(program)).chain(args).map(|word| word.map(toml::Value::from));
            let command: Vec<_> = command.collect::<Result<_, _>>()?;
            values.insert("command".into(), command.into());
            Ok(PluginRequest::Check(Whom::Table { type_name: "plugin", values }))
        }
        _ => Err(Failure::Usage(
            "which plugin? Type kitovufs plugin check [--set KEY=VALUE]… COMMAND…, or --python PLUGIN in place of COMMAND…, \
             or kitovufs plugin check --source NAME"
                .into(),
        )),
    }
}

fn settings(typed: &[String]) -> Result<BTreeMap<String, toml::Value>, Failure> {
    typed.iter().map(|typed| setting(typed)).collect()
}

fn absolute(program: &str) -> Result<String, Failure> {
    let path = std::path::absolute(crate::path::expand_home(program))
        .ok()
        .and_then(|path| path.into_os_string().into_string().ok());
    path.ok_or_else(|| Failure::Usage(format!("COMMAND {program}: its path cannot be used")))
}

/// `KEY=VALUE`: the value as in a configuration file, or else a text.
fn setting(typed: &str) -> Result<(String, toml::Value), Failure> {
    let (key, value) =
        typed.split_once('=').ok_or_else(|| Failure::Usage(format!("--set {typed}: write it as --set KEY=VALUE")))?;
    let parsed: Option<toml::Table> = toml::from_str(&format!("value = {value}")).ok();
    let value = parsed.and_then(|mut table| table.remove("value")).unwrap_or_else(|| value.into());
    Ok((key.to_owned(), value))
}

/// Carries out a request of an author. Returns the exit code.
///
/// # Errors
/// The plugin, or its settings, or the place for a new one cannot be used.
pub fn run(request: PluginRequest) -> Result<u8, Failure> {
    match request {
        PluginRequest::New { language, dir } => {
            out!("{}", new::write(language, &dir)?);
            Ok(0)
        }
        PluginRequest::Check(whom) => {
            let (type_name, settings, timeout) = match whom {
                Whom::Table { type_name, values } => (type_name.to_owned(), Settings::of("checked", values), TIMEOUT),
                Whom::Source { file, name } => configured(&file, &name)?,
            };
            let holds = on_runtime(examine(&type_name, &settings, timeout))?;
            Ok(u8::from(!holds))
        }
    }
}

fn configured(file: &Path, name: &str) -> Result<(String, Settings, Duration), Failure> {
    let (config, problems) = Config::examine(file)?;
    if !problems.is_empty() {
        return Err(problems.into());
    }
    let source = config.sources.iter().find(|source| source.name == name).cloned();
    let mut source =
        source.ok_or_else(|| Failure::Usage(format!("{}: there is no source `{name}`", file.display())))?;
    source.settings.withheld = others_secrets(&config, &source);
    Ok((source.type_name, source.settings, source.timeout))
}

async fn examine(type_name: &str, settings: &Settings, timeout: Duration) -> Result<bool, Failure> {
    let plugin = plugin_kind(type_name)
        .ok_or_else(|| Failure::Usage(format!("a source of type `{type_name}` has no plugin to be checked")))?;
    let problems = |problems: Vec<crate::source::Problem>| {
        Diagnostics(problems.into_iter().map(|problem| crate::config::Diagnostic::new(problem.message)).collect())
    };
    let (launch, info) = plugin.read(settings).map_err(problems)?;
    let (info, secrets) = info.reveal().await?;
    let subject = Subject { launch, info, secrets, timeout };
    let scratch = tempfile::tempdir().map_err(|e| Error::new("check", ErrorKind::Cache).caused_by(e))?;
    let (mut all, mut wrong) = (0_u32, 0_u32);
    let mut tell = |finding: &Finding| {
        all += 1;
        wrong += u32::from(finding.wrong.is_some());
        say(&shown(finding));
    };
    let holds = check(&subject, scratch.path(), &mut tell).await?;
    match wrong {
        0 => outln!("all {all} hold: the plugin keeps the protocol"),
        _ => outln!("{wrong} of {all} FAILED; docs/plugin-protocol.md says what is wanted, and why"),
    }
    Ok(holds)
}

fn shown(finding: &Finding) -> String {
    let Finding { about, wanted, sent, came, wrong, traceback } = finding;
    let verdict = if wrong.is_some() { "FAILED" } else { "ok    " };
    let mut text = format!("{verdict}  {about}: {wanted}\n");
    for (mark, line) in [("→", sent), ("←", came), ("!", wrong.as_ref().unwrap_or(&String::new()))] {
        if !line.is_empty() {
            text += &format!("          {mark} {line}\n");
        }
    }
    traceback.iter().for_each(|line| text += &format!("          | {line}\n"));
    text
}
