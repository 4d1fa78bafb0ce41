//! `Handles`: open files or directories by the number that the kernel has for each. It does not know the type of its values.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// The kernel's number of one open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HandleId(pub u64);

/// Everything of one kind that is open.
#[derive(Debug)]
pub struct Handles<T> {
    next: AtomicU64,
    open: Mutex<HashMap<HandleId, Arc<T>>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { next: AtomicU64::new(1), open: Mutex::default() }
    }
}

impl<T> Handles<T> {
    /// Keeps `opened` until it is released.
    pub fn insert(&self, opened: T) -> HandleId {
        let id = HandleId(self.next.fetch_add(1, Ordering::Relaxed));
        self.open.lock().insert(id, Arc::new(opened));
        id
    }

    /// The open file or directory with this number.
    pub fn get(&self, id: HandleId) -> Option<Arc<T>> {
        self.open.lock().get(&id).cloned()
    }

    /// Puts another value in the place of an open file or directory; nothing if it was released.
    pub fn replace(&self, id: HandleId, opened: T) {
        if let Some(open) = self.open.lock().get_mut(&id) {
            *open = Arc::new(opened);
        }
    }

    /// Ends one open.
    pub fn remove(&self, id: HandleId) -> Option<Arc<T>> {
        self.open.lock().remove(&id)
    }
}
