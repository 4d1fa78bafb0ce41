#!/bin/sh
# A plugin for kitovufs that shows the files of a git repository at a commit; it needs sh, sed and git.
#
#     [sources.project]
#     type = "plugin"
#     command = ["/path/to/git.sh"]
#     repository = "/srv/git/project.git"
#     commit = "HEAD"

tab=$(printf '\t')
field() { printf '%s\n' "$line" | sed -n "s/.*[{,]\"$1\":\"\(\([^\"\\\\]\|\\\\.\)*\)\".*/\1/p"; } # of the request, still escaped
plain() { printf '%b' "$(field "$1" | sed 's/\\"/"/g')"; }
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
refuse() { printf '{"jsonrpc":"2.0","id":%s,"error":{"code":%s,"message":"%s","data":{"kind":"%s"%s}}}\n' "$id" "${4:--32000}" "$2" "$1" "$3"; }

while IFS= read -r line; do
    id=$(printf '%s\n' "$line" | sed -n 's/.*"id":\([0-9]*\).*/\1/p')
    case $(field method) in
    hello) answer '{"protocol":1,"name":"git","capabilities":{"conditional":true,"digest_from_listing":true}}' ;;
    configure)
        repository=$(plain repository) commit=$(plain commit)
        if [ "$repository" ]; then answer '{}'
        else refuse invalid_config '`repository` is missing' ',"key":"repository","problem":"missing"'; fi ;;
    connect)
        if git -C "$repository" rev-parse -q --verify "${commit:=HEAD}^{commit}" >/dev/null; then answer '{}'
        else refuse unreachable 'there is no such repository, or no such commit in it'; fi ;;
    list_path) # every file below; git writes unusual names in quotes, much as JSON does
        top=$(plain path); top=${top#/}
        if files=$(git -C "$repository" -c core.quotePath=false ls-tree -r -l "$commit" ${top:+"$top/"}); then
            printf '%s\n' "$files" | while IFS="$tab" read -r about name; do
                set -- $about # mode, type, object, size
                case $name in \"*) ;; *) name="\"$name\"" ;; esac
                [ "$2" = blob ] && printf '{"jsonrpc":"2.0","method":"entries","params":{"id":%s,"entries":[{"path":%s,"kind":"file","size":%s,"digest":"%s","executable":%s}]}}\n' \
                    "$id" "$name" "$4" "$3" "$([ "$1" = 100755 ] && echo true || echo false)"
            done
            answer '{}'
        else refuse failed 'git cannot list the commit'; fi ;;
    create_remote_digest)
        path=$(plain path)
        object=$(git -C "$repository" rev-parse -q --verify "$commit:${path#/}")
        case $(git -C "$repository" cat-file -t "$object" 2>/dev/null) in
        blob) answer "{\"digest\":\"$object\"}" ;;
        tree) refuse is_a_directory 'it is a directory' ;;
        *) refuse not_found 'there is no such file in the commit' ;;
        esac ;;
    create_local_digest) answer "{\"digest\":\"$(git hash-object --no-filters -- "$(plain file)")\"}" ;;
    retrieve_file) # the digest names the content, so no other version can come
        if git -C "$repository" cat-file blob "$(plain digest)" >"$(plain file)"; then answer '{}'
        else refuse changed 'the repository no longer has this version'; fi ;;
    disconnect) answer '{}' ;;
    *) [ "$id" ] && refuse failed 'unknown method' '' -32601 ;;
    esac
done
