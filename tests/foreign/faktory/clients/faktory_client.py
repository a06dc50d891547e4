"""Pushes jobs with the library faktory, and works them with its worker: one that fails is pushed to fail."""
import logging
import os
import signal
import sys
import threading
import time

import faktory
from faktory import Worker

port, folder = sys.argv[1], sys.argv[2]
address = f"tcp://127.0.0.1:{port}"


def note(number):
    with open(f"{folder}/{number}", "w") as file:
        file.write(str(number))


def fail(number):
    note(number)
    raise ValueError("it cannot be done")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    with faktory.connection(faktory=address) as client:
        for number in range(5):
            assert client.queue("note", args=(number,), queue="py")
        assert client.queue("fail", args=(5,), queue="py", retry=3)

    def stop():
        while len(os.listdir(folder)) < 6:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    worker = Worker(faktory=address, queues=["py"], concurrency=2, use_threads=True)
    worker.register("note", note)
    worker.register("fail", fail)
    try:
        worker.run()
    except SystemExit:
        # That is how it ends, whatever it has done.
        print("done")
