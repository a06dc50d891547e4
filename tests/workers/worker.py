"""A worker: python3 worker.py HOST:PORT [CREDIT]. It runs CREDIT tasks at a time, each on a thread."""
import json, os, platform, signal, socket, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

def thumbnail(args, progress): return {"height": args["height"] // 2}
def slow(args, progress): progress(10, "begun"); time.sleep(args["s"]); return "slept"
def flaky(args, progress): raise ValueError("no luck")
FUNCTIONS = {function.__name__: function for function in (thumbnail, slow, flaky)}

address = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("THINK_SERVER", "127.0.0.1:9501")
credit, lock, stop = int(sys.argv[2]) if len(sys.argv) > 2 else 8, threading.Lock(), threading.Event()
def connect():
    host, port = address.rsplit(":", 1)
    if host != "unix": return socket.create_connection((host, int(port)))
    server = socket.socket(socket.AF_UNIX)
    server.connect(port)
    return server
def serve(server, pool):
    def send(**message):
        with lock: server.sendall(json.dumps(message).encode() + b"\n")
    def run(task):
        progress = lambda percent, text: send(command="progress", lease=task["lease"], percent=percent, text=text)
        try: end = {"result": FUNCTIONS[task["function"]](task["args"], progress)}
        except Exception as error: end = {"error": f"{type(error).__name__}: {error}"}
        send(command="settle", ends=[{"lease": task["lease"], **end}], credit=0 if stop.is_set() else 1)
    def beat(seconds):
        while not stop.wait(seconds): send(command="heartbeat")
    signal.signal(signal.SIGTERM, lambda *_: (stop.set(), send(command="leave")))
    send(command="work", worker=f"{socket.gethostname()}:{os.getpid()}", language=f"python/{platform.python_version()}",
         credit=credit, functions=[{"name": name} for name in FUNCTIONS])
    for line in server.makefile():
        message = json.loads(line)
        if message["status"] == "error": sys.exit(message["error"])
        if message["status"] == "task": pool.submit(run, message)
        if message["status"] == "ok" and stop.is_set(): return pool.shutdown()
        if message["status"] == "ok":
            threading.Thread(target=beat, args=(message["result"]["heartbeat_ms"] / 1000,), daemon=True).start()
with ThreadPoolExecutor(credit) as pool:
    while not stop.is_set():
        try: serve(connect(), pool)
        except OSError: time.sleep(1)
