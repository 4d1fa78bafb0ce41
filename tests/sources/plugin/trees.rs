//! Plugins that list everything below, files only, as upstream's do.

use kitovufs::internals::{LARGE_BYTES, await_turn, gathering};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

fn tree() -> Odd {
    Odd::with_files(&[("/a.txt", "1"), ("/d/b", "2"), ("/d/e/c", "3"), ("/d-e/x", "4")])
}

#[tokio::test]
async fn one_listing_tells_of_every_directory_below_and_a_second_one_comes_only_when_asked_again() {
    let odd = tree();
    let source = source(&odd.table()).await;
    assert_eq!(names(&*source, "").await.unwrap(), ["a.txt", "d-e/", "d/"]);
    assert_eq!(names(&*source, "d").await.unwrap(), ["b", "e/"]);
    assert_eq!(names(&*source, "d/e").await.unwrap(), ["c"]);
    assert_eq!(names(&*source, "d-e").await.unwrap(), ["x"]);
    assert_eq!((odd.count("list_path"), odd.count("create_remote_digest")), (1, 1));
    assert_eq!(names(&*source, "d").await.unwrap(), ["b", "e/"]);
    assert_eq!(odd.count("list_path"), 2);
    assert_eq!(names(&*source, "nothing").await, Err(ErrorKind::NotFound));
    assert_eq!(names(&*source, "d/b").await, Err(ErrorKind::NotFound));
}

#[tokio::test]
async fn five_thousand_files_are_one_request() {
    let files: Vec<_> = (0..5000).map(|n| format!("/{}/{}/f{n}", n % 50, n % 7)).collect();
    let files: Vec<_> = files.iter().map(|path| (path.as_str(), "x")).collect();
    let odd = Odd::with_files(&files);
    let source = source(&odd.table()).await;
    let mut found = 0;
    for dir in names(&*source, "").await.unwrap() {
        for inner in names(&*source, &dir).await.unwrap() {
            found += names(&*source, &format!("{dir}{inner}")).await.unwrap().len();
        }
    }
    assert_eq!((found, odd.count("list_path")), (5000, 1));
}

#[tokio::test]
async fn courses_that_look_like_files_are_directories_listed_when_looked_into() {
    let odd = Odd::with_files(&[("Maths/w1/a", "1"), ("Maths/b", "2"), ("Arts/Music/c", "3")]);
    let odd = odd.set("courses", json!(["Maths", "Arts/Music", "Empty"])).set("strict", json!(true));
    let source = source(&odd.table()).await;
    assert_eq!(names(&*source, "").await.unwrap(), ["Arts/", "Empty/", "Maths/"]);
    // The root, and one course to find out what courses are.
    assert_eq!(odd.count("list_path"), 2);
    assert_eq!(names(&*source, "Maths").await.unwrap(), ["b", "w1/"]);
    assert_eq!(names(&*source, "Maths/w1").await.unwrap(), ["a"]);
    assert_eq!(names(&*source, "Arts").await.unwrap(), ["Music/"]);
    assert_eq!(names(&*source, "Arts/Music").await.unwrap(), ["c"]);
    assert_eq!(names(&*source, "Empty").await.unwrap(), Vec::<String>::new());
    // Each course once: what was told of the one that was looked into was kept.
    assert_eq!(odd.count("list_path"), 4);
    assert_eq!(read(&*source, "Arts/Music/c").await.as_deref(), Ok("3"));
    assert_eq!(digest(&*source, "Maths").await, Err(ErrorKind::IsADirectory));
    assert_eq!(odd.count("start"), 1);
}

#[tokio::test]
async fn a_course_is_found_again_by_a_new_process() {
    let odd = Odd::with_files(&[("Maths/w1/a", "1")]).set("courses", json!(["Maths"])).set("strict", json!(true));
    let source = source(&odd.table()).await;
    assert_eq!(read(&*source, "Maths/w1/a").await.as_deref(), Ok("1"));
    source.disconnect().await;
    source.connect().await.unwrap();
    assert_eq!(names(&*source, "Maths/w1").await.unwrap(), ["a"]);
    assert_eq!(odd.count("start"), 2);
}

