use super::*;

/// The names of a page, whether each is a directory, and whether there may be others.
fn listed(body: &str) -> Result<(Vec<(String, bool)>, bool), String> {
    let (url, left_out) = (Url::parse("http://h:1/a%20b/").expect("it is a URL"), LeftOut::default());
    let items = crate::sources::arriving::read(body.as_bytes(), |body| parse(&url, body, &left_out))?;
    let items = items.into_iter().map(|item| (Printable(&item.name).to_string(), item.directory)).collect();
    Ok((items, left_out.is_incomplete()))
}

fn items(body: &str) -> Result<Vec<(String, bool)>, String> {
    listed(body).map(|(items, _)| items)
}

fn names(body: &str) -> Vec<String> {
    let items = items(body).expect("it is an index");
    items.into_iter().map(|(name, directory)| if directory { name + "/" } else { name }).collect()
}

#[test]
fn apache() {
    let page = r#"<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><head><title>Index of /a b</title></head>
        <body><h1>Index of /a b</h1><table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
        <tr><td><a href="/">Parent Directory</a></td></tr><tr><td><a href="dir/">dir/</a></td><td>2024-01-01 10:00</td><td>-</td></tr>
        <tr><td><a href="q%27%22q%3f">q'"..&gt;</a></td><td>5.0K</td></tr><tr><td><a href="x&amp;y">x&amp;y</a></td></tr></table></body></html>"#;
    assert_eq!(names(page), ["dir/", "q'\"q?", "x&y"]);
}

#[test]
fn nginx() {
    let page = "<html>\r\n<head><title>Index of /a b/</title></head>\r\n<body>\r\n<h1>Index of /a b/</h1><hr><pre><a href=\"../\">../</a>\r\n\
        <a href=\"%FF%20/\">..</a> 23-Nov-2026 06:00  -\r\n<a href=\"a%3Ab\">a:b</a>  1\r\n</pre><hr></body>\r\n</html>\r\n";
    assert_eq!(names(page), ["a:b", "\\xff /"]);
    assert_eq!(names("<title>Index of /a b/</title><body><a href='../'>../</a></body>"), [""; 0]);
}

#[test]
fn names_that_look_like_addresses_are_names() {
    let page = "<html><title>Index of /a b/</title><a href='notes:today.txt'>notes:today.txt</a><a href='a:b/'>a:b/</a>\
        <a href='c:%20d'>c: d</a><a href=':'>:</a><a href='12:30.log'>12:30.log</a>\
        <a href='mailto:me@example.org'>write</a><a href='javascript:void(0)'>x</a></html>";
    assert_eq!(names(page), ["12:30.log", ":", "a:b/", "c: d", "notes:today.txt"]);
}

#[test]
fn pages_of_others_are_known_by_their_links() {
    assert_eq!(
        names(
            "<html><title>b</title><a href='./x'>x</a><a href='./y/'>y</a><a href='https://caddy.example'>c</a></html>"
        ),
        ["x", "y/"]
    );
    assert_eq!(names("<h1>Directory listing for /a b/</h1><ul></ul>"), [""; 0]);
    assert_eq!(names("<html><a href='/a%20b/x'>x</a><a href='http://h:1/a b/z#top'>z</a></html>"), ["x", "z"]);
    assert_eq!(names("<html><base href='/a%20b/'><a href='x'>x</a><a href='x/'>x</a></html>"), ["x/"]);
}

#[test]
fn a_page_that_no_server_has_made_need_not_link_to_every_name() {
    for (page, is_incomplete) in [
        ("<html><title>My files</title><h1>Hello</h1><a href='x'>a picture</a></html>", true),
        ("<html><title>My files</title><a href='x'>x</a><a href='y/'>y/</a></html>", true),
        ("<html><title>Manual</title><a href='../'>Home</a><a href='1.html'>Chapter 1</a></html>", true),
        ("<p><a href='x'>x</a>", true),
        ("<html><title>/a b</title><h1><a href='../'>/</a><a href=''>a b</a>/</h1><a href='x'>x</a></html>", false),
        ("<html><title>/a</title><a href='x'>x</a></html>", true),
        ("<html><title>Index of /a b</title><a href='x'>x</a></html>", false),
        (
            "<html><h1>host - /a b/</h1><pre><A HREF='/'>[To Parent Directory]</A><A HREF='/a%20b/x'>x</A></pre></html>",
            false,
        ),
        ("<html><title>/a b/</title><a href='../'>../</a><a href='x'>x</a></html>", false),
        (
            "<html><title>/a b/</title><a href='./x'>x</a>Served with <a href='https://caddyserver.com'>Caddy</a></html>",
            false,
        ),
        (
            "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n<a href='x'>x</a>\n</pre>\n",
            false,
        ),
    ] {
        assert_eq!(listed(page).expect(page).1, is_incomplete, "{page}");
    }
}

#[test]
fn only_direct_children_are_taken() {
    let page = "<html><title>Index of</title>\
        <a href='../up'>1</a><a href='/etc/passwd'>2</a><a href='x/y'>3</a><a href='https://other/a%20b/z'>4</a>\
        <a href='http://h:2/a%20b/z'>5</a><a href='..'>6</a><a href='.'>7</a><a href='?C=N'>8</a><a href='f?v=1'>9</a>\
        <a href='javascript:x()'>10</a><a href='#top'>11</a><a name='anchor'>12</a><a href='%2e%2e/z'>13</a>\
        <a href='good'>14</a><!-- <a href='hidden'> --><script>'<a href=\"script\">'</script></html>";
    assert_eq!(names(page), ["good"]);
    // What decodes to a path is one name here; nobody may follow it as it is.
    assert_eq!(names("<html><title>Index of</title><a href='..%2fz'>x</a></html>"), ["../z"]);
}

#[test]
fn other_pages_are_refused_by_their_title() {
    for (page, word) in [
        ("<html><title>Down for maintenance</title><a href='/'>Home</a></html>", "Down for maintenance"),
        ("<html><h1>Log in</h1><a href='/help'>1</a><a href='/terms'>2</a><a href='login'>3</a></html>", "Log in"),
        ("<html></html>", "without a title"),
        ("", "without a title"),
        ("<html><title>Index of /</title><a href='x'>x</a><a hre", "ends in the middle"),
    ] {
        let why = items(page).expect_err(page);
        assert!(why.contains(word), "{why}");
    }
}

#[test]
fn fuzz_index_page() {
    let corpus = crate::fuzz::Corpus::of("index_page");
    let url = Url::parse("http://h/a%20b/").expect("it is a URL");
    bolero::check!().with_type::<crate::fuzz::Input>().for_each(|input| {
        drop(crate::sources::arriving::read(&corpus.bytes(input), |body| parse(&url, body, &LeftOut::default())));
    });
}
