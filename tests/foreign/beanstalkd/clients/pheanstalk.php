<?php
// Puts and works jobs with Pheanstalk, as its documentation does.
require 'Pheanstalk/autoload.php';

use Pheanstalk\Pheanstalk;

function check(bool $holds, string $what): void
{
    if (!$holds) {
        fwrite(STDERR, "$what\n");
        exit(1);
    }
}

$queue = Pheanstalk::create('127.0.0.1', (int) $argv[1]);
$job = $queue->useTube('pheanstalk')->put(json_encode(['test' => 'data']), Pheanstalk::DEFAULT_PRIORITY, 0, 60);
$later = $queue->useTube('pheanstalk')->put('later', 10, 100, 60);
$queue->watchOnly('pheanstalk');
$reserved = $queue->reserve();
check($reserved->getId() === $job->getId(), 'it is the first one');
check(json_decode($reserved->getData(), true) === ['test' => 'data'], 'its data comes back');
$stats = $queue->statsJob($reserved);
check($stats['state'] === 'reserved' && (int) $stats['pri'] === 1024, 'its statistics are read');
$queue->touch($reserved);
$queue->release($reserved, 5, 0);
check($queue->peekReady()->getId() === $job->getId(), 'it is ready');
$reserved = $queue->reserveWithTimeout(5);
$queue->bury($reserved);
check($queue->peekBuried()->getId() === $job->getId(), 'it is buried');
check((int) $queue->statsTube('pheanstalk')['current-jobs-buried'] === 1, 'it is counted as buried');
check($queue->kick(100) === 1, 'it is kicked');
$queue->delete($queue->reserve());
check($queue->peekDelayed()->getId() === $later->getId(), 'the other one is delayed');
$queue->kickJob($later);
$reserved = $queue->reserveWithTimeout(5);
check($reserved->getId() === $later->getId(), 'it is ready once it is kicked');
$queue->delete($reserved);
check($queue->reserveWithTimeout(0) === null, 'there is no other one');
$queue->pauseTube('pheanstalk', 60);
$queue->put('paused');
check($queue->reserveWithTimeout(0) === null, 'the tube is paused');
$queue->resumeTube('pheanstalk');
$queue->delete($queue->reserveWithTimeout(5));
check(in_array('pheanstalk', iterator_to_array($queue->listTubes())), 'the tube is listed');
echo "done\n";
