"""Puts and works jobs with greenstalk, as its documentation does."""
import sys

import greenstalk

address = ("127.0.0.1", int(sys.argv[1]))

with greenstalk.Client(address, use="greenstalk", watch="greenstalk") as client:
    plain = client.put("hello")
    urgent = client.put('{"to": "you"}', priority=1, ttr=120)
    job = client.reserve()
    assert (job.id, job.body) == (urgent, '{"to": "you"}'), vars(job)
    stats = client.stats_job(job)
    assert (stats["state"], stats["pri"], stats["ttr"], stats["tube"]) == ("reserved", 1, 120, "greenstalk"), stats
    client.touch(job)
    client.release(job, priority=2**16, delay=0)
    client.delete(client.reserve_job(plain))
    job = client.reserve(timeout=5)
    assert job.id == urgent
    client.bury(job)
    assert client.peek_buried().id == urgent
    assert client.stats_tube("greenstalk")["current-jobs-buried"] == 1
    assert client.kick(10) == 1
    client.delete(client.reserve())
    try:
        client.reserve(timeout=0)
        raise AssertionError("there is no job")
    except greenstalk.TimedOutError:
        pass
    try:
        client.delete(plain)
        raise AssertionError("it is deleted")
    except greenstalk.NotFoundError:
        pass
    client.put("later", delay=100)
    assert client.peek_delayed().body == "later"
    client.delete(client.peek_delayed())
    assert client.watch("other") == 2 and client.ignore("other") == 1
    assert "greenstalk" in client.tubes() and client.using() == "greenstalk"
    assert client.stats()["current-jobs-reserved"] == 0
    with greenstalk.Client(address, encoding=None, use="bytes", watch="bytes") as binary:
        body = bytes(range(256)) * 16
        binary.put(body)
        job = binary.reserve()
        assert job.body == body
        binary.delete(job)
print("done")
