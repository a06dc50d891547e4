# Completion of PROGRAM in PowerShell.
Register-ArgumentCompleter -Native -CommandName PROGRAM, ./PROGRAM -ScriptBlock {
    param($word, $commandAst, $cursor)
    $line = $commandAst.ToString().PadRight($cursor).Substring(0, $cursor)
    & $commandAst.CommandElements[0].Value complete --shell powershell --line $line 2>$null | ForEach-Object {
        $value, $help = $_ -split "`t", 2
        [System.Management.Automation.CompletionResult]::new($value, $value, 'ParameterValue', ($help ? $help : $value))
    }
}
