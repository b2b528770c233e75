// What a user of ssh2-sftp-client writes: reads lines such as `put SOURCE PATH` from stdin and does one after the other.
// Arguments: port, user, private key file, host key line.
"use strict";

const fs = require("node:fs");
const Client = require("ssh2-sftp-client");

const [port, username, keyFile, hostKey] = process.argv.slice(2);
const client = new Client();

const verbs = {
  put: (source, path) => client.put(source, path),
  fastput: (source, path) => client.fastPut(source, path),
  resume: async (source, path) => {
    const { size } = await client.stat(path);
    await client.append(fs.createReadStream(source, { start: size }), path);
    if ((await client.stat(path)).size !== fs.statSync(source).size) throw new Error(`${path}: not whole`);
  },
  get: (path, target) => client.get(path, target),
  rename: (path, name) => client.rename(path, name),
  rm: (path) => client.delete(path),
  mkdir: (path) => client.mkdir(path),
  rmdir: (path) => client.rmdir(path),
  ls: async (path) => (await client.list(path)).forEach((entry) => console.log(entry.name)),
};

async function main() {
  await client.connect({
    host: "127.0.0.1",
    port: Number(port),
    username,
    privateKey: fs.readFileSync(keyFile),
    hostVerifier: (key) => key.toString("base64") === hostKey.split(" ")[1],
  });
  // Without it every write waits 40 ms for an acknowledgement of TCP that is delayed.
  client.client.setNoDelay(true);
  for (const line of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
    const [verb, ...words] = line.split(" ");
    await verbs[verb](...words);
  }
  await client.end();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
