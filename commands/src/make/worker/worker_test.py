"""The test of {worker}: python3 {file}. It stands in for the server, hands out one task, and looks at its end."""
import json, os, socket, subprocess, sys, unittest

WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "{program}")
ARGS = json.loads({args})


class WorkerTest(unittest.TestCase):
    def setUp(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        listener.settimeout(10)
        host, port = listener.getsockname()
        worker = subprocess.Popen([sys.executable, WORKER, f"{host}:{port}"])
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        self.server, _ = listener.accept()
        self.addCleanup(self.server.close)
        self.server.settimeout(10)
        self.lines = self.server.makefile()
        self.addCleanup(self.lines.close)
        self.assertEqual(self.receive("work")["functions"][0]["name"], {text})
        self.send(status="ok", result={"lease_ms": 15000, "heartbeat_ms": 5000})

    def send(self, **message):
        self.server.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, command):
        return next(message for message in map(json.loads, self.lines) if message["command"] == command)

    def run_task(self, args):
        self.send(status="task", lease="1.1", task_id=1, function={text}, attempt=1, args=args)
        return self.receive("settle")["ends"][0]

    def test_result_of_a_task(self):
        self.assertEqual(self.run_task(ARGS), {"lease": "1.1", "result": ARGS})


if __name__ == "__main__":
    unittest.main()
