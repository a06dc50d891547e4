"""Pushes jobs with pyfaktory, and works them with its consumer."""
import os
import sys
import threading
import time

from pyfaktory import Client, Consumer, Job, Producer

port, folder = sys.argv[1], sys.argv[2]
address = f"tcp://127.0.0.1:{port}"


def note(number):
    with open(f"{folder}/{number}", "w") as file:
        file.write(str(number))


with Client(faktory_url=address, role="producer") as client:
    producer = Producer(client=client)
    for number in range(5):
        producer.push(Job(jobtype="note", args=(number,), queue="pyf"))
    refused = producer.push_bulk([Job(jobtype="note", args=(5,), queue="pyf"), Job(jobtype="note", args=(6,), queue="pyf")])
    assert not refused or refused == {} or len(refused) == 2, refused


def stop():
    while len(os.listdir(folder)) < 7:
        time.sleep(0.05)
    time.sleep(0.5)
    print("done", flush=True)
    os._exit(0)


threading.Thread(target=stop, daemon=True).start()
with Client(faktory_url=address, role="consumer") as client:
    consumer = Consumer(client=client, queues=["pyf"], concurrency=1)
    consumer.register("note", note)
    consumer.run()
