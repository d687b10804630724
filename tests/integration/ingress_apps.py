"""Apps that answer in every way an ingress has to pass on: at once, slowly, as a stream, over a changed protocol."""

PYTHON = """
import http.server, json, os, pathlib, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body, kind="text/plain"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/headers":
            return self.answer(json.dumps(self.headers.items()).encode(), "application/json")
        if self.path.startswith("/slow/"):
            time.sleep(float(self.path.removeprefix("/slow/")))
        if self.path.startswith("/bytes/"):
            return self.answer(b"x" * int(self.path.removeprefix("/bytes/")), "text/html")
        if self.path == "/who":
            return self.answer(os.environ["RUSTPLOY_INSTANCE"].encode())
        if self.path.startswith("/download/"):
            return self.download(int(self.path.removeprefix("/download/")))
        if self.path == "/events":
            return self.events()
        if self.path == "/socket":
            return self.echo()
        self.answer(VERSION)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(str(len(body)).encode())

    def download(self, seconds):
        self.send_response(200)
        self.send_header("Content-Length", str(10_000 * 10 * seconds))
        self.end_headers()
        for _ in range(10 * seconds):
            self.wfile.write(b"x" * 10_000)
            time.sleep(0.1)

    def events(self):
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for number in range(600):
            self.wfile.write(b"data: %d\\n\\n" % number)
            time.sleep(0.1)

    def echo(self):
        self.close_connection = True
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)

    def log_message(self, *arguments):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256

VERSION = pathlib.Path("version.txt").read_bytes()
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

NODE = """
const http = require('http'), fs = require('fs');
const version = fs.readFileSync('version.txt');
const server = http.createServer((request, response) => {
  const slow = request.url.match(/^\\/slow\\/(.+)$/);
  if (request.url === '/events') {
    response.writeHead(200, {'Content-Type': 'text/event-stream'});
    const timer = setInterval(() => response.write('data: 1\\n\\n'), 100);
    return response.on('close', () => clearInterval(timer));
  }
  let length = 0;
  request.on('data', part => { length += part.length; });
  request.on('end', () => setTimeout(
    () => response.end(request.method === 'POST' ? String(length) : version), slow ? Number(slow[1]) * 1000 : 0));
});
server.on('upgrade', (request, socket) => {
  socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n');
  socket.on('error', () => {});
  socket.pipe(socket);
});
server.listen(Number(process.env.PORT), '127.0.0.1');
"""


def python(version: str) -> dict[str, str]:
    return {"index.html": "", "app.py": PYTHON, "version.txt": version, "Procfile": "web: exec python3 app.py\n"}


def node(version: str) -> dict[str, str]:
    package = '{"name": "node-app", "version": "1.0.0", "scripts": {"start": "node app.js"}}'
    return {"package.json": package, "app.js": NODE, "version.txt": version, "Procfile": "web: exec node app.js\n"}
