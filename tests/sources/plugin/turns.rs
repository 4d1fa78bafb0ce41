//! Plugins that can do more than one thing at a time: hear that nobody waits any more, and work on several requests.

use tokio::time::{sleep, timeout};

use super::*;

#[tokio::test]
async fn who_gives_up_on_a_retrieval_is_told_of_once_and_the_process_goes_on() {
    let odd = Odd::with_files(&[("/a", "one"), ("/b", "two")]).set("capabilities", json!({"cancel": true}));
    let odd = odd.wrong("retrieve_file", "once wait for cancel");
    let source = source(&odd.table()).await;
    let begun = async {
        while odd.count("retrieve_file /a") == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        read = read(&*source, "a") => panic!("it ended by itself: {read:?}"),
        begun = timeout(ENOUGH, begun) => begun.unwrap(),
    }
    // One call at a time: this one has its turn when the abandoned one was answered.
    assert_eq!(timeout(ENOUGH, read(&*source, "b")).await.unwrap().as_deref(), Ok("two"));
    assert_eq!(timeout(ENOUGH, read(&*source, "a")).await.unwrap().as_deref(), Ok("one"));
    assert_eq!((odd.count("cancel"), odd.count("start")), (1, 1), "{:?}", odd.journal());
}

#[tokio::test]
async fn what_ends_by_itself_is_not_cancelled() {
    let odd = Odd::with_files(&[("/a", "one")]).set("capabilities", json!({"cancel": true}));
    let source = source(&odd.table()).await;
    assert_eq!(read(&*source, "a").await.as_deref(), Ok("one"));
    source.disconnect().await;
    assert_eq!((odd.count("cancel"), odd.count("start")), (0, 1), "{:?}", odd.journal());
}

#[tokio::test]
async fn two_requests_are_unanswered_at_once_and_answered_in_either_order() {
    for order in ["first first", "last first"] {
        let odd = Odd::with_files(&[("/a", "one"), ("/b", "three"), ("/c", ""), ("/d", "4")]);
        let odd = odd.set("capabilities", json!({"concurrency": 2, "attributes": true}));
        let odd = odd.wrong("create_remote_digest", &format!("answer digests in pairs:{order}"));
        let source = source(&odd.table()).await;
        assert_eq!(names(&*source, "").await.unwrap(), ["a", "b", "c", "d"]);
        let digest = |path| digest(&*source, path);
        let both = async { tokio::join!(digest("a"), digest("b"), digest("c"), digest("d")) };
        let told = timeout(ENOUGH, both).await.expect("the second one is asked before the first one is answered");
        let sizes = [told.0, told.1, told.2, told.3].map(|told| told.unwrap().split(':').next().unwrap().to_owned());
        assert_eq!(sizes, ["3", "5", "0", "1"], "{order}");
        assert_eq!(odd.count("start"), 1);
    }
}
