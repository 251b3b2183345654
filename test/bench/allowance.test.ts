import fc from "fast-check";
import { expect, test } from "vitest";
import { Allowance, burst } from "../../bench/allowance";

test("up to the burst may pass at once, then as much as time allows", () => {
  const allowance = new Allowance(1_000_000, 0);

  expect(allowance.take(burst * 1_000_000, 0)).toBe(0);
  expect(allowance.take(500_000, 0)).toBeCloseTo(500, 6);
  expect(allowance.take(100_000, 500)).toBeCloseTo(100, 6);
  expect(allowance.take(0, 600)).toBe(0);
});

test("time in which nothing passes is not saved up beyond the burst", () => {
  const allowance = new Allowance(1_000_000, 0);

  expect(allowance.take(burst * 1_000_000 + 1000, 60_000)).toBeCloseTo(1, 6);
});

test("a wait that a busy machine made longer than it was to be is made good", () => {
  const allowance = new Allowance(1_000_000, 0);
  expect(allowance.take(burst * 1_000_000 + 100_000, 0)).toBeCloseTo(100, 6);

  allowance.resume(400);

  expect(allowance.take(300_000, 400)).toBe(0);
  expect(allowance.take(1000, 400)).toBeCloseTo(1, 6);
});

test("without a limit nothing waits", () => {
  const allowance = new Allowance(Number.POSITIVE_INFINITY, 0);

  expect(allowance.take(1e12, 0)).toBe(0);
  expect(allowance.take(1e12, 0)).toBe(0);
});

test("whatever comes whenever, never more passes than rate × time, the burst and the last piece; and hardly less when there is always more", () => {
  const rate = 85e6;
  const piece = fc.record({
    bytes: fc.integer({ min: 1, max: 65_536 }),
    pause: fc.integer({ min: 0, max: 15 }),
    late: fc.integer({ min: 0, max: 100 }),
  });
  fc.assert(
    fc.property(fc.array(piece, { minLength: 1, maxLength: 300 }), fc.boolean(), (pieces, eager) => {
      const allowance = new Allowance(rate, 0);
      let now = 0;
      let passed = 0;
      for (const { bytes, pause, late } of pieces) {
        if (!eager) now += pause;
        passed += bytes;
        const wait = allowance.take(bytes, now);
        expect(passed).toBeLessThanOrEqual((rate * now) / 1000 + burst * rate + 65_536 + 1);
        if (wait === 0) continue;
        now += wait + late;
        allowance.resume(now);
      }
      const last = pieces.at(-1)?.late ?? 0;
      if (eager) expect(passed).toBeGreaterThanOrEqual((rate * (now - last)) / 1000 - 1);
    }),
  );
});
