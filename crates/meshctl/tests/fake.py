#!/usr/bin/env python3
"""Stands in for every program of the mesh: takes their flags, says that it is ready, and ends when asked to.

`WEFT_FAKE_*` would be taken away by meshctl, so behaviour is chosen by files beside this one: `<program>.fails` makes the
program of that name end at once, with the file's text as its last words; `weft-pilot.finds` is what pilot tells of the configuration.
"""
import http.server
import json
import os
import sys

name = os.path.basename(sys.argv[0])
fails = sys.argv[0] + ".fails"
if os.path.exists(fails):
    sys.exit(open(fails).read())
words = sys.argv[1:]
flags = {flag: value for flag, value in zip(words, words[1:]) if flag.startswith("--")}
if words and words[0] == "token":
    print(f"token of {flags['--namespace']}/{flags['--service-account']}")
    sys.exit(0)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/debug/syncz":
            names = [name.removesuffix(".yaml") for name in os.listdir(words[words.index("--xds-listen") - 1])]
            body = json.dumps([{"proxy": name, "generation": 1} for name in names]).encode()
        elif self.path == "/debug/registryz":
            body = b"[]"
        elif self.path.startswith("/debug/diagnosticsz"):
            told = sys.argv[0] + ".finds"
            body = open(told, "rb").read() if os.path.exists(told) else b"[]"
        elif self.path.startswith("/debug/config_dump"):
            body = b'{"generation": 1}'
        elif self.path == "/environment":
            body = "\n".join(f"{key}={value}" for key, value in os.environ.items()).encode()
        else:
            body = b"ok"
        self.send_response(503 if self.path == "/fail" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        print(name, format % arguments, flush=True)


for flag in ("--monitoring-listen", "--http-listen", "--readiness-listen", "--app-listen"):
    if flag in flags:
        host, port = flags[flag].rsplit(":", 1)
        print(f"{name} listening on {flags[flag]}", flush=True)
        http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
sys.exit(f"{name}: nothing to listen on in {words}")
