//! What every exception of a plugin becomes, and that no secret is in what is told or logged.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::dialogue::{Answer, Dialogue};
use super::{class, plugin};
use crate::kit::home::text;

/// A plugin whose every method raises what `info["raise"]` says of it.
const RAISING: &str = "
    def __getattribute__(self, name):
        method = super().__getattribute__(name)
        raised = name != 'info' and super().__getattribute__('__dict__').get('info', {}).get('raise', {}).get(name)
        if not raised:
            return method
        def fail(*arguments):
            raise eval(raised)
        return fail

def wrapped(cause, error):
    error.__cause__ = cause
    return error
";

#[test]
fn every_exception_in_every_method_has_its_kind() {
    for method in ["connect", "disconnect", "list_path", "create_remote_digest", "create_local_digest", "retrieve_file"]
    {
        let mut plugin = plugin(RAISING);
        plugin.begin(json!({}));
        plugin.ask("list_path", json!({"path": "/"}));
        let of_a_path = matches!(method, "create_remote_digest" | "create_local_digest" | "retrieve_file");
        for (raised, expected) in [
            ("utils.PluginOperationError('broken')", "failed"),
            ("utils.AuthenticationError('broken')", "unauthenticated"),
            ("utils.UsageError('broken')", "failed"),
            ("NotImplementedError('broken')", "unsupported"),
            ("KeyError('broken')", if of_a_path { "unknown_path" } else { "crashed" }),
            ("ConnectionResetError('broken')", "unreachable"),
            ("__import__('socket').gaierror(-2, 'broken')", "unreachable"),
            ("OSError(113, 'broken')", "unreachable"),
            ("__import__('socket').timeout('broken')", "timed_out"),
            ("wrapped(ConnectionRefusedError(), OSError('broken'))", "unreachable"),
            ("wrapped(ConnectionRefusedError(), ValueError('broken'))", "crashed"),
            ("wrapped(ConnectionRefusedError(), utils.PluginOperationError('broken'))", "unreachable"),
            ("wrapped(KeyError(), utils.PluginOperationError('broken'))", "failed"),
            ("wrapped(KeyError(), OSError('broken'))", "crashed"),
            ("OSError(28, 'broken')", "failed"),
            ("FileNotFoundError('broken')", "crashed"),
            ("ValueError('broken')", "crashed"),
            ("AttributeError('broken')", "crashed"),
            ("SystemExit('broken')", "crashed"),
            ("KeyboardInterrupt('broken')", "crashed"),
        ] {
            let before = plugin.log().len();
            plugin.ask("configure", json!({"info": {"raise": {method: raised}}}));
            let file = text(plugin.staging());
            let answer = plugin.ask(method, json!({"path": "/a.txt", "file": file, "digest": "x"}));
            assert_eq!(answer.kind(), expected, "{raised} in {method}: {}", answer.error);
            let told = if expected == "unsupported" { method } else { "broken" };
            assert!(answer.message().contains(told), "{raised} in {method}: {}", answer.error);
            // The plugin's part of the traceback, and only that.
            let log = plugin.log().split_off(before);
            let crashed = log.contains(&format!("{method} ended with an exception")) && log.contains("example.py");
            assert_eq!(crashed, expected == "crashed", "{raised} in {method}: {log}");
            assert!(!log.contains("kitovufs_adapter"), "{log}");
            let traceback = answer.error["data"]["traceback"].as_str().unwrap_or_default();
            assert_eq!(traceback.contains("example.py\", line "), crashed, "{raised} in {method}: {traceback}");
            // Whatever it was, the adapter goes on.
            assert_eq!(plugin.ask("configure", json!({"info": {}})).error, Value::Null);
            assert_eq!(plugin.ask("create_remote_digest", json!({"path": "/a.txt"})).error, Value::Null);
        }
    }
}

