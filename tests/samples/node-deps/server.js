const http = require("node:http");
const isOdd = require("is-odd");

http
  .createServer((request, response) => response.end(`3 is ${isOdd(3) ? "odd" : "even"}\n`))
  .listen(process.env.PORT, "127.0.0.1");
