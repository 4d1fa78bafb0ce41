//! A plugin for kitovufs. It shows two texts; replace them with what your service has.
//!
//! Try it:  cargo build && kitovufs plugin check --set greeting=Hello target/debug/my-plugin
//! Show it, in ~/.config/kitovufs/config.toml:
//!
//!     [sources.mine]
//!     type = "plugin"
//!     command = ["/the/whole/path/to/target/debug/my-plugin"]
//!     greeting = "Hello"

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use serde_json::{Value, json};

/// An error's `data`; the kinds are in the protocol's section on errors.
struct Refused(Value, String);

#[derive(Default)]
struct Service {
    files: BTreeMap<String, String>,
}

impl Service {
    fn answer(&mut self, method: &str, params: &Value) -> Result<Value, Refused> {
        match method {
            "hello" => Ok(json!({"protocol": 1, "name": "my service",
                "capabilities": {"attributes": true, "one_level": true, "conditional": true}})),
            "configure" => self.configure(&params["info"]),
            // Log in to your service, and out of it.
            "connect" | "disconnect" => Ok(json!({})),
            "list_path" => self.list(text(params, "path")),
            "create_remote_digest" => {
                let content = self.content(text(params, "path"))?;
                Ok(json!({"digest": digest(content), "size": content.len()}))
            }
            "create_local_digest" => {
                let copy = std::fs::read_to_string(text(params, "file")).map_err(failed)?;
                Ok(json!({"digest": digest(&copy)}))
            }
            "retrieve_file" => {
                let content = self.content(text(params, "path"))?;
                if digest(content) != text(params, "digest") {
                    return Err(refused("changed", "the file has changed"));
                }
                std::fs::write(text(params, "file"), content).map_err(failed)?;
                Ok(json!({}))
            }
            _ => Err(Refused(Value::Null, "unknown method".into())),
        }
    }

    fn configure(&mut self, info: &Value) -> Result<Value, Refused> {
        let Some(greeting) = info["greeting"].as_str() else {
            let data = json!({"kind": "invalid_config", "key": "greeting", "problem": "missing"});
            return Err(Refused(data, "`greeting` is missing".into()));
        };
        self.files.insert("/hello.txt".into(), format!("{greeting}, world!\n"));
        self.files.insert("/more/again.txt".into(), "And again.\n".into());
        Ok(json!({}))
    }

    fn list(&self, path: &str) -> Result<Value, Refused> {
        let top = format!("{}/", path.trim_end_matches('/'));
        let mut entries = BTreeMap::new();
        for (path, content) in &self.files {
            let Some(rest) = path.strip_prefix(&top) else { continue };
            match rest.split_once('/') {
                Some((name, _)) => entries.insert(name, json!({"path": format!("{top}{name}"), "kind": "directory"})),
                None => entries.insert(rest, json!({"path": path, "kind": "file", "size": content.len()})),
            };
        }
        if entries.is_empty() && top != "/" {
            return Err(refused("not_found", "there is no such directory"));
        }
        Ok(json!({"entries": entries.into_values().collect::<Vec<_>>()}))
    }

    fn content(&self, path: &str) -> Result<&str, Refused> {
        self.files.get(path).map(String::as_str).ok_or_else(|| refused("not_found", "there is no such file"))
    }
}

/// The same digest must mean the same bytes; here the bytes themselves are short enough.
fn digest(content: &str) -> String {
    format!("{}:{content}", content.len()).chars().take(100).collect()
}

fn refused(kind: &str, message: &str) -> Refused {
    Refused(json!({ "kind": kind }), message.into())
}

fn failed(error: std::io::Error) -> Refused {
    refused("failed", &error.to_string())
}

fn text<'a>(params: &'a Value, name: &str) -> &'a str {
    params[name].as_str().unwrap_or_default()
}

fn main() -> std::io::Result<()> {
    let mut service = Service::default();
    // Standard output is for messages only; eprintln! what people should see in the log. The loop ends with the standard input.
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        if request["id"].is_null() {
            continue;
        }
        let mut answer = json!({"jsonrpc": "2.0", "id": request["id"]});
        match service.answer(text(&request, "method"), &request["params"]) {
            Ok(result) => answer["result"] = result,
            Err(Refused(Value::Null, message)) => answer["error"] = json!({"code": -32601, "message": message}),
            Err(Refused(data, message)) => answer["error"] = json!({"code": -32000, "message": message, "data": data}),
        }
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}
