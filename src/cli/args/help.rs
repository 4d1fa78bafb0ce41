//! The long help of each command, beyond its options: how it is used, and examples. At most 78 columns wide: clap would
//! wrap what is wider, and break the columns.

pub(super) const OVERVIEW: &str = "\
Examples:
  kitovufs mount                           everything that is configured
  kitovufs mount webdavs://me@host/x ~/x   one source, without configuration
  kitovufs add sftp://me@host/x lab        configure a source
  kitovufs check                           is the configuration right?
  kitovufs login cloud                     store the password of a source
  kitovufs status                          what is it doing?
  kitovufs unmount ~/x

Configuration:
  ~/.config/kitovufs/config.toml, or kitovufs/config.toml in
  $XDG_CONFIG_HOME; -c FILE names another. A minimal one:

      mountpoint = \"~/kitovu\"

      [sources.docs]
      type = \"local\"
      path = \"/usr/share/doc\"

  Types of sources: azblob, ftp, gcs, http, local, moodle,
                    plugin, python, s3, sftp, smb, webdav.

Environment:
  KITOVUFS_LOG       what to log: error, warn, info, debug, trace,
                     or a filter such as kitovufs::cache=debug
  KITOVUFS_CORE      if set, a crash may leave a core dump, which
                     holds the secrets of your sources
  KITOVUFS_PASSWORD  the password for the user in a URL, or the
                     token for a Moodle site

Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
`verify` has more, which its help tells.";

pub(super) const PLUGIN_CHECK: &str = "\
Examples:
  kitovufs plugin check --set url=https://example.org ./my-plugin
  kitovufs plugin check --python my_plugin:MyPlugin --set user=anna
      a Python class, here from the current directory, else from those in
      --set 'path=[\"…\"]', with python3 or the one in --set python=…
  kitovufs plugin check --source mine
      the plugin of [sources.mine] in the configuration, with its settings

Exit codes:
  0  the plugin keeps the protocol
  1  it does not
  2  wrong usage or configuration";

pub(super) const MOUNT: &str = "\
Examples:
  kitovufs mount
      the configured sources at the configured mountpoint
  kitovufs mount ~/elsewhere
      the same at another place
  kitovufs mount webdavs://anna@host/path ~/dav
      a web folder; its password is in $KITOVUFS_PASSWORD
  kitovufs mount webdav://localhost:8080 ~/dav
      a web folder without encryption
  kitovufs mount https://host/pub/ ~/pub
      a web directory that shows its index, or a single file
  kitovufs mount ftps://anna@host/path ~/ftp
      an FTP server, with TLS; ftp:// is without
  kitovufs mount sftp://anna@host/srv/files ~/files
      a directory of an SSH server; without a path, anna's home; with the
      password in $KITOVUFS_PASSWORD, or else the keys that ssh would use
  kitovufs mount 's3://bucket/prefix?region=eu-central-1' ~/s3
  kitovufs mount 's3://bucket?endpoint=http://localhost:9000' ~/s3
      a bucket; its keys are in $AWS_ACCESS_KEY_ID, $AWS_SECRET_ACCESS_KEY
      and, where there is one, $AWS_SESSION_TOKEN
  kitovufs mount gs://bucket/prefix ~/gs
  kitovufs mount azblob://account/container/prefix ~/az
      a bucket of Google, a container of Azure
  kitovufs mount smb://anna@host/share/path ~/share
      a share; its password is in $KITOVUFS_PASSWORD; without anna, a guest
  kitovufs mount moodle://moodle.example.edu ~/courses
      the courses of a Moodle site; the token is in $KITOVUFS_PASSWORD, or
      with moodle://anna@host the password
  kitovufs mount /usr/share/doc ~/doc
      a directory; file:///usr/share/doc is the same

Exit codes:
  0  the folder answers (with -f: it was unmounted)
  1  failed
  2  wrong usage or configuration";

pub(super) const ADD: &str = "\
Examples:
  kitovufs add sftp://anna@host/srv/files lab
      a directory of an SSH server, with the keys that ssh would use
  kitovufs add webdavs://anna@host/remote.php/dav/files/anna cloud
      asks for anna's password, without showing what is typed
  pass show cloud | kitovufs add webdavs://anna@host/dav cloud
      takes the first line; $KITOVUFS_PASSWORD goes before that
  kitovufs add /usr/share/doc docs

Exit codes:
  0  it has worked, and is written
  1  it does not work, or cannot be written: nothing is
  2  wrong usage or configuration";

pub(super) const STATUS: &str = "\
Examples:
  kitovufs status
  kitovufs status --json | jq -r '.sources.cloud.state'
  kitovufs status --json --follow | jq -c '.sources[].bytes_retrieved'

