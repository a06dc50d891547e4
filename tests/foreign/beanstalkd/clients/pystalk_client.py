"""Puts and works jobs with pystalk, as its documentation does."""
import sys

from pystalk import BeanstalkClient, BeanstalkError

client = BeanstalkClient("127.0.0.1", int(sys.argv[1]))
client.use("pystalk")
client.watch("pystalk")
for number in range(20):
    client.put_job(f'{{"number": {number}}}')
with client.using("elsewhere") as inserter:
    inserter.put_job("elsewhere")
bodies = []
for job in client.reserve_iter():
    bodies.append(job.job_data)
    client.delete_job(job.job_id)
assert bodies == [f'{{"number": {number}}}'.encode() for number in range(20)], bodies
client.put_job("again", pri=100, delay=0, ttr=60)
job = client.reserve_job(timeout=5)
assert job.job_data == b"again", job
client.release_job(job.job_id, pri=2**31, delay=0)
job = client.reserve_job(timeout=5)
client.bury_job(job.job_id)
assert client.stats_tube("pystalk")["current-jobs-buried"] == 1
client.kick_jobs(10)
job = client.reserve_job(timeout=5)
assert client.stats_job(job.job_id)["reserves"] == 3
client.delete_job(job.job_id)
try:
    client.reserve_job(timeout=0)
    raise AssertionError("there is no job")
except BeanstalkError as error:
    assert error.message == "TIMED_OUT", error.message
print("done")
