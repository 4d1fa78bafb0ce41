use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_same_size_change_by_another_client_is_seen() {
    let dir = served();
    let samba = Samba::run(dir.path());
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    for (file, content) in [(&old, "one"), (&new, "two")] {
        std::fs::write(file, content).unwrap();
    }
    let source = source(&samba.table("kit")).await;
    let put = |file: &Path| samba.client("kit", &format!("put {} changing", file.display()));
    put(&old);
    let before = source.create_remote_digest(&remote("changing")).await.unwrap();
    put(&new);
    let after = source.create_remote_digest(&remote("changing")).await.unwrap();
    assert_eq!(before.size, after.size);
    assert_ne!(before.digest, after.digest);
    let path = remote("changing");
    let request = Retrieval::new(&path, &before.digest, 3, 0..3);
    assert_eq!(kind(source.retrieve_file(&request, &mut Vec::new()).await.map(drop)), Err(ErrorKind::Changed));
    assert_eq!(read(source.as_ref(), "changing").await.unwrap(), b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_all_the_time_never_has_a_digest_twice() {
    let dir = served();
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    let mut seen = BTreeSet::new();
    for number in 0..30 {
        std::fs::write(dir.path().join("a"), format!("{number:02}")).unwrap();
        let answer = source.create_remote_digest(&remote("a")).await.unwrap();
        assert!(seen.insert(answer.digest.clone()), "version {number} has the digest of an earlier one");
        let (path, mut out) = (remote("a"), Vec::new());
        let request = Retrieval::new(&path, &answer.digest, 2, 0..2);
        source.retrieve_file(&request, &mut out).await.unwrap();
        assert_eq!(out, format!("{number:02}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_during_a_read_is_never_mixed() {
    const SIZE: usize = 64 * 1024 * 1024;
    let dir = served();
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    let (file, aside) = (dir.path().join("large"), dir.path().join("aside"));
    type Meddle<'a> = Box<dyn FnOnce() + Send + 'a>;
    let replace: Meddle<'_> = Box::new(|| {
        std::fs::write(&aside, vec![2; SIZE]).unwrap();
        std::fs::rename(&aside, &file).unwrap();
    });
    let overwrite: Meddle<'_> = Box::new(|| {
        let file = std::fs::File::options().write(true).open(&file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![2; SIZE / 2], SIZE as u64 / 2).unwrap();
    });
    let truncate: Meddle<'_> = Box::new(|| {
        std::fs::File::options().write(true).open(&file).unwrap().set_len(17).unwrap();
    });
    for (name, meddle) in [("replace", replace), ("overwrite", overwrite), ("truncate", truncate)] {
        std::fs::write(&file, vec![1; SIZE]).unwrap();
        set_age(&file, Duration::from_secs(1_000));
        let path = remote("large");
        let now = source.create_remote_digest(&path).await.unwrap();
        let request = Retrieval::new(&path, &now.digest, SIZE as u64, 0..SIZE as u64);
        let mut out = Meddling { taken: Vec::new(), meddle: Some(meddle) };
        let result = kind(source.retrieve_file(&request, &mut out).await.map(drop));
        assert_eq!(result, Err(ErrorKind::Changed), "{name}");
        assert!(out.taken.len() < SIZE && out.taken.iter().all(|byte| *byte == 1), "{name}");
        let after = source.create_remote_digest(&path).await.unwrap();
        assert_ne!(after.digest, now.digest, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_seen_while_somebody_has_the_file_open() {
    let dir = served();
    let file = dir.path().join("shared");
    std::fs::write(&file, "one").unwrap();
    set_age(&file, Duration::from_secs(1_000));
    let samba = Samba::run(dir.path());
    let source = source(&samba.table("kit")).await;
    let path = remote("shared");
    let before = source.create_remote_digest(&path).await.unwrap().digest;
    let _open = samba.client_that_holds("kit", "shared");
    std::fs::write(&file, "two").unwrap();
    let request = Retrieval::new(&path, &before, 3, 0..3);
    assert_eq!(kind(source.retrieve_file(&request, &mut Vec::new()).await.map(drop)), Err(ErrorKind::Changed));
    assert_ne!(source.create_remote_digest(&path).await.unwrap().digest, before);
    assert_eq!(read(source.as_ref(), "shared").await.unwrap(), b"two");
}
