# Completion of PROGRAM in fish.
function __FUNCTION_complete
    set -l program (commandline -opc)[1]
    $program complete --shell fish --line (commandline -cp | string collect) 2>/dev/null
end
complete -c PROGRAM -f -a '(__FUNCTION_complete)'
