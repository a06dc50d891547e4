<?php
// Laravel's own BeanstalkdQueue and Worker: a job that succeeds, one that is retried, one that fails for good,
// one that it releases itself, and one that is to be retried until a time.
require 'Pheanstalk/autoload.php';
require 'Illuminate/Queue/autoload.php';
require 'Illuminate/Events/autoload.php';
require 'Illuminate/Bus/autoload.php';

use Illuminate\Bus\Dispatcher as BusDispatcher;
use Illuminate\Bus\Queueable;
use Illuminate\Container\Container;
use Illuminate\Contracts\Bus\Dispatcher as BusContract;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Events\Dispatcher;
use Illuminate\Queue\Capsule\Manager;
use Illuminate\Queue\Connectors\BeanstalkdConnector;
use Illuminate\Queue\Events\JobFailed;
use Illuminate\Queue\InteractsWithQueue;
use Illuminate\Queue\Worker;
use Illuminate\Queue\WorkerOptions;

$runs = [];

class Recorded implements ShouldQueue
{
    use InteractsWithQueue, Queueable;
    public $name;
    public $tries = 3;

    public function __construct(string $name)
    {
        $this->name = $name;
    }

    public function handle(): void
    {
        global $runs;
        $runs[] = "{$this->name} {$this->attempts()}";
        switch ($this->name) {
            case 'retried':
                if ($this->attempts() < 3) {
                    throw new RuntimeException('not yet');
                }
                break;
            case 'failing':
                throw new RuntimeException('never');
            case 'releasing':
                if ($this->attempts() < 2) {
                    $this->release(0);
                }
                break;
            case 'failed':
                $this->fail(new RuntimeException('given up'));
        }
    }
}

class Until extends Recorded
{
    public $tries = 0;

    public function retryUntil(): DateTime
    {
        return new DateTime('@' . (time() - 1));
    }
}

class Handler implements ExceptionHandler
{
    public function report(Throwable $e)
    {
    }

    public function shouldReport(Throwable $e)
    {
        return true;
    }

    public function render($request, Throwable $e)
    {
    }

    public function renderForConsole($output, Throwable $e)
    {
    }
}

$container = new Container();
Container::setInstance($container);
$container->instance(Illuminate\Contracts\Container\Container::class, $container);
$container->instance(BusContract::class, new BusDispatcher($container));
$events = new Dispatcher($container);
$container->instance('events', $events);
$container->instance(Illuminate\Contracts\Events\Dispatcher::class, $events);
$manager = new Manager($container);
$manager->addConnection([
    'driver' => 'beanstalkd', 'host' => '127.0.0.1', 'port' => (int) $argv[1], 'queue' => 'laravel', 'retry_after' => 90,
    'block_for' => 0,
], 'beanstalkd');
$manager->getQueueManager()->addConnector('beanstalkd', fn () => new BeanstalkdConnector());
$manager->setAsGlobal();
$failed = [];
$events->listen(JobFailed::class, function (JobFailed $event) use (&$failed) {
    $failed[] = unserialize($event->job->payload()['data']['command'])->name;
});
$queue = $manager->getConnection('beanstalkd');
foreach (['plain', 'retried', 'failing', 'releasing', 'failed'] as $name) {
    $queue->push(new Recorded($name));
}
$queue->push(new Until('until'));
$queue->later(1, new Recorded('later'));
$worker = new Worker($manager->getQueueManager(), $events, new Handler(), fn () => false);
$options = new WorkerOptions('default', 0, 128, 60, 0, 3);
$deadline = time() + 50;
while (count($runs) < 11 && time() < $deadline) {
    $worker->runNextJob('beanstalkd', 'laravel', $options);
}
sort($runs);
sort($failed);
$expected = ['failed 1', 'failing 1', 'failing 2', 'failing 3', 'later 1', 'plain 1', 'releasing 1', 'releasing 2',
    'retried 1', 'retried 2', 'retried 3'];
if ($runs !== $expected || $failed !== ['failed', 'failing', 'until'] || $queue->size() !== 0) {
    fwrite(STDERR, json_encode([$runs, $failed, $queue->size()]) . "\n");
    exit(1);
}
echo "done\n";
