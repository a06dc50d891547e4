<?php
// Does what Workerman's AsyncTcpConnection('Text://ADDRESS') does, once for each LINE, all at the same time: connects,
// sends the line, takes one line as the answer, closes. Prints the answers in the order of the lines.
//
// php client.php ADDRESS LINE..

[, $address] = $argv;
$connections = [];
$buffers = [];
$answers = [];
foreach (array_slice($argv, 2) as $number => $line) {
    $connection = stream_socket_client("tcp://$address", $code, $error, 30, STREAM_CLIENT_CONNECT);
    if (!$connection) {
        exit("$error\n");
    }
    stream_set_blocking($connection, false);
    for ($rest = "$line\n"; $rest !== ''; $rest = substr($rest, $count)) {
        $count = fwrite($connection, $rest);
    }
    $connections[$number] = $connection;
    $buffers[$number] = '';
}
while ($connections) {
    $readable = $connections;
    $writable = $failed = null;
    stream_select($readable, $writable, $failed, 60) ?: exit("no answer\n");
    foreach ($readable as $number => $connection) {
        $buffers[$number] .= $part = fread($connection, 65536);
        $end = strpos($buffers[$number], "\n");
        if ($end === false && $part === '' && feof($connection)) {
            exit("connection $number was closed after \"$buffers[$number]\"\n");
        }
        if ($end !== false) {
            $answers[$number] = substr($buffers[$number], 0, $end);
            fclose($connection);
            unset($connections[$number]);
        }
    }
}
ksort($answers);
echo implode("\n", $answers), "\n";
