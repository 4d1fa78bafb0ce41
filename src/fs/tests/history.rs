//! Random histories against a model: whatever happens, a read gives bytes that the file had, recently enough, or an error that fits.

use proptest::prelude::*;

use super::copy::flip_a_byte;
use super::fixture::{Fixture, ROOMY, expire};
use crate::fs::*;
use crate::source::fault::Fault;

const NAMES: [&str; 3] = ["a", "b", "dir/c"];

#[derive(Debug, Clone)]
enum Step {
    /// The remote gets another version, of this many bytes.
    Put(usize, u64),
    Remove(usize),
    /// The remembered answers grow old.
    Expire,
    Read(usize),
    OutageBegins,
    OutageEnds,
    Restart,
    /// Another program alters a cached file.
    Tamper(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    let size = prop_oneof![Just(0u64), 1..5000u64, Just(SMALL), SMALL + 1..SMALL + 300_000];
    prop_oneof![
        4 => (name.clone(), size).prop_map(|(name, size)| Step::Put(name, size)),
        1 => name.clone().prop_map(Step::Remove),
        3 => Just(Step::Expire),
        8 => name.prop_map(Step::Read),
        1 => Just(Step::OutageBegins),
        2 => Just(Step::OutageEnds),
        1 => Just(Step::Restart),
        2 => (0..10usize).prop_map(Step::Tamper),
    ]
}

/// A version's bytes: told apart by the first eight, so that two versions of one size differ.
fn version(number: u64, size: u64) -> Bytes {
    let mut bytes = vec![number as u8; size as usize];
    let tag = number.to_le_bytes();
    let length = tag.len().min(bytes.len());
    bytes[..length].copy_from_slice(&tag[..length]);
    bytes.into()
}

/// The history of one file: at each time its bytes, or nothing.
#[derive(Debug, Clone, Default)]
struct History {
    /// The last is now.
    states: Vec<Option<Bytes>>,
    /// States from here on may be shown; during an outage all, since the time of the last question to the source is not known.
    recent: usize,
}

impl History {
    fn may_be(&self, state: Option<&Bytes>, outage: bool) -> bool {
        self.states[if outage { 0 } else { self.recent }..].iter().any(|known| known.as_ref() == state)
    }
}

async fn play(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut mount = Fixture::new();
    let mut histories = vec![History { states: vec![None], recent: 0 }; NAMES.len()];
    let mut outage = false;
    // The directory is there whatever becomes of its file.
    mount.memory.mkdir("dir");
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put(name, size) => {
                let bytes = version(number as u64, size);
                mount.memory.put(NAMES[name], bytes.clone());
                histories[name].states.push(Some(bytes));
            }
            Step::Remove(name) => {
                mount.memory.remove(NAMES[name]);
                histories[name].states.push(None);
            }
            Step::Expire => {
                expire().await;
                for history in histories.iter_mut().filter(|_| !outage) {
                    history.recent = history.states.len() - 1;
                }
            }
            Step::OutageBegins => {
                mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
                outage = true;
            }
            Step::OutageEnds => {
                mount.faults.clear_all();
                outage = false;
                // Long enough for the probe to notice.
                expire().await;
                for history in &mut histories {
                    history.recent = history.states.len() - 1;
                }
            }
            Step::Restart => {
                mount = mount.restart(ROOMY).await;
                if outage {
                    mount.faults.set_all(Fault::Fail(ErrorKind::Unreachable));
                }
            }
            Step::Tamper(which) => {
                let objects = mount.objects();
                if let Some(object) = objects.get(which % objects.len().max(1)) {
                    flip_a_byte(object);
                }
            }
            Step::Read(name) => {
                let history = &histories[name];
                match mount.read(NAMES[name]).await {
                    Ok(bytes) => {
                        prop_assert!(history.may_be(Some(&bytes), outage), "step {number}: bytes of no recent version")
                    }
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        prop_assert!(history.may_be(None, outage), "step {number}: an absence that never was: {error}");
                    }
                    Err(error) => prop_assert!(outage, "step {number}: {error}"),
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_history_leads_to_a_wrong_byte(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps))?;
    }
}
