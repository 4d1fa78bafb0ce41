//! `Closing`: files of copies that nobody has open any more, on their way to being closed by a thread that may wait for the disk. It knows no
//! copies.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;

/// A file stays open for so long at most: those that are closed meanwhile are closed together.
const GATHER: Duration = Duration::from_millis(5);

/// The files that wait.
#[derive(Debug)]
pub(super) struct Closing {
    files: Mutex<Vec<Arc<File>>>,
    wake: Sender<()>,
}

impl Closing {
    /// The receiver goes to [`Closing::go_on`].
    pub(super) fn new() -> (Arc<Self>, Receiver<()>) {
        let (wake, woken) = channel();
        (Arc::new(Self { files: Mutex::default(), wake }), woken)
    }

    /// Closes a file soon, unless somebody else has it open by then.
    pub(super) fn add(&self, file: Arc<File>) {
        let mut files = self.files.lock();
        files.push(file);
        // Without a thread, as it ends or could not be started, they are closed here.
        if files.len() == 1 && self.wake.send(()).is_err() {
            files.clear();
        }
    }

    /// Closes them now. Waits for the disk.
    pub(super) fn all(&self) {
        let files = std::mem::take(&mut *self.files.lock());
        drop(files);
    }

    /// Closes them, as long as the cache is there.
    pub(super) fn go_on(closing: &Weak<Self>, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            thread::sleep(GATHER);
            let Some(closing) = closing.upgrade() else { return };
            closing.all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_closed_together_and_nothing_waits_without_a_thread() {
        let file = || Arc::new(tempfile::tempfile().expect("a temporary file"));
        let (closing, woken) = Closing::new();
        let all: Vec<_> = (0..3).map(|_| file()).collect();
        all.iter().for_each(|file| closing.add(file.clone()));
        assert_eq!(woken.try_iter().count(), 1, "one wake is for all");
        closing.all();
        let weak = Arc::downgrade(&closing);
        closing.add(all[0].clone());
        let thread = thread::spawn(move || Closing::go_on(&weak, &woken));
        while Arc::strong_count(&all[0]) > 1 {
            thread::yield_now();
        }
        drop(closing);
        thread.join().expect("it ends with the cache");
        let (closing, woken) = Closing::new();
        drop(woken);
        closing.add(all[1].clone());
        assert_eq!(Arc::strong_count(&all[1]), 1);
    }
}
