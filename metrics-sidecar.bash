# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Completion of metrics-sidecar's options for bash; --help is where they come from.

_metrics_sidecar() {
    local word=${COMP_WORDS[COMP_CWORD]} option=
    # Readline takes "--source=auto" for three words.
    if [ "$word" = "=" ]; then
        option=${COMP_WORDS[COMP_CWORD - 1]}
        word=
    elif [ "${COMP_WORDS[COMP_CWORD - 1]}" = "=" ]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $option in
    "")
        mapfile -t COMPREPLY < <(compgen -W "$("$1" --help | grep -oE -- '^ +--[a-z.-]+=?')" -- "$word")
        [[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace
        ;;
    --source) mapfile -t COMPREPLY < <(compgen -W 'auto sock_diag procfs' -- "$word") ;;
    --path.procfs)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        ;;
    --bearer-token-file | --netns-file)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        ;;
    *) COMPREPLY=() ;;
    esac
}
complete -F _metrics_sidecar metrics-sidecar
