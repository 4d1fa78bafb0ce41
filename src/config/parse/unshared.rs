//! What a configuration hears that wants to share, from a program without that. It has the interface of `shared.rs`.

use toml::de::DeTable;

use super::super::{SharedConfig, Sharing, SourceConfig};
use super::Walk;

const WITHOUT: &str =
    "this kitovufs was built without what machines have in common; build it with the feature `shared`";

impl Walk<'_> {
    pub(super) fn shared(&mut self, root: &DeTable<'_>, _: &[SourceConfig]) -> Option<SharedConfig> {
        let (key, _) = root.get_key_value("shared")?;
        self.wrong(key.span(), format!("[shared]: {WITHOUT}"));
        None
    }
}

pub(super) fn sharing(shared: Option<bool>, circle: Option<String>) -> Result<Option<Sharing>, String> {
    match shared == Some(true) || circle.is_some() {
        true => Err(format!("`shared`: {WITHOUT}")),
        false => Ok(None),
    }
}