docs/status.md says what every field means.";

pub(super) const TOP: &str = "\
Examples:
  kitovufs top
  kitovufs top ~/kitovu

Keys:
  q, Esc, Ctrl-C, Ctrl-D     end
  Up, Down, PageUp, PageDown, Home, End
                             scroll, where there are many sources

docs/looking.md tells of a page for the browser, which shows the same.";

pub(super) const CHECK: &str = "\
Examples:
  kitovufs check
  kitovufs check -c other.toml
  kitovufs check --json | jq -r 'select(.works | not) | .name'

Exit codes:
  0  every source works
  1  something does not: the lines with FAILED say what, and what to try
  2  wrong usage or configuration";

pub(super) const WHY: &str = "\
Examples:
  kitovufs why ~/kitovu/cloud/report.pdf
  kitovufs why --json ~/kitovu/cloud/report.pdf
      what is known of the file and its source, as text by name

It retrieves nothing, but may ask the source which version there is.";

pub(super) const FETCH: &str = "\
Examples:
  kitovufs fetch ~/kitovu/cloud/talks ~/kitovu/docs/a.pdf
      progress is on standard error
  kitovufs fetch --json ~/kitovu/cloud/talks | jq .missing

Exit codes:
  0  all of it is in the cache
  1  some is not: standard error tells what, and why
  2  wrong usage";

pub(super) const OFFLINE: &str = "\
Examples:
  kitovufs offline ~/kitovu/cloud/talks
      before the train leaves
  kitovufs offline --check ~/kitovu/cloud/talks
  kitovufs offline --check --json ~/kitovu/cloud/talks | jq .missing_bytes

Exit codes:
  0  all of it works without the network
  1  some does not: standard error tells what, and why
  2  wrong usage";

pub(super) const PIN: &str = "\
Examples:
  kitovufs pin ~/kitovu/cloud/talks
  kitovufs pin
      what is pinned

Exit codes:
  0  all of it is in the cache
  1  some is not: standard error tells what, and why; it is tried again
  2  wrong usage";

pub(super) const EVICT: &str = "\
Examples:
  kitovufs evict ~/kitovu/cloud/videos

Exit codes:
  0  done, but for what is pinned
  1  some stays, being open, or could not be asked about
  2  wrong usage";

pub(super) const VERIFY: &str = "\
Examples:
  kitovufs verify
  kitovufs verify ~/kitovu/cloud/talks
  kitovufs verify --json | jq .damaged

Exit codes, of which those that are true are added:
  0  everything is sound
  1  something could not be verified, or not retrieved again
  4  there was damage, which is no longer in the cache
  2  wrong usage";

#[cfg(feature = "shared")]
pub(super) const SHARED: &str = "\
Examples:
  kitovufs shared key new /etc/kitovufs/circle.key
      for key = { file = \"…\" } in [shared], on every machine
  kitovufs shared key new --signing /etc/kitovufs/signing.key
      for signing_key = { file = \"…\" }, on the machines that are trusted
  kitovufs shared status
      how much is in the store
  kitovufs shared gc --max-size 500GiB
      from a timer, on one machine

docs/fleet.md tells what sharing is good for, and how it is set up.";

pub(super) const LOG: &str = "\
Examples:
  kitovufs log -n 20
  kitovufs log -f cloud
      what is said of the source cloud, from now on too

A mount in the foreground (`kitovufs mount -f`, which units of systemd run)
logs to standard error instead.";

pub(super) const DOCTOR: &str = "\
Examples:
  kitovufs doctor
  kitovufs doctor -c other.toml
  kitovufs doctor --json | jq -c '.findings[]'
  kitovufs doctor --bundle report.txt
      version, findings, configuration without secrets, status, the log's
      last lines; it names servers, users and files: read it before you
      give it to somebody

Exit codes:
  0  everything is there
  1  something is not: the lines with FAILED say what, and what to do";

pub(super) const LOGIN: &str = "\
Examples:
  kitovufs login cloud
      asks without showing what is typed
  pass show cloud | kitovufs login cloud
      takes the first line; of several secrets, a line each
  kitovufs login --username anna moodle
      asks for anna's password, and stores the token that Moodle gives

Exit codes:
  0  it has worked, and is stored
  1  it was not accepted, or cannot be stored: nothing was
  2  wrong usage or configuration";

pub(super) const IMPORT: &str = "\
Examples:
  kitovufs import ~/.config/kitovu/kitovu.yaml
  kitovufs import kitovu.yaml -o ~/.config/kitovufs/config.toml
      then: kitovufs check

Exit codes:
  0  done, with notes on standard error
  1  it is no configuration of kitovu, or the result cannot be written";