#[test]
fn what_a_method_must_not_return_is_an_error_that_says_so() {
    for (method, returned, told) in [
        ("list_path", "None", "list_path returned None, not paths"),
        ("list_path", "[None]", "list_path told None, which is no path"),
        ("create_remote_digest", "None", "create_remote_digest returned None, not a digest"),
        ("create_local_digest", "''", "create_local_digest returned '', not a digest"),
    ] {
        let mut plugin = plugin(&format!("    def {method}(self, path): return {returned}"));
        plugin.begin(json!({}));
        let answer = plugin.ask(method, json!({"path": "/a.txt", "file": "/nonexistent"}));
        assert_eq!((answer.kind(), answer.message()), ("failed", told));
    }
}

fn configured(body: &str, info: Value) -> Answer {
    plugin(&format!("    def configure(self, info): {body}")).ask("configure", json!({"info": info}))
}

#[test]
fn a_key_error_in_configure_is_a_missing_setting_or_a_wrong_value() {
    let missing = configured("info['username']", json!({"sign": "sometimes"}));
    assert_eq!(missing.error["data"], json!({"kind": "invalid_config", "key": "username", "problem": "missing"}));
    assert_eq!(missing.message(), "`username` is missing");
    let nested = configured("info['server']['port']", json!({"server": {"host": "h"}}));
    assert_eq!(nested.error["data"], json!({"kind": "invalid_config", "key": "port", "problem": "missing"}));

    let signing = "import enum; enum.IntEnum('Sign', 'never always')[info['sign']]";
    let wrong = configured(signing, json!({"sign": "sometimes"}));
    assert_eq!(wrong.error["data"], json!({"kind": "invalid_config", "key": "sign", "problem": "invalid"}));
    assert_eq!(wrong.message(), "`sign` has a value that the plugin does not know");
    let number = configured("{1: 'one'}[info['level']]", json!({"flag": true, "level": 2}));
    assert_eq!(number.error["data"]["key"], "level");
}

#[test]
fn other_exceptions_in_configure_are_wrong_settings_or_crashes() {
    for (body, kind, told) in [
        ("raise utils.InvalidSettingsError('no such place')", "invalid_config", "no such place"),
        ("int(info['port'])", "invalid_config", "invalid literal"),
        ("raise utils.PluginOperationError('not today')", "failed", "not today"),
        ("raise utils.AuthenticationError('not you')", "unauthenticated", "not you"),
        ("1 / 0", "crashed", "ZeroDivisionError"),
        ("input('Password: ')", "invalid_config", "kitovufs login"),
    ] {
        let answer = configured(body, json!({"port": "many"}));
        assert_eq!(answer.kind(), kind, "{body}: {}", answer.error);
        assert!(answer.message().contains(told), "{body}: {}", answer.error);
    }
}

const ASKING: &str = "
    def configure(self, info):
        self.info = info
        self.password = utils.get_password('demo', 'anna\\nEXAMPLE\\nhost', 'anna@host')
        print('it is', self.password)
    def create_remote_digest(self, path): return self.password
";

/// A module `keyring` in which there are two passwords.
const KEYRING: &str = "
def get_password(service, identifier):
    if identifier == 'broken':
        raise RuntimeError('no D-Bus')
    return {('kitovu-demo', 'anna\\nEXAMPLE\\nhost'): 'kept'}.get((service, identifier))
";

#[test]
fn a_password_comes_from_the_table_else_from_where_kitovu_keeps_it() {
    let mut given = plugin(ASKING);
    given.begin(json!({"password": "given"}));
    assert_eq!(given.ask("create_remote_digest", json!({"path": "/a.txt"})).result["digest"], "given");

    let mut kept = plugin(ASKING);
    fs::write(kept.dir().join("keyring.py"), KEYRING).unwrap();
    kept.begin(json!({}));
    assert_eq!(kept.ask("create_remote_digest", json!({"path": "/a.txt"})).result["digest"], "kept");
    for password in [given, kept] {
        assert_eq!(password.end(), "it is [secret]\ndisconnected\n");
    }
}

