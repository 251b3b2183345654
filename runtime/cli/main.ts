#!/usr/bin/env node
// First of all: what is imported after it does not load on an older Node.js.
import "./required-node";
// Before all that it is to hold.
import "./compile-cache";
import "./young-generation";
import { createInterface } from "node:readline/promises";
import { runCommand } from "./program";
import { InterruptedError, type TextStream } from "./surroundings";

const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  // Once: a second Ctrl-C ends the process at once.
  process.once(signal, () => interruption.abort(new InterruptedError(`interrupted by ${signal}`)));
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever read has seen enough, as in `pulumi-comfyui list ... | head -3`.
    if (error.code === "EPIPE") process.exit(0);
    throw error;
  });
}

function textStream(stream: NodeJS.WriteStream): TextStream {
  return {
    write: (text) => void stream.write(text),
    writeBytes: (bytes) =>
      new Promise((resolve, reject) => {
        stream.write(bytes, (error) => (error ? reject(error) : resolve()));
      }),
    get columns() {
      return stream.isTTY ? stream.columns || 80 : null;
    },
  };
}

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question, { signal: interruption.signal });
  } finally {
    lines.close();
  }
}

runCommand(process.argv.slice(2), {
  stdout: textStream(process.stdout),
  stderr: textStream(process.stderr),
  cwd: process.cwd(),
  environment: process.env,
  signal: interruption.signal,
  ask: process.stdin.isTTY ? ask : null,
}).then((code) => {
  process.exitCode = code;
});
