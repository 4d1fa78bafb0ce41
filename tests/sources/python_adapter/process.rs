//! The adapter as a process: its streams, its end, one call at a time.

use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::dialogue::Dialogue;
use super::{BASE, plugin};
use crate::kit::home::text;
use crate::kit::wait::{SOON, eventually, holds_within};

#[test]
fn what_a_plugin_prints_goes_to_the_log() {
    let mut plugin = plugin(
        "
    def configure(self, info):
        import os, subprocess, sys, warnings
        print('by print')
        sys.stdout.write('without an end')
        sys.stdout.buffer.write(b' and as bytes \\xff\\n')
        os.write(1, b'by descriptor\\n')
        subprocess.run(['echo', 'by a program'], check=True)
        warnings.warn('by a warning')
        self.read = sys.stdin.read() + subprocess.run(['cat'], stdout=subprocess.PIPE, check=True).stdout.decode()
    def create_remote_digest(self, path): return 'read: ' + repr(self.read)
",
    );
    plugin.begin(json!({}));
    let read = plugin.ask("create_remote_digest", json!({"path": "/a.txt"}));
    assert_eq!(read.result["digest"], "read: ''", "standard input is the protocol's");
    let log = plugin.end();
    for printed in
        ["by print\n", "without an end and as bytes \u{fffd}\n", "by descriptor\n", "by a program\n", "by a warning\n"]
    {
        assert!(log.contains(printed), "{printed:?} is not in {log}");
    }
}

#[test]
fn when_the_host_goes_the_plugin_disconnects_if_it_is_connected() {
    let mut connected = plugin("");
    connected.begin(json!({}));
    assert_eq!(connected.end(), "disconnected\n");

    let mut disconnected = plugin("");
    disconnected.begin(json!({}));
    disconnected.ask("disconnect", json!({}));
    assert_eq!(disconnected.end(), "disconnected\n", "and not twice");

    let mut refused = plugin("    def connect(self): raise utils.PluginOperationError('no')");
    refused.ask("connect", json!({}));
    assert_eq!(refused.end(), "");
}

#[test]
fn a_call_that_hangs_does_not_outlive_the_host() {
    let mut plugin = plugin("    def connect(self): import time; time.sleep(3600)");
    plugin.send("connect", json!({}));
    plugin.end();
}

#[test]
fn calls_come_one_after_the_other() {
    let mut plugin = plugin(
        "
    busy = False
    def create_remote_digest(self, path):
        import time
        assert not self.busy
        self.busy = True
        time.sleep(0.05)
        self.busy = False
        return 'x'
",
    );
    plugin.begin(json!({}));
    let ids = [(); 5].map(|()| plugin.send("create_remote_digest", json!({"path": "/a.txt"})));
    for id in ids {
        assert_eq!(plugin.answer(id).result, json!({"digest": "x"}));
    }
}

#[test]
fn a_cancelled_call_ends_and_the_next_one_is_served() {
    let mut plugin = plugin(
        "
    def retrieve_file(self, path, fileobj):
        import time
        while True:
            try:
                fileobj.write(b'x')
            except Exception:
                pass
            time.sleep(0.01)
    def list_path(self, path):
        if path == pathlib.PurePath('/'):
            yield pathlib.PurePath('/a.txt')
        while path != pathlib.PurePath('/'):
            yield path
",
    );
    plugin.begin(json!({}));
    plugin.ask("list_path", json!({"path": "/"}));
    let file = plugin.staging();
    let retrieval = plugin.send("retrieve_file", json!({"path": "/a.txt", "file": text(&file)}));
    eventually("it has begun, and the file grows", || std::fs::metadata(&file).unwrap().len() > 0);
    plugin.cancel(retrieval);
    assert_eq!(plugin.answer(retrieval).message(), "cancelled");
    let listing = plugin.send("list_path", json!({"path": "/endless"}));
    plugin.cancel(listing);
    assert_eq!(plugin.answer(listing).message(), "cancelled");
    plugin.cancel(listing);
    assert_eq!(plugin.ask("create_remote_digest", json!({"path": "/a.txt"})).error, json!(null));
}

#[test]
fn an_interrupt_at_the_terminal_is_the_hosts_business() {
    let mut plugin = plugin("");
    plugin.begin(json!({}));
    let pid = Pid::from_raw(i32::try_from(plugin.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(plugin.ask("create_remote_digest", json!({"path": "/a.txt"})).error, json!(null));
}

#[test]
fn unknown_methods_are_answered_and_nonsense_is_not() {
    let mut plugin = plugin("");
    plugin.begin(json!({}));
    assert_eq!(plugin.ask("fly", json!({})).error["code"], -32601);
    assert_eq!(plugin.ask("_read_schema", json!({})).error["code"], -32601);
    plugin.write_line("no JSON");
    plugin.write_line("[]");
    plugin.write_line(r#"{"jsonrpc": "2.0", "method": "connect"}"#);
    assert_eq!(plugin.ask("create_remote_digest", json!({"path": "/a.txt", "new": 1})).error, json!(null));
}

#[test]
fn a_list_of_processes_shows_what_it_is_for_and_children_do_not_inherit_the_adapter() {
    let mut plugin = plugin("    def create_remote_digest(self, path): import os; return str(sorted(os.environ))");
    plugin.begin(json!({}));
    let environment = plugin.ask("create_remote_digest", json!({"path": "/a.txt"}));
    assert!(!environment.result.to_string().contains("KITOVUFS_ADAPTER"));
    let shown = Command::new("ps").args(["-o", "args=", "-p", &plugin.pid().to_string()]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.len() < 300 && shown.contains("example:Plugin"), "{shown}");
}

#[test]
fn threads_of_a_plugin_do_not_keep_the_process_alive() {
    let module = BASE.replace(
        "def connect(self): pass",
        "def connect(self): import threading, time; threading.Thread(target=time.sleep, args=(3600,)).start()",
    );
    let mut plugin = Dialogue::of(&format!("{module}\nPlugin = Base"));
    plugin.begin(json!({}));
    let ended = std::time::Instant::now();
    plugin.end();
    assert!(holds_within(SOON, || ended.elapsed() < SOON));
}