#[test]
fn a_password_that_is_nowhere_is_never_asked_for() {
    let answer = Dialogue::with(&class(ASKING), |adapter| without_keyring(&adapter.path[0]))
        .ask("configure", json!({"info": {}}));
    assert_eq!(answer.error["data"], json!({"kind": "invalid_config", "key": "password", "problem": "missing"}));
    assert!(answer.message().contains("anna@host") && answer.message().contains("kitovufs login"), "{}", answer.error);

    for identifier in ["nobody", "broken"] {
        let mut plugin = plugin(&ASKING.replace("anna\\nEXAMPLE\\nhost", identifier));
        fs::write(plugin.dir().join("keyring.py"), KEYRING).unwrap();
        let answer = plugin.ask("configure", json!({"info": {}}));
        assert_eq!(answer.kind(), "unauthenticated", "{}", answer.error);
        assert!(answer.message().contains("kitovufs login"), "{}", answer.error);
    }
}

/// Hides a module `keyring` that this machine's Python may have.
fn without_keyring(directory: &Path) {
    fs::write(directory.join("keyring.py"), "raise ImportError('hidden by the test')").unwrap();
}

#[test]
fn a_password_that_the_schema_does_not_allow_is_not_the_plugins() {
    let strict = format!(
        "{ASKING}
    def connection_schema(self):
        return {{'type': 'object', 'properties': {{'url': {{}}}}, 'additionalProperties': False}}
    def create_local_digest(self, path): return str(sorted(self.info))
"
    );
    let mut strict = plugin(&strict);
    let hello = strict.ask("hello", json!({"protocol": 1})).result;
    assert_eq!(hello["schema"]["properties"], json!({"url": {}, "password": {"type": "string"}}));
    strict.begin(json!({"url": "u", "password": "given"}));
    assert_eq!(strict.ask("create_remote_digest", json!({"path": "/a.txt"})).result["digest"], "given");
    let answer = strict.ask("create_local_digest", json!({"path": "/a.txt", "file": "/a.txt"}));
    assert_eq!(answer.result["digest"], "['url']");
}

#[test]
fn no_secret_is_told_or_logged() {
    let leaking = "
    def configure(self, info):
        import logging, sys, os
        self.info = info
        logging.getLogger('leak').warning('the token is %s', info['token'])
        print('with', info['token'] + '!')
        sys.stdout.buffer.write(info['token'].encode() + b'\\n')
        sys.stderr.write(info['token'][:5]); sys.stderr.write(info['token'][5:] + '\\n')
        self.kept = utils.get_password('demo', 'anna\\nEXAMPLE\\nhost', '')
        print('kept', self.kept)
    def connect(self): raise utils.PluginOperationError('GET /?token=a+%2B+secret&b=a%20%2B%20secret: ' + self.info['token'])
    def create_remote_digest(self, path): raise ValueError(self.info['nested']['Api-Key'] + self.kept)
";
    let mut plugin = plugin(leaking);
    fs::write(plugin.dir().join("keyring.py"), KEYRING).unwrap();
    let info = json!({"token": "a + secret", "nested": {"Api-Key": "another"}});
    assert_eq!(plugin.ask("configure", json!({"info": info})).error, Value::Null);
    let refused = plugin.ask("connect", json!({}));
    assert_eq!(refused.message(), "GET /?token=[secret]&b=[secret]: [secret]");
    let crashed = plugin.ask("create_remote_digest", json!({"path": "/a.txt"}));
    assert_eq!(crashed.message(), "ValueError: [secret][secret]");
    let traceback = crashed.error["data"]["traceback"].as_str().unwrap();
    assert!(traceback.ends_with("ValueError: [secret][secret]\n"), "{traceback}");
    let log = plugin.logged() + "\n" + &plugin.end();
    for secret in ["a + secret", "another", "kept\n", "a%20"] {
        assert!(!log.contains(secret), "{log}");
    }
    assert!(log.contains("warn leak: the token is [secret]") && log.contains("with [secret]!"), "{log}");
}
