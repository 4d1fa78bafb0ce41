//! Panics: one in a request ends that request alone. The reply is dropped with it, upon which fuser answers EIO.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt as _;
use tracing::error;

/// Answers a request on this thread.
pub(super) fn contained(answer: impl FnOnce()) {
    // Locks are released when a panic passes them, and every state that they guard is valid between two statements.
    catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|panic| tell(&*panic));
}

/// The same for work that may wait; `None` if it panicked.
pub(super) async fn contained_async<T>(work: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(work).catch_unwind().await.inspect_err(|panic| tell(&**panic)).ok()
}

fn tell(panic: &(dyn Any + Send)) {
    error!("a request failed by a fault of this program and is answered with EIO; please report it: {}", text(panic));
}

fn text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for a reply, which answers EIO when it is dropped unsent.
    struct Reply<'a>(&'a std::cell::Cell<u32>);

    impl Drop for Reply<'_> {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    #[tokio::test]
    async fn a_panic_ends_its_request_alone_and_drops_the_reply() {
        let dropped = std::cell::Cell::new(0);
        let reply = Reply(&dropped);
        contained(move || {
            let _reply = reply;
            panic!("on purpose");
        });
        assert_eq!(dropped.get(), 1);
        let reply = Reply(&dropped);
        contained_async(async move {
            let _reply = reply;
            tokio::task::yield_now().await;
            panic!("on purpose");
        })
        .await;
        assert_eq!(dropped.get(), 2);
    }

    #[test]
    fn the_message_of_a_panic_is_told() {
        let panic = |message: &dyn Fn()| catch_unwind(AssertUnwindSafe(message)).expect_err("it panics");
        assert_eq!(text(&*panic(&|| panic!("plain"))), "plain");
        assert_eq!(text(&*panic(&|| panic!("number {}", 7))), "number 7");
    }
}
