"""The gateway: hands each request to the next application that answers. APPS are their addresses."""

import http.server
import itertools
import os
import urllib.request

addresses = os.environ["APPS"].split(",")
apps = itertools.cycle(addresses)


def ask(path):
    for _ in addresses:
        try:
            return urllib.request.urlopen("http://" + next(apps) + ":8000" + path, timeout=1).read()
        except OSError:
            continue
    raise OSError("no application answers")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ask(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer((os.environ["OCCO_ADDRESS"], 8000), Handler).serve_forever()
