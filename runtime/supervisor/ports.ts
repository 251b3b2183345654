import { randomInt } from "node:crypto";
import { createServer } from "node:net";

export const loopback = "127.0.0.1";

/**
 * Ports are chosen below those that Linux gives to outgoing connections (32768 and up): a remembered port is then not taken
 * by somebody's client between two starts, and asking a port where nothing listens yet cannot connect to itself.
 */
const firstPort = 20_000;
const lastPort = 32_767;
const attempts = 200;

/** A port of the loopback interface on which nothing listens right now. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const port = randomInt(firstPort, lastPort + 1);
    if (await isFree(port)) return port;
  }
  throw new Error(`found no free port of ${loopback} between ${firstPort} and ${lastPort} in ${attempts} attempts`);
}

/** Whether nothing listens on a port of the loopback interface. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    server.listen({ port, host: loopback, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
