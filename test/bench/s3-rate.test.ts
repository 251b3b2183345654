import { expect, test } from "vitest";
import { connectionLimit, type Transfer, worstOf } from "../../bench/experiments/s3";

const transfer = (
  direction: "up" | "down",
  connections: number,
  rates: readonly number[],
  limited = true,
): Transfer => ({
  direction,
  connections,
  limited,
  rates,
  seconds: rates.map((rate) => 2e9 / rate),
  cpuSeconds: rates.map(() => 6),
  busy: rates.map(() => 0.95),
});

test("each transfer is compared with its connections' limit or the processors', whichever is lower, and the worst one counts", () => {
  const { ours, theirs, note } = worstOf([
    transfer("up", 1, [84e6, 80e6, 82e6]),
    transfer("up", 8, [190e6, 200e6, 210e6]),
    transfer("up", 8, [250e6], false),
    transfer("down", 8, [600e6]),
    transfer("down", 8, [900e6], false),
  ]);

  expect(ours).toEqual([190e6, 200e6, 210e6]);
  expect(theirs).toEqual([250e6]);
  expect(note).toContain("up 1: 82 MB/s, 0.96 of the connections' limit");
  expect(note).toContain("up 8: 200 MB/s, 0.80 of the processors' limit");
  expect(note).toContain("down 8: 600 MB/s, 0.88 of the connections' limit");
  expect(note).toContain("no limit, up: 250 MB/s, processors 95 % busy, 6.0 CPU s of the engine");
});

test("without a transfer that had no limit, the connections alone are the limit", () => {
  const { ours, theirs } = worstOf([transfer("up", 2, [100e6])]);

  expect(ours).toEqual([100e6]);
  expect(theirs).toEqual([2 * connectionLimit]);
});
