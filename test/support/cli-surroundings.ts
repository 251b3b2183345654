import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { Output, type OutputOptions } from "../../runtime/cli/output";
import type { Surroundings, TextStream } from "../../runtime/cli/surroundings";

/** A stream that remembers what was written to it. */
export class CollectedStream implements TextStream {
  text = "";
  readonly writes: string[] = [];
  constructor(readonly columns: number | null = null) {}

  readonly bytes: Buffer[] = [];

  async writeBytes(bytes: Uint8Array): Promise<void> {
    this.bytes.push(Buffer.from(bytes));
  }

  write(text: string): void {
    this.text += text;
    this.writes.push(text);
  }
}

export interface TestSurroundings extends Surroundings {
  readonly stdout: CollectedStream;
  readonly stderr: CollectedStream;
}

/** Surroundings of a command whose output a test looks at; a pipe on both sides and nobody to ask, unless said otherwise. */
export function testSurroundings(over: Partial<TestSurroundings> = {}): TestSurroundings {
  return {
    stdout: new CollectedStream(),
    stderr: new CollectedStream(),
    cwd: tmpdir(),
    environment: process.env,
    signal: new AbortController().signal,
    ask: null,
    ...over,
  };
}

export function testOutput(options: OutputOptions = {}, surroundings = testSurroundings()) {
  return { output: new Output(surroundings, options), ...surroundings };
}

/** A folder of the test's own, removed after it. The path has no links in it. */
export function temporaryFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "pulumi-comfyui-cli-")));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Writes files by path relative to a folder. */
export function writeFiles(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  }
}
