<?php
// A worker for {name}: php {file} HOST:PORT, or a table of config/workers.toml. It runs one task at a time.
// The end of a task is what this returns, or what it throws; $progress(50, 'half') reports how far it is.
$handle = function (mixed $args, callable $progress): mixed {
    return $args;
};
$schema = json_decode({schema}, true);

$address = $argv[1] ?? getenv('THINK_SERVER') ?: '127.0.0.1:9501';
$address = str_starts_with($address, 'unix:') ? 'unix://' . substr($address, 5) : "tcp://$address";
[$server, $stop] = [null, false];
$send = function (array $message) use (&$server) { $server && @fwrite($server, json_encode($message) . "\n"); };
pcntl_async_signals(true);
pcntl_signal(SIGTERM, function () use (&$stop, $send) { $stop = true; $send(['command' => 'leave']); });
while (!$stop) {
    $server = @stream_socket_client($address, $code, $error, 5);
    if (!$server) { sleep(1); continue; }
    $send(['command' => 'work', 'worker' => gethostname() . ':' . getmypid(), 'language' => 'php/' . PHP_VERSION,
        'credit' => 1, 'heartbeats' => false, 'functions' => [['name' => {text}, 'schema' => $schema]]]);
    while (!$stop) {
        // A signal is handled between two calls, so that none of them may take long.
        [$read, $none] = [[$server], null];
        if (!@stream_select($read, $none, $none, 1)) { continue; }
        if (feof($server)) { break; }
        $message = json_decode(@fgets($server) ?: '{}', true);
        if (($message['status'] ?? '') === 'error') { exit($message['error'] . "\n"); }
        if (($message['status'] ?? '') !== 'task') { continue; }
        $about = ['lease' => $message['lease']];
        $progress = fn($percent, $text = '') => $send(['command' => 'progress', 'percent' => $percent, 'text' => $text] + $about);
        try {
            $end = ['result' => $handle($message['args'], $progress)];
        } catch (Throwable $error) {
            $end = ['error' => $error->getMessage()];
        }
        $send(['command' => 'settle', 'ends' => [$about + $end], 'credit' => $stop ? 0 : 1]);
    }
}