#[tokio::test]
async fn what_leads_elsewhere_is_left_out_and_the_rest_is_there() {
    let odd = Odd::with_files(&[
        ("/ok", "1"),
        ("/../etc/passwd", "2"),
        ("//double", "3"),
        ("/a/./b", "4"),
        ("/nul\0", "5"),
        ("", "6"),
    ]);
    let source = source(&odd.table()).await;
    assert_eq!(names(&*source, "").await.unwrap(), ["ok"]);
}

#[tokio::test]
async fn what_is_not_below_the_listed_directory_is_left_out_by_component() {
    let odd = Odd::with_files(&[("/d/in", "1")]).set("courses", json!(["/d"]));
    let source = source(&odd.table()).await;
    assert_eq!(names(&*source, "d").await.unwrap(), ["in"]);
    let stray =
        json!({"entries": [{"path": "/d/in", "kind": "file"}, {"path": "/d-out"}, {"path": "/out"}, {"path": "/d"}]});
    let odd = odd.wrong("list_path", &format!("answer:{stray}"));
    let source = crate::source(&odd.table()).await;
    // The same answer for the root, where all of it may be, and for the directory.
    assert_eq!(names(&*source, "d").await.unwrap(), ["in"]);
}

#[tokio::test]
async fn an_entry_that_cannot_be_understood_makes_the_listing_incomplete_and_costs_no_other() {
    let odd_ones =
        json!({"entries": [{"path": "/a"}, {"path": 5}, {"path": "/b", "size": -1}, {"path": {"base64": "?"}}]});
    let odd = Odd::with_files(&[("/a", "1")]).wrong("list_path", &format!("answer:{odd_ones}"));
    let source = source(&odd.table()).await;
    let root = remote("");
    let mut listing = source.list_path(&root).await.unwrap();
    let entry = listing.try_next().await.unwrap().expect("one can be understood");
    assert_eq!((entry.name.as_slice(), listing.try_next().await.unwrap()), (b"a".as_slice(), None));
    let omitted = listing.omitted();
    assert!(omitted.is_incomplete() && omitted.count() == 3, "{omitted:?}");
}

#[tokio::test]
async fn relative_and_absolute_paths_go_back_as_they_came() {
    for (path, file) in [("/d/a", "d/a"), ("d/a", "d/a")] {
        let odd = Odd::with_files(&[(path, "x")]);
        let source = source(&odd.table()).await;
        assert_eq!(read(&*source, file).await.as_deref(), Ok("x"));
        assert_eq!(odd.count(&format!("retrieve_file {path}")), 1);
    }
}

#[tokio::test]
async fn a_large_listing_waits_for_its_turn_and_holds_up_no_other_answer() {
    let files: Vec<_> = (0..40_000).map(|n| format!("/some-file-name-{n:06}.txt")).collect();
    let files: Vec<_> = files.iter().map(|path| (path.as_str(), "x")).collect();
    let odd = Odd::with_files(&files);
    let source = source(&odd.table()).await;
    let (over, mut end) = oneshot::channel::<()>();
    let (begun, begin) = oneshot::channel();
    let other = tokio::spawn(gathering(async move {
        await_turn(LARGE_BYTES + 1).await;
        begun.send(()).unwrap();
        let _ = (&mut end).await;
    }));
    begin.await.unwrap();
    let mut listing = Box::pin(gathering(list(&*source, "")));
    // It was asked for, and given up for the moment: the process answers others.
    while odd.count("list_path") == 0 {
        assert!(timeout(Duration::from_millis(10), &mut listing).await.is_err());
    }
    let one = tokio::select! {
        _ = &mut listing => panic!("another listing has the turn"),
        digest = digest(&*source, "some-file-name-000001.txt") => digest,
    };
    assert_eq!(one.map(|digest| digest.starts_with("1:")), Ok(true));
    over.send(()).unwrap();
    assert_eq!(listing.await.unwrap().len(), 40_000);
    // For itself, for the digest, and for itself again.
    assert_eq!(odd.count("list_path"), 3);
    other.await.unwrap();
}
