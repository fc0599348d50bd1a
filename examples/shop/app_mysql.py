"""The application with its counter in a database: DATABASE is the address of a MariaDB, MYSQL_PWD its password.

The client program does the talking: it is there where the server is, and Python brings no driver.
"""

import http.server
import os
import subprocess

CLIENT = ["mariadb", "--host=" + os.environ["DATABASE"], "--user=shop", "--batch", "--skip-column-names", "shop"]
VISIT = "UPDATE counters SET visits = LAST_INSERT_ID(visits + 1); SELECT LAST_INSERT_ID();"
LOOK = "SELECT visits FROM counters;"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = VISIT if self.path == "/visit" else LOOK
        done = subprocess.run([*CLIENT, "--execute=" + query], stdout=subprocess.PIPE, timeout=10)
        body = ("visit " + done.stdout.decode().strip() + ", served by " + os.environ["OCCO_ADDRESS"] + "\n").encode()
        self.send_response(503 if done.returncode else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer((os.environ["OCCO_ADDRESS"], 8000), Handler).serve_forever()
