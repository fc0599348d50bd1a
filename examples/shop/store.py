"""A small key-value store over HTTP: GET /key gives the value, PUT /key stores the body."""

import http.server
import os

values = {}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = values.get(self.path, "0").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        values[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.send_response(204)
        self.end_headers()


http.server.ThreadingHTTPServer((os.environ["OCCO_ADDRESS"], 8000), Handler).serve_forever()
