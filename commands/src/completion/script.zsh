#compdef PROGRAM ./PROGRAM
# Completion of PROGRAM in zsh.
_FUNCTION() {
    local -a candidates
    candidates=("${(@f)$("${words[1]}" complete --shell zsh -- "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    [[ -n ${candidates[1]} ]] && _describe -V PROGRAM candidates
}
if [[ ${funcstack[1]} == _FUNCTION ]]; then
    _FUNCTION "$@"
else
    compdef _FUNCTION PROGRAM ./PROGRAM
fi
