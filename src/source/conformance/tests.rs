use super::*;
use crate::source::Kind as _;
use crate::source::Settings;
use crate::sources::local::LocalKind;
use crate::sources::memory::Memory;

#[async_trait]
impl RemoteEditor for Memory {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        Memory::put(self, path, content.to_vec());
        true
    }
    async fn remove(&self, path: &str) {
        Memory::remove(self, path);
    }
    async fn mkdir(&self, path: &str) -> bool {
        Memory::mkdir(self, path);
        true
    }
}

struct Directory(std::path::PathBuf);

#[async_trait]
impl RemoteEditor for Directory {
    async fn put(&self, path: &str, content: &[u8]) -> bool {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("it is below")).expect("directories");
        std::fs::write(path, content).expect("a file");
        std::thread::sleep(std::time::Duration::from_millis(25));
        true
    }
    async fn remove(&self, path: &str) {
        std::fs::remove_file(self.0.join(path)).expect("it is there");
    }
    async fn mkdir(&self, path: &str) -> bool {
        std::fs::create_dir(self.0.join(path)).is_ok()
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let (memory, scratch) = (Memory::new(), kit::reaper::temporary());
    let report = run(&memory, &memory.clone(), scratch.path()).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn a_directory_keeps_the_contract() {
    let (dir, scratch) = (kit::reaper::temporary(), kit::reaper::temporary());
    let path = toml::Value::String(dir.path().display().to_string());
    let values = BTreeMap::from([("path".to_owned(), path)]);
    let source = LocalKind.configure(&Settings::of("here", values)).await.expect("the settings are right");
    let report = run(&source, &Directory(dir.path().to_owned()), scratch.path()).await;
    assert!(report.passed(), "{report}");
}

#[tokio::test]
async fn a_source_that_breaks_the_contract_does_not_pass() {
    use crate::source::fault::{Fault, Faulty, Method};
    for (method, fault) in [
        (Method::ListPath, Fault::Truncate(1)),
        (Method::RetrieveFile, Fault::Flip(11)),
        (Method::RetrieveFile, Fault::Truncate(5)),
        (Method::Connect, Fault::Fail(ErrorKind::Unreachable)),
    ] {
        let (memory, scratch) = (Memory::new(), kit::reaper::temporary());
        let (source, faults) = Faulty::new(memory.clone());
        faults.set(method, fault);
        assert!(!run(&source, &memory, scratch.path()).await.passed(), "{fault:?}");
    }
}
