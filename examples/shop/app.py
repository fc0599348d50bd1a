"""The application: each visit raises a counter that lives in the store. STORE is the store's URL."""

import http.server
import os
import urllib.request

store = os.environ["STORE"] + "/visits"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        visits = int(urllib.request.urlopen(store, timeout=2).read())
        if self.path == "/visit":
            visits += 1
            request = urllib.request.Request(store, data=str(visits).encode(), method="PUT")
            urllib.request.urlopen(request, timeout=2).close()
        body = ("visit " + str(visits) + ", served by " + os.environ["OCCO_ADDRESS"] + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer((os.environ["OCCO_ADDRESS"], 8000), Handler).serve_forever()
