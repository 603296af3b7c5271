// What a service on Node does whose `https` module knows no proxy: `node fetch.mjs [URL FILE BODY]…`, as in fetch.py.
// A CONNECT through HTTPS_PROXY, then TLS inside it; nothing but what Node brings.
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import tls from "node:tls";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";

class TunnelAgent extends https.Agent {
  createConnection(options, done) {
    const proxy = new URL(process.env.HTTPS_PROXY);
    const authority = `${options.host}:${options.port}`;
    const connect = http.request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: authority, headers: { host: authority } });
    connect.once("error", done);
    connect.once("connect", (response, socket) => {
      if (response.statusCode !== 200) {
        socket.destroy();
        done(new Error(`the proxy answered ${response.statusCode} ${response.headers["x-pinproxy-error"]}`));
        return;
      }
      const secured = tls.connect({ socket, servername: options.servername || options.host, ALPNProtocols: ["http/1.1"] });
      secured.once("error", done);
      secured.once("secureConnect", () => { secured.off("error", done); done(null, secured); });
    });
    connect.end();
  }
}

const agent = new TunnelAgent({ keepAlive: true });
const triples = process.argv.slice(2);
for (let at = 0; at < triples.length; at += 3) {
  const [url, file, body] = triples.slice(at, at + 3);
  const request = https.request(url, { agent, method: body === "-" ? "GET" : "POST" });
  const answered = once(request, "response");
  if (body === "-") request.end();
  else pipeline(fs.createReadStream(body), request).catch(() => {}); // chunked; what fails shows at `answered`
  const [response] = await answered;
  if (response.statusCode !== 200) throw new Error(`${url} answered ${response.statusCode}`);
  await pipeline(response, fs.createWriteStream(file));
  console.log(response.httpVersion);
}
agent.destroy();
