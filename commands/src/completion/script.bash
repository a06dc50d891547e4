# Completion of PROGRAM in bash: what is behind the cursor's last word separator is replaced.
_FUNCTION_complete() {
    local candidates
    mapfile -t candidates < <("$1" complete --shell bash --line "${COMP_LINE:0:COMP_POINT}" --current "$2" 2>/dev/null)
    COMPREPLY=("${candidates[@]}")
    # A folder or `--option=` goes on.
    [[ ${#candidates[@]} == 1 && ${candidates[0]} == *[/=] ]] && compopt -o nospace
    return 0
}
complete -F _FUNCTION_complete PROGRAM ./PROGRAM
