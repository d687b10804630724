const http = require("node:http");

const EDITION = "edition 0";

const server = http.createServer((request, response) => {
  response.setHeader("Content-Type", "text/html; charset=utf-8");
  response.end(`<!doctype html><title>A Node app</title><p>${EDITION}</p>\n`);
});

server.listen(process.env.PORT, "127.0.0.1");
process.on("SIGTERM", () => server.close(() => process.exit(0)));
