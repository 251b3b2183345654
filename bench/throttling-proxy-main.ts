// A throttling proxy as a process of its own, so that neither it nor what it stands before shares an event loop with the bench.
// Arguments: the server's port, and bytes a second for each connection ("Infinity" for no limit). Prints its own port; at the end
// of its input, what has passed as JSON, and ends.
import { ThrottlingProxy } from "./throttling-proxy";

async function main(): Promise<void> {
  const [port = Number.NaN, bytesPerSecond = Number.NaN] = process.argv.slice(2).map(Number);
  if (!Number.isInteger(port) || !(bytesPerSecond > 0)) throw new Error("arguments: PORT BYTES-PER-SECOND");
  const proxy = await ThrottlingProxy.start({ target: { host: "127.0.0.1", port }, bytesPerSecond });
  process.stdout.write(`${proxy.port}\n`);
  process.stdin.on("end", () => {
    process.stdout.write(`${JSON.stringify(proxy.passed)}\n`);
    void proxy.close();
  });
  process.stdin.resume();
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
