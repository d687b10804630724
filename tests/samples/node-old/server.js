const answer = { node: process.version, version: process.env.npm_package_version, odd: require("is-odd")(3), arguments: process.argv.slice(2) };
require("http").createServer((request, response) => response.end(JSON.stringify(answer))).listen(process.env.PORT, "127.0.0.1");
