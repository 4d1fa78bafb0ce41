//! The table `[web]`: where the page is served, and to whom. It opens nothing.

use std::net::SocketAddr;

use toml::de::{DeTable, DeValue};

use super::super::{WebConfig, value};
use super::{Walk, table_of};
use crate::source::nearest::unknown_key;

const KEYS: [&str; 2] = ["listen", "token"];

const EXAMPLE: &str = "write for example \"127.0.0.1:8765\"";

impl Walk<'_> {
    pub(super) fn web(&mut self, root: &DeTable<'_>) -> Option<WebConfig> {
        let (mut listen, mut token, mut has_token) = (None, None, false);
        for (key, value) in self.own_table(root, "web") {
            let name: &str = key.get_ref();
            match name {
                "listen" => match address(value.get_ref()) {
                    Ok(address) => listen = Some((address, value.span())),
                    Err(message) => self.wrong(value.span(), message),
                },
                "token" => {
                    has_token = true;
                    match self.secret(name, value) {
                        Ok(secret) => token = Some(secret),
                        Err(why) => self.wrong(value.span(), why),
                    }
                }
                _ => self.wrong(key.span(), unknown_key(name, KEYS.into_iter())),
            }
        }
        let Some((address, span)) = listen else {
            if let Some(Ok(table)) = table_of(root, "web")
                && !table.contains_key("listen")
            {
                let line = root.get_key_value("web").map(|(key, _)| self.lines.of(&key.span()));
                self.missing(line, format!("[web] has no `listen`; {EXAMPLE}"));
            }
            return None;
        };
        if !address.ip().is_loopback() && !has_token {
            let message = "`listen` is an address that other machines reach, so [web] needs a `token`; write for example \
                           token = { file = \"web-token\" }, or listen on 127.0.0.1";
            self.wrong(span, message.into());
            return None;
        }
        Some(WebConfig { listen: address, token })
    }
}

fn address(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    let DeValue::String(text) = value else {
        return Err(format!("{}; {EXAMPLE}", value::wrong_type("listen", "an address with a port", value)));
    };
    text.parse().map_err(|_| format!("`listen` is no IP address with a port: {}; {EXAMPLE}", value::shown(value)))
}
