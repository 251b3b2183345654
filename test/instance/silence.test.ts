import { describe, expect, it } from "vitest";
import { Silence } from "../../runtime/instance";

const second = 1000;
const nothing = { seconds: 5, bytes: "7" };

describe("a process that does not answer", () => {
  it("is silent since the last look at which it had done something", () => {
    const silence = new Silence(0, { at: 0, ...nothing });

    silence.observe(15 * second, { at: 15 * second, seconds: 6, bytes: "7" });
    silence.observe(30 * second, { at: 30 * second, seconds: 6, bytes: "7" });

    expect(silence.lasts(30 * second)).toBe(15 * second);
  });

  it("is silent while it computes less than a hundredth of the time", () => {
    const silence = new Silence(0, { at: 0, ...nothing });

    silence.observe(15 * second, { at: 15 * second, seconds: 5.14, bytes: "7" });

    expect(silence.lasts(15 * second)).toBe(15 * second);
  });

  it("is not silent when it reads or writes, nor when one of its processes has ended", () => {
    for (const seen of [
      { seconds: 5, bytes: "8" },
      { seconds: 3, bytes: "7" },
    ]) {
      const silence = new Silence(0, { at: 0, ...nothing });

      silence.observe(15 * second, { at: 15 * second, ...seen });

      expect(silence.lasts(15 * second)).toBe(0);
    }
  });

  it("goes on being silent where nothing new is known of it", () => {
    const silence = new Silence(0, null);

    silence.observe(10 * second, { at: 5 * second, ...nothing });
    silence.observe(20 * second, { at: 5 * second, ...nothing });

    expect(silence.lasts(20 * second)).toBe(20 * second);
  });

  it("is not silent once something else told of it", () => {
    const silence = new Silence(0, null);

    silence.interrupt(12 * second);

    expect(silence.lasts(15 * second)).toBe(3 * second);
  });
});
