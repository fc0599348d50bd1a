"""The master: GET /task gives the next number, GET /done/<number>/<worker> takes it back, GET / counts."""

import http.server
import itertools
import os

tasks = itertools.count(1)
done = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/task":
            answer = str(next(tasks))
        elif self.path.startswith("/done/"):
            _, _, number, worker = self.path.split("/")
            done[int(number)] = worker
            answer = "thank you"
        else:
            answer = str(len(done)) + " tasks done by " + str(len(set(done.values()))) + " workers"
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *arguments):
        pass


http.server.ThreadingHTTPServer((os.environ["OCCO_ADDRESS"], 8000), Handler).serve_forever()
