#!/bin/sh
# A plugin for kitovufs. It shows two texts; replace them with what your service has.
#
# Try it:  kitovufs plugin check --set greeting=Hello THIS_FILE
# Show it, in ~/.config/kitovufs/config.toml:
#
#     [sources.mine]
#     type = "plugin"
#     command = ["THIS_FILE, with its whole path"]
#     greeting = "Hello"

field() { # a string of the request
    printf '%b' "$(printf '%s\n' "$line" | sed -n "s/.*[{,]\"$1\":\"\(\([^\"\\\\]\|\\\\.\)*\)\".*/\1/p" | sed 's/\\"/"/g')"
}
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
refuse() { # kind, message, more, code
    printf '{"jsonrpc":"2.0","id":%s,"error":{"code":%s,"message":"%s","data":{"kind":"%s"%s}}}\n' "$id" "${4:--32000}" "$2" "$1" "$3"
}

content() { # of a path; fails if there is none
    case $1 in
    /hello.txt) printf '%s, world!\n' "$greeting" ;;
    /more/again.txt) echo 'And again.' ;;
    *) return 1 ;;
    esac
}
digest() { sha256sum | cut -d ' ' -f 1; }

while IFS= read -r line; do
    id=$(printf '%s\n' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case $(field method) in
    hello) answer '{"protocol":1,"name":"my service","capabilities":{"content_digest":"sha256"}}' ;;
    configure)
        greeting=$(field greeting)
        if [ "$greeting" ]; then answer '{}'
        else refuse invalid_config '`greeting` is missing' ',"key":"greeting","problem":"missing"'; fi ;;
    connect) answer '{}' ;; # log in to your service here
    list_path) answer '{"entries":[{"path":"/hello.txt","kind":"file"},{"path":"/more/again.txt","kind":"file"}]}' ;;
    create_remote_digest)
        if content "$(field path)" >/dev/null; then answer "{\"digest\":\"$(content "$(field path)" | digest)\"}"
        else refuse not_found 'there is no such file'; fi ;;
    retrieve_file)
        if content "$(field path)" >"$(field file)"; then answer '{}'
        else refuse not_found 'there is no such file'; fi ;;
    disconnect) answer '{}' ;; # log out of it here
    *) [ "$id" ] && refuse failed 'unknown method' '' -32601 ;;
    esac
done
