import { existsSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Contestant, interleave, measure, median } from "../../bench/measure";
import { temporaryFolder } from "../support/trees";

let folder: ReturnType<typeof temporaryFolder>;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => folder.remove());

const node = (script: string) => ({ argv: [process.execPath, "-e", script] });

test("a median is the middle value, or the mean of the two", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 3, 2])).toBe(2.5);
  expect(median([7])).toBe(7);
  expect(() => median([])).toThrow("no median of nothing");
});

test("a command is measured with what it prints, its time, and where GNU time is there its peak of memory and processor time", async () => {
  const small = await measure(node("process.stdout.write('done')"), folder.path);
  const large = await measure(node("Buffer.alloc(200e6, 1)"), folder.path);

  expect(small.stdout).toBe("done");
  expect(small.seconds).toBeGreaterThan(0);
  if (!existsSync("/usr/bin/time")) {
    expect(small.peakBytes).toBeNull();
    return;
  }
  expect(large.peakBytes).toBeGreaterThan(200e6);
  expect(large.cpuSeconds).toBeGreaterThan(0);
  expect(small.peakBytes).toBeGreaterThan(1e6);
  expect(small.peakBytes).toBeLessThan(large.peakBytes ?? 0);
});

test("a command gets its environment and its folder, and what it prints may be thrown away", async () => {
  const command = node("process.stdout.write(process.env.BENCH_TEST + process.cwd())");

  const heard = await measure({ ...command, env: { BENCH_TEST: "x" }, cwd: folder.path }, folder.path);
  const unheard = await measure({ ...command, discard: true }, folder.path);

  expect(heard.stdout).toBe(`x${folder.path}`);
  expect(unheard.stdout).toBe("");
});

test("a command that fails is an error with the end of what it said", async () => {
  await expect(measure(node("console.error('no such thing'); process.exit(3)"), folder.path)).rejects.toThrow(
    /exit code 3: no such thing/,
  );
  await expect(measure({ argv: ["/no/such/program"] }, folder.path)).rejects.toThrow();
});

test("contestants take turns, each prepared before and cleared after each of its runs", async () => {
  const events: string[] = [];
  const contestant = (name: string): Contestant => ({
    name,
    prepare: (round) => void events.push(`prepare ${name} ${round}`),
    command: (round) => node(`process.stdout.write("${name}${round}")`),
    after: (_, { stdout }) => void events.push(`ran ${stdout}`),
  });

  const runs = await interleave([contestant("a"), contestant("b")], 2, folder.path, () => undefined);

  expect(events).toEqual(
    [0, 1].flatMap((round) => ["a", "b"].flatMap((name) => [`prepare ${name} ${round}`, `ran ${name}${round}`])),
  );
  expect([...runs.keys()]).toEqual(["a", "b"]);
  for (const measured of runs.values()) expect(measured).toHaveLength(2);
});
