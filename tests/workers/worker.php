<?php
// A worker: php worker.php HOST:PORT. It runs one task at a time: start as many as the machine has cores.
$address = $argv[1] ?? getenv('THINK_SERVER') ?: '127.0.0.1:9501';
$address = str_starts_with($address, 'unix:') ? 'unix://' . substr($address, 5) : "tcp://$address";
$functions = [
    'resize' => fn(array $args, callable $progress) => ['width' => $args['width'] * 2],
    'pause' => function (array $args, callable $progress) { $progress(50, 'half'); usleep($args['ms'] * 1000); return 'woken'; },
];
$schemas = ['resize' => ['type' => 'object', 'properties' => ['width' => ['type' => 'integer']], 'required' => ['width']]];
[$server, $stop] = [null, false];
$send = function (array $message) use (&$server) { fwrite($server, json_encode($message) . "\n"); };
pcntl_async_signals(true);
pcntl_signal(SIGTERM, function () use (&$stop, $send) { $stop = true; $send(['command' => 'leave']); });
while (!$stop) {
    $server = @stream_socket_client($address, $code, $error, 5);
    if (!$server) { sleep(1); continue; }
    // PHP has no second thread for heartbeats: a task is given to another worker when its time is over, or the connection.
    $send(['command' => 'work', 'worker' => gethostname() . ':' . getmypid(), 'language' => 'php/' . PHP_VERSION, 'credit' => 1,
        'heartbeats' => false, 'functions' => array_map(fn($name) => ['name' => $name, 'schema' => $schemas[$name] ?? true], array_keys($functions))]);
    while (!$stop) {
        // A signal is handled between two calls, so that none of them may take long.
        [$read, $none] = [[$server], null];
        if (!@stream_select($read, $none, $none, 1)) { continue; }
        if (feof($server)) { break; }
        $message = json_decode(@fgets($server) ?: '{}', true);
        if (($message['status'] ?? '') === 'error') { exit($message['error'] . "\n"); }
        if (($message['status'] ?? '') !== 'task') { continue; }
        $progress = fn($percent, $text) => $send(['command' => 'progress', 'lease' => $message['lease'], 'percent' => $percent, 'text' => $text]);
        try {
            $end = ['result' => $functions[$message['function']]($message['args'], $progress)];
        } catch (Throwable $error) {
            $end = ['error' => $error->getMessage()];
        }
        $send(['command' => 'settle', 'ends' => [['lease' => $message['lease']] + $end], 'credit' => $stop ? 0 : 1]);
    }
}
