<?php
// The test of {worker}: php {file}. It stands in for the server, hands out one task, and looks at its end.
$args = json_decode({args}, true);
$expected = $args;

$listener = stream_socket_server('tcp://127.0.0.1:0');
$address = stream_socket_get_name($listener, false);
$worker = proc_open([PHP_BINARY, __DIR__ . '/{program}', $address], [], $pipes);
$server = @stream_socket_accept($listener, 10) or fail('The worker does not connect.');
stream_set_timeout($server, 10);
$send = fn(array $message) => fwrite($server, json_encode($message) . "\n");
$receive = function (string $command) use ($server): array {
    do {
        $line = fgets($server) or fail("The worker sends no \"$command\".");
        $message = json_decode($line, true);
    } while ($message['command'] !== $command);
    return $message;
};
function fail(string $reason): never
{
    global $worker;
    proc_terminate($worker, SIGKILL);
    fwrite(STDERR, "failed: $reason\n");
    exit(1);
}

$work = $receive('work');
$work['functions'][0]['name'] === {text} or fail('The worker registers another function.');
$send(['status' => 'ok', 'result' => ['lease_ms' => 15000, 'heartbeat_ms' => 5000]]);
$send(['status' => 'task', 'lease' => '1.1', 'task_id' => 1, 'function' => {text}, 'attempt' => 1, 'args' => $args]);
$end = $receive('settle')['ends'][0];
array_key_exists('result', $end) or fail($end['error'] ?? 'It was not run.');
$end['result'] === $expected or fail('The result is ' . json_encode($end['result']));
proc_terminate($worker, SIGKILL);
echo "ok\n";
