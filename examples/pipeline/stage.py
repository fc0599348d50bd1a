"""One stage: serves what it makes of its input. INPUT is the URL of the stage before, or the text of the first."""

import http.server
import os
import urllib.request

KINDS = {
    "source": lambda text: text,
    "shout": lambda text: text.upper(),
    "count": lambda text: text + ": " + str(len(text.split())) + " words",
}
make, given = KINDS[os.environ["OCCO_NODE_NAME"]], os.environ["INPUT"]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = given
        if given.startswith("http://"):
            text = urllib.request.urlopen(given, timeout=5).read().decode()
        body = make(text).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


address = (os.environ["OCCO_ADDRESS"], int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
