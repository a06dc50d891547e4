"""A worker for {name}: python3 {file} HOST:PORT, or a table of config/workers.toml. It runs 8 tasks at a time."""
import json, os, platform, signal, socket, sys, threading, time
from concurrent.futures import ThreadPoolExecutor

CREDIT = 8


def handle(args, progress):
    """Its end is what this returns, or what it raises; progress(50, "half") reports how far it is."""
    return args


SCHEMA = json.loads({schema})
ADDRESS = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("THINK_SERVER", "127.0.0.1:9501")
lock, stop = threading.Lock(), threading.Event()


def connect():
    host, port = ADDRESS.rsplit(":", 1)
    if host != "unix":
        return socket.create_connection((host, int(port)))
    server = socket.socket(socket.AF_UNIX)
    server.connect(port)
    return server


def serve(server, pool):
    def send(**message):
        with lock:
            server.sendall(json.dumps(message).encode() + b"\n")

    def run(task):
        lease = task["lease"]
        try:
            result = handle(task["args"], lambda percent, text="": send(command="progress", lease=lease, percent=percent, text=text))
            end = {"result": result}
        except Exception as error:
            end = {"error": f"{type(error).__name__}: {error}"}
        send(command="settle", ends=[{"lease": lease, **end}], credit=0 if stop.is_set() else 1)

    def beat(seconds):
        while not stop.wait(seconds):
            send(command="heartbeat")

    def leave(*_):
        stop.set()
        # The lock may be held by what this interrupts.
        threading.Thread(target=send, kwargs={"command": "leave"}).start()

    signal.signal(signal.SIGTERM, leave)
    send(command="work", worker=f"{socket.gethostname()}:{os.getpid()}", language=f"python/{platform.python_version()}",
         credit=CREDIT, functions=[{"name": {text}, "schema": SCHEMA}])
    for line in server.makefile():
        message = json.loads(line)
        if message["status"] == "error":
            sys.exit(message["error"])
        if message["status"] == "task":
            pool.submit(run, message)
        if message["status"] == "ok" and stop.is_set():
            return pool.shutdown()
        if message["status"] == "ok":
            threading.Thread(target=beat, args=(message["result"]["heartbeat_ms"] / 1000,), daemon=True).start()


with ThreadPoolExecutor(CREDIT) as pool:
    while not stop.is_set():
        try:
            serve(connect(), pool)
        except OSError:
            time.sleep(1)
